//! `bench`: the measurements of `docs/MEASUREMENTS.md`, peers beside ours in the same run.
//!
//! One measurement is one file in [`measure`] and one line in its list. Each prints rows
//! `name ours=… peer=… ratio=… bar=… ok|short` on standard output, and what explains them on standard error.
//! The same program plays two peers, a bare proxy and an origin, when it starts itself as one.
//!
//! Left out: verdicts on correctness, which are the tests' part.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

mod asking;
mod cores;
mod counter;
mod crowd;
mod hall;
mod house;
mod measure;
mod peer;
mod profile;
mod rounds;
mod row;
mod till;
mod wire;
mod wrk;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the waiting room beside its peers.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    /// Which measurements; all when none is named.
    names: Vec<String>,
    /// Short rounds: for a look, not for a record. Leaves out what takes minutes.
    #[arg(long)]
    quick: bool,
    /// Names the measurements and ends.
    #[arg(long)]
    list: bool,
}

#[derive(Subcommand)]
enum Role {
    /// A peer: Pingora with nothing added.
    #[command(hide = true)]
    BareProxy {
        /// Where to listen.
        listen: std::net::SocketAddr,
        /// Where to send everything.
        origin: std::net::SocketAddr,
    },
    /// Tells where the time of a hold goes, with `perf`.
    ProfileHolds {
        /// Where to keep what `perf` wrote.
        #[arg(long)]
        keep: Option<std::path::PathBuf>,
    },
    /// The origin behind every proxy.
    #[command(hide = true)]
    Origin {
        /// Where to listen.
        listen: std::net::SocketAddr,
    },
}

/// How a run is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Whether this is only for a look.
    pub(crate) quick: bool,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    // An installed provider is what is asked for; a second install would only repeat it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.role {
        Some(Role::BareProxy { listen, origin }) => peer::bare_proxy::serve(listen, origin),
        Some(Role::Origin { listen }) => peer::origin::serve(listen),
        Some(Role::ProfileHolds { keep }) => profile::holds(keep.as_deref()).map(|()| ExitCode::SUCCESS),
        None => measure_all(&cli),
    }
}

fn measure_all(cli: &Cli) -> Result<ExitCode> {
    if cli.list {
        measure::ALL.iter().for_each(|one| println!("{:<16} {}", one.name, one.what));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(stray) = cli.names.iter().find(|name| measure::ALL.iter().all(|one| one.name != **name)) {
        bail!("no measurement is called {stray}; `bench --list` names them");
    }
    let effort = Effort { quick: cli.quick };
    let named = |one: &&measure::Measurement| cli.names.is_empty() || cli.names.iter().any(|name| name == one.name);
    let mut failed = false;
    for one in measure::ALL.iter().filter(named) {
        if cli.names.is_empty() && cli.quick && one.long {
            eprintln!("# {}: left out of quick runs", one.name);
            continue;
        }
        eprintln!("# {}: {}", one.name, one.what);
        match (one.run)(effort) {
            Ok(rows) => rows.iter().for_each(|row| println!("{row}")),
            Err(error) => {
                failed = true;
                eprintln!("# {}: {error:#}", one.name);
                println!("{} ours=- peer=- ratio=- bar=- short", one.name);
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
