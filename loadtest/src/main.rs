//! `usher-loadtest`: rehearses a sale with a crowd, and audits what came of it.
//!
//! Exit codes: 0 ok, 98 an invariant is broken, 99 a threshold is missed, 104 bad scenario or
//! command line, 105 aborted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use loadtest::audit::{AuditOptions, audit};
use loadtest::engine::{Control, RunError, RunOptions, run};
use loadtest::exit::Exit;
use loadtest::report::{Summary, page, print};
use loadtest::scenario::Scenario;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "usher-loadtest",
    version,
    about = "Rehearses a sale with a crowd of simulated fans, and audits what came of it"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a scenario against one or more gateways.
    ///
    /// Exit codes: 0 ok (also when --for ends it), 98 an invariant is broken, 99 a threshold is missed, 104 bad
    /// scenario, 105 aborted by a signal or unable to start.
    Run(RunArgs),
    /// Checks a history against the database, and against the payment provider's ledger.
    ///
    /// Exit codes: 0 ok, 98 an invariant is broken, 105 something could not be read.
    Audit(AuditArgs),
}

#[derive(Args)]
struct RunArgs {
    /// The scenario file.
    scenario: PathBuf,
    /// A gateway, as http://HOST:PORT; may be given several times.
    #[arg(long, required = true)]
    target: Vec<String>,
    /// Writes one line per operation, for the audit.
    #[arg(long)]
    history: Option<PathBuf>,
    /// Writes a self-contained HTML page.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Writes the summary as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seed of all draws instead of the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Ends the run after so many seconds, in order and with success.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    for_s: Option<f64>,
    /// At most so many fans, instead of the scenario's limit.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    fans: Option<u64>,
    /// Control API, to record the line's rate while it runs.
    #[arg(long, requires = "control_token")]
    control: Option<String>,
    /// Token of the control API.
    #[arg(long, env = "USHER_CONTROL_TOKEN", hide_env_values = true)]
    control_token: Option<String>,
}

#[derive(Args)]
struct AuditArgs {
    /// The history of a run.
    #[arg(long)]
    history: PathBuf,
    /// The booking core's database.
    #[arg(long)]
    postgres: String,
    /// The sandbox payment provider, to compare its ledger.
    #[arg(long)]
    psp: Option<String>,
    /// Control API, for the rate when the history does not have it.
    #[arg(long, requires = "control_token")]
    control: Option<String>,
    /// Token of the control API.
    #[arg(long, env = "USHER_CONTROL_TOKEN", hide_env_values = true)]
    control_token: Option<String>,
    /// The sale, when the history does not name it.
    #[arg(long)]
    sale: Option<String>,
    /// How long, in seconds, payments on their way may take to settle.
    #[arg(long, default_value = "20", value_parser = seconds)]
    settle: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1e7).contains(&value) => Ok(value),
        _ => Err("not a number of seconds".into()),
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nowhere to complain to when even this cannot be printed.
            let _ = error.print();
            let exit = if error.use_stderr() { Exit::BadScenario } else { Exit::Ok };
            return exit.into();
        }
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(Exit::Aborted, &error).into(),
    };
    let exit = match cli.command {
        Command::Run(args) => runtime.block_on(run_scenario(args)),
        Command::Audit(args) => runtime.block_on(run_audit(args)),
    };
    // A look-up or a broken disk may still block a thread; the verdict does not wait for it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit.into()
}

async fn run_scenario(args: RunArgs) -> Exit {
    let mut scenario = match Scenario::read(&args.scenario) {
        Ok(scenario) => scenario,
        Err(error) => return complain(Exit::BadScenario, &error),
    };
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    scenario.limits.fans = args.fans.unwrap_or(scenario.limits.fans);
    let control = match (args.control, args.control_token, &scenario.target.sale) {
        (Some(url), Some(token), Some(sale)) => Some(Control { url, token, sale: sale.clone() }),
        _ => None,
    };
    let options = RunOptions { scenario, targets: args.target, history: args.history, for_s: args.for_s, control };
    let finished = match run(options).await {
        Ok(finished) => finished,
        Err(error @ RunError::Target(_)) => return complain(Exit::BadScenario, &error),
        Err(error) => return complain(Exit::Aborted, &error),
    };
    let summary = Summary::of(&finished);
    println!("{}", print(&summary));
    let mut exit = summary.exit();
    if let Some(path) = &args.json {
        exit = written(path, &serde_json::to_string_pretty(&summary).unwrap_or_default(), exit);
    }
    if let Some(path) = &args.report {
        exit = written(path, &page(&summary, &finished.meter.seconds), exit);
    }
    exit
}

fn written(path: &Path, text: &str, exit: Exit) -> Exit {
    match std::fs::write(path, text) {
        Ok(()) => exit,
        Err(error) => {
            eprintln!("usher-loadtest: cannot write {}: {error}", path.display());
            if exit == Exit::Ok { Exit::Aborted } else { exit }
        }
    }
}

async fn run_audit(args: AuditArgs) -> Exit {
    let options = AuditOptions {
        history: args.history,
        postgres: args.postgres,
        psp: args.psp,
        control: args.control.zip(args.control_token),
        sale: args.sale,
        settle: Duration::from_secs_f64(args.settle),
    };
    match audit(&options).await {
        Err(error) => complain(Exit::Aborted, &error),
        Ok(report) => {
            println!("{}", report.heading);
            for finding in &report.findings {
                println!("{finding}");
            }
            println!("audit: {}", if report.is_broken() { "BROKEN" } else { "clean" });
            if report.is_broken() { Exit::InvariantBroken } else { Exit::Ok }
        }
    }
}

fn complain(exit: Exit, error: &dyn std::error::Error) -> Exit {
    eprintln!("usher-loadtest: {error}");
    exit
}
