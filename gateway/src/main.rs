//! `usher-gateway`: serves, or makes signing keys.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use gateway::config::Config;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The waiting room in front of an origin.
#[derive(Debug, Parser)]
#[command(name = "usher-gateway", version)]
struct Cli {
    /// Configuration file; `config/gateway.toml` is a commented example.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// A setting over the file, as `limits.visitor_per_s=10`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    set: Vec<String>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Serves fans and organisers (the default).
    Serve,
    /// Makes and shows signing keys.
    #[command(subcommand)]
    Keys(KeysCommand),
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Writes a new key file; never over an existing one.
    New {
        /// Where to.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // An installed provider is what is asked for; a second install would only repeat it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.role {
        Some(Role::Keys(KeysCommand::New { out })) => gateway::keys::write_new(&out),
        Some(Role::Serve) | None => {
            let file = cli.config.unwrap_or_else(|| PathBuf::from("config/gateway.toml"));
            let config = Config::load(&file, &cli.set)?;
            gateway::telemetry::init_logs();
            gateway::run::run(config)
        }
    }
}
