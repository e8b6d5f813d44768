//! The `stack` command: `up`, `psp`, `demo`; see `stack help`.

mod demo;
mod turns;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stack::psp::PspOptions;

/// Runs Usher on one machine: private Postgres, Redis, payment provider, booking nodes and gateways.
#[derive(Debug, Parser)]
#[command(name = "stack", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Starts everything, prints where it is as one line of JSON, and stays until SIGTERM, Ctrl-C or its parent's end.
    Up(up::UpArguments),
    /// The same with an on-sale and a simulated crowd; Ctrl-C ends it with an audit.
    Demo(demo::DemoArguments),
    /// The sandbox payment provider alone.
    Psp(PspOptions),
    /// Stops what a launcher started once that launcher is gone (started by launchers, not by people).
    #[command(hide = true)]
    Guard {
        /// The launcher's directory.
        dir: PathBuf,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Up(arguments) => up::up(arguments).await,
        Task::Demo(arguments) => demo::demo(arguments).await,
        Task::Psp(options) => psp(&options).await,
        Task::Guard { dir } => stack::guard::watch(dir).await.map(|()| ExitCode::SUCCESS).map_err(anyhow::Error::from),
    };
    done.unwrap_or_else(|problem| {
        eprintln!("stack: {problem:#}");
        match problem.downcast_ref() {
            Some(stack::StackError::Unsupported(_)) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    })
}

async fn psp(options: &PspOptions) -> anyhow::Result<ExitCode> {
    let stop = up::asked_to_stop(None)?;
    stack::psp::serve(options, stop).await?;
    Ok(ExitCode::SUCCESS)
}
