//! `stack up`: one JSON line when all is ready, then in the foreground until asked to stop.
//!
//! It stops on SIGTERM, on SIGINT and when its parent ends, since whoever started it is then no longer there to stop it.
//! A script that means to leave a stack running behind says `--detached`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::process::getppid;
use stack::redis::Aof;
use stack::{Fixture, Pace, RedisLayout, Setting, Stack, StackOptions};
use tokio::signal::unix::{SignalKind, signal};

/// How often the parent and the children are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// How many gateways (1).
    #[arg(long, value_name = "N")]
    gateways: Option<usize>,
    /// How many booking nodes (1; the demo has 2).
    #[arg(long, value_name = "N")]
    bookings: Option<usize>,
    /// How Redis is laid out.
    #[arg(long, value_enum, default_value_t)]
    redis: RedisLayout,
    /// How much of what Redis was told survives its death.
    #[arg(long, value_enum, default_value_t)]
    redis_aof: Aof,
    /// Where data, configurations and logs go; a temporary directory, gone afterwards, when not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What is in it at first: demo, empty, or the description of an event.
    #[arg(long, default_value = "demo")]
    fixture: Fixture,
    /// gateway.KEY=VALUE or booking.KEY=VALUE, for all nodes of that kind.
    #[arg(long = "set", value_name = "SETTING")]
    settings: Vec<Setting>,
    /// Takes the programs as they are, without asking cargo whether they are up to date (as STACK_NO_BUILD=1).
    #[arg(long)]
    no_build: bool,
    /// Stays when the parent process ends.
    #[arg(long)]
    detached: bool,
}

impl UpArguments {
    /// As the library takes them.
    pub(crate) fn options(&self, bookings: usize, pace: Pace) -> StackOptions {
        StackOptions {
            gateways: self.gateways.unwrap_or(1),
            bookings: self.bookings.unwrap_or(bookings),
            redis: self.redis,
            redis_aof: self.redis_aof,
            dir: self.dir.clone(),
            fixture: self.fixture.clone(),
            pace,
            governed: true,
            settings: self.settings.clone(),
            build: !self.no_build,
        }
    }

    /// Whose end means ours.
    pub(crate) fn parent(&self) -> Option<Parent> {
        if self.detached { None } else { Some(Parent::now()) }
    }
}

pub(crate) async fn up(arguments: UpArguments) -> anyhow::Result<ExitCode> {
    let mut stop = Box::pin(asked_to_stop(arguments.parent())?);
    let Some(stack) = start(arguments.options(1, Pace::default()), &mut stop).await? else {
        return Ok(ExitCode::FAILURE);
    };
    let line = stack.ready().line()?;
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("printing the ready document")?;
    tokio::select! {
        () = stop => {}
        () = watch(&stack) => {}
    }
    stop_all(stack).await?;
    Ok(ExitCode::SUCCESS)
}

/// Starts a stack while listening for the wish to stop; `None` when that came first.
pub(crate) async fn start(
    options: StackOptions,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> anyhow::Result<Option<Stack>> {
    let mut starting = tokio::task::spawn_blocking(move || Stack::up(&options));
    let started = tokio::select! {
        started = &mut starting => started,
        () = stop => {
            stack::interrupt::request();
            if let Ok(Ok(stack)) = starting.await {
                stop_all(stack).await?;
            }
            eprintln!("stack: stopped before everything was ready");
            return Ok(None);
        }
    };
    Ok(Some(started.context("starting")??))
}

/// Stops everything; blocks, so not on the runtime's own thread.
pub(crate) async fn stop_all(stack: Stack) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || drop(stack)).await.context("stopping")
}

/// Says which of the processes ended, once each; never ends. Whoever killed one may want the others to go on.
pub(crate) async fn watch(stack: &Stack) {
    let mut gone = std::collections::BTreeSet::new();
    loop {
        for node in stack.nodes() {
            if node.pid().is_none() && gone.insert(node.name()) {
                eprintln!("stack: {} ended; its log is {}", node.name(), node.log().display());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The process that started us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parent(Option<rustix::process::Pid>);

impl Parent {
    /// To be asked first of all, before it can be gone.
    fn now() -> Parent {
        Parent(getppid())
    }

    fn is_there(self) -> bool {
        getppid() == self.0
    }
}

/// Resolves when this process is asked to stop: by signal, or by its parent's end.
pub(crate) fn asked_to_stop(parent: Option<Parent>) -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    Ok(async move {
        let orphaned = async {
            while parent.is_none_or(Parent::is_there) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = orphaned => {}
        }
    })
}
