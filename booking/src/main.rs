//! `usher-booking`: the booking core's roles.

mod operate;

use std::path::{Path, PathBuf};

use anyhow::Context;
use booking::app::import_event::{Imported, import_event};
use booking::app::refund_booking::RefundRequest;
use booking::config::Config;
use booking::serve::{Role, run};
use booking::services::Services;
use booking::storage;
use booking_domain::plan::{GenerateOptions, generate};
use booking_domain::{BookingId, EventId};
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The booking core of Usher: seat holds and checkout.
#[derive(Debug, Parser)]
#[command(name = "usher-booking", version)]
struct Cli {
    #[command(subcommand)]
    role: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers requests; also runs the jobs unless `[jobs] run = false`.
    Serve(ConfigArgs),
    /// Runs the jobs alone.
    Work(ConfigArgs),
    /// Brings the database's schema up to date.
    Migrate(ConfigArgs),
    /// Catalogue work.
    #[command(subcommand)]
    Admin(Admin),
}

#[derive(Debug, Subcommand)]
enum Admin {
    /// Seating plans.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Events.
    #[command(subcommand)]
    Event(EventCommand),
    /// What is told of bookings.
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Payments that a person has to look at.
    #[command(subcommand)]
    Payments(PaymentsCommand),
    /// Pays a part of a booking's money back; the booking stands.
    Refund {
        #[command(flatten)]
        config: ConfigArgs,
        /// The event.
        event: EventId,
        /// The booking.
        booking: BookingId,
        /// Minor units of its currency.
        #[arg(long)]
        amount: i64,
        /// Why, for people.
        #[arg(long)]
        reason: String,
        /// What asks for it: the same request is the same refund, however often it is made.
        #[arg(long)]
        request: String,
    },
    /// Cancels every booking of an event and pays all of it back. Stopped and started again it goes on; so do the nodes.
    CancelEvent {
        #[command(flatten)]
        config: ConfigArgs,
        /// The event.
        event: EventId,
        /// Why, for people.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
enum PlanCommand {
    /// Makes a plan of any size, and its sidecar with prices and a standing floor.
    Generate(GenerateArgs),
}

#[derive(Debug, Subcommand)]
enum EventCommand {
    /// Imports the event that a TOML file describes.
    Import {
        #[command(flatten)]
        config: ConfigArgs,
        /// The description; paths in it are relative to it.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum OutboxCommand {
    /// Lists announcements that were not delivered, those set aside first.
    List(ConfigArgs),
    /// Has announcements that were set aside tried again.
    Replay {
        #[command(flatten)]
        config: ConfigArgs,
        /// Only this one.
        #[arg(long)]
        seq: Option<i64>,
    },
}

#[derive(Debug, Subcommand)]
enum PaymentsCommand {
    /// Lists them.
    List(ConfigArgs),
    /// Takes one off the list: somebody has looked at it.
    Seen {
        #[command(flatten)]
        config: ConfigArgs,
        /// Our name of it, as listed.
        reference: String,
    },
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Overrides one key, by its dotted path.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct GenerateArgs {
    /// How many seats, exactly.
    #[arg(long, default_value_t = 12_000)]
    seats: u32,
    /// How many tiers they rise in.
    #[arg(long, default_value_t = 4)]
    tiers: u32,
    /// Varies the details.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Places of the standing floor; 0 for none.
    #[arg(long, default_value_t = 2_000)]
    floor: u32,
    /// Name of the hall.
    #[arg(long, default_value = "Arena")]
    name: String,
    /// ISO 4217 code of the prices.
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// Where the plan goes.
    #[arg(long)]
    out: PathBuf,
    /// Where the sidecar goes.
    #[arg(long)]
    sidecar: PathBuf,
}

impl ConfigArgs {
    fn load(&self) -> anyhow::Result<Config> {
        Config::load(&self.config, &self.set)
    }
}

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false).with_env_filter(filter);
    log.with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(act(cli.role))
}

async fn act(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => run(Services::new(args.load()?)?, Role::Serve).await,
        Command::Work(args) => run(Services::new(args.load()?)?, Role::Work).await,
        Command::Migrate(args) => migrate(&args.load()?).await,
        Command::Admin(Admin::Outbox(command)) => operate::outbox(command).await,
        Command::Admin(Admin::Payments(command)) => operate::payments(command).await,
        Command::Admin(Admin::Refund { config, event, booking, amount, reason, request }) => {
            let asked = RefundRequest { event, booking, amount, reason, request };
            operate::refund(&Services::new(config.load()?)?, asked).await
        }
        Command::Admin(Admin::CancelEvent { config, event, reason }) => {
            operate::cancel_event(&Services::new(config.load()?)?, &event, &reason).await
        }
        Command::Admin(Admin::Plan(PlanCommand::Generate(args))) => generate_plan(args),
        Command::Admin(Admin::Event(EventCommand::Import { config, file })) => import(&config.load()?, &file).await,
    }
}

async fn migrate(config: &Config) -> anyhow::Result<()> {
    let pool = storage::open_for_administration(&config.database).await?;
    storage::MIGRATIONS.run(&pool).await.context("migrating the database")?;
    println!("the schema is up to date ({} migrations)", storage::MIGRATIONS.iter().count());
    Ok(())
}

async fn import(config: &Config, file: &Path) -> anyhow::Result<()> {
    let pool = storage::open_for_administration(&config.database).await?;
    match import_event(&pool, file).await? {
        (id, Imported::New { seats, areas }) => println!("imported {id}: {seats} seats, {areas} areas"),
        (id, Imported::Unchanged) => println!("{id} is imported already; nothing changed"),
    }
    Ok(())
}

fn generate_plan(args: GenerateArgs) -> anyhow::Result<()> {
    let options = GenerateOptions {
        name: args.name,
        seats: args.seats,
        tiers: args.tiers,
        seed: args.seed,
        floor: (args.floor > 0).then_some(args.floor),
        currency: args.currency,
    };
    let (plan, sidecar) = generate(&options)?;
    let write = |path: &Path, bytes: Vec<u8>| {
        std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
    };
    write(&args.out, plan.to_json())?;
    write(&args.sidecar, sidecar.to_json())?;
    println!("{} seats in {} and {}", args.seats, args.out.display(), args.sidecar.display());
    Ok(())
}
