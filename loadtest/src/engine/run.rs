//! The whole run: set-up, arrivals, the end by time, by the last fan, or by a signal.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::control::Control;
use super::life::{Ledger, Stage, live};
use super::pool::{BadTarget, Pool, PoolLimits};
use super::setup::{SetupError, read_plan};
use crate::arrivals::Arrivals;
use crate::fan::{Fan, World};
use crate::history::{End, History, HistoryWriter, Kind, Opening};
use crate::meter::Meter;
use crate::report::Progress;
use crate::scenario::Scenario;
use crate::watch::Watch;

/// After cutting, tasks only have to notice.
const CUT_WITHIN: Duration = Duration::from_secs(5);

/// What to run, against what.
#[derive(Debug)]
pub struct RunOptions {
    /// The scenario.
    pub scenario: Scenario,
    /// Addresses of the gateways.
    pub targets: Vec<String>,
    /// Where the history goes.
    pub history: Option<PathBuf>,
    /// An earlier end than the scenario's.
    pub for_s: Option<f64>,
    /// Where the settings of the line can be read.
    pub control: Option<Control>,
}

/// Why a run did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address is wrong.
    #[error(transparent)]
    Target(#[from] BadTarget),
    /// The system is not ready.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The history cannot be written.
    #[error("cannot write the history: {0}")]
    History(#[source] std::io::Error),
    /// Signals cannot be heard.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// The scenario it ran.
    pub scenario: Scenario,
    /// Addresses asked.
    pub targets: Vec<String>,
    /// When it began (RFC 3339).
    pub started_at: String,
    /// How long it took.
    pub elapsed_s: f64,
    /// Whether a signal ended it.
    pub aborted: bool,
    /// Counts and latencies.
    pub meter: Meter,
    /// What was seen broken.
    pub watch: Watch,
    /// What went wrong with the history, if anything.
    pub history_fault: Option<String>,
}

/// Runs a scenario to its end.
pub async fn run(options: RunOptions) -> Result<Finished, RunError> {
    let signals = Signals::listen().map_err(RunError::Signals)?;
    let (stage, writer, world) = prepare(&options).await?;
    let clock = stage.clock;
    let opening = opening_of(&options, clock);
    stage.history.line(&opening).await;

    let followed = CancellationToken::new();
    let follower = options
        .control
        .clone()
        .map(|control| tokio::spawn(control.follow(stage.history.clone(), clock, followed.clone())));
    let run_s = options.for_s.map_or(options.scenario.run_s, |for_s| for_s.min(options.scenario.run_s));
    let progress = Progress::start(&options.scenario.name, run_s);
    let tracker = TaskTracker::new();
    let crowd = tokio::spawn(arrive(world, stage.clone(), tracker.clone()));

    let (aborted, closed_us) = see_through(&stage, &tracker, run_s, options.scenario.drain_s, signals, &progress).await;
    // The crowd's task ends with the closing at the latest, and the tracker has seen all its fans off.
    stage.closing.cancel();
    let _ = crowd.await;
    followed.cancel();
    if let Some(follower) = follower {
        let _ = timeout(CUT_WITHIN, follower).await;
    }
    progress.finish();
    let end = End { aborted, closed_us, end_us: clock.now_us(), kind: Kind::End, operations: 0 };
    finish(options, opening, stage, writer, end).await
}

async fn prepare(options: &RunOptions) -> Result<(Arc<Stage>, HistoryWriter, Arc<World>), RunError> {
    let scenario = &options.scenario;
    let limits = PoolLimits {
        connections: scenario.limits.connections,
        request: Duration::from_secs_f64(scenario.limits.request_s),
        answer_bytes: scenario.limits.answer_bytes,
    };
    let pool = Pool::new(&options.targets, limits).await?;
    let plan = read_plan(&pool, &scenario.target.event).await?;
    let (history, writer) = History::start(options.history.as_deref()).map_err(RunError::History)?;
    let world = Arc::new(World {
        scenario: scenario.clone(),
        plan,
        targets: pool.targets(),
        // Not from the seed: two runs of one scenario must not share keys.
        // Long enough that nobody else comes upon the same keys.
        run_tag: format!("{:032x}", rand::rng().random::<u128>()),
    });
    let stage = Arc::new(Stage {
        clock: Clock::start(),
        pool,
        history,
        ledger: Mutex::new(Ledger::default()),
        operations: AtomicU64::new(0),
        closing: CancellationToken::new(),
        cutting: CancellationToken::new(),
    });
    Ok((stage, writer, world))
}

/// Lets fans come at their moments, until there are none left or the run closes.
async fn arrive(world: Arc<World>, stage: Arc<Stage>, tracker: TaskTracker) {
    let scenario = &world.scenario;
    let arrivals = Arrivals::new(&scenario.arrivals, scenario.seed, scenario.limits.fans);
    for (number, due_us) in arrivals.enumerate() {
        tokio::select! {
            biased;
            () = stage.closing.cancelled() => break,
            () = tokio::time::sleep_until(stage.clock.moment(due_us)) => {}
        }
        stage.ledger.lock().expect("no holder of this lock panics").meter.arrived(stage.clock.now_us());
        let fan = Fan::new(number as u64, world.clone());
        let stage = stage.clone();
        tracker.spawn(async move { live(fan, due_us, &stage).await });
    }
    tracker.close();
}

/// Waits for the end of the run, closes it in order, and says whether a signal ended it and when it closed.
async fn see_through(
    stage: &Stage,
    tracker: &TaskTracker,
    run_s: f64,
    drain_s: f64,
    mut signals: Signals,
    progress: &Progress,
) -> (bool, u64) {
    let aborted = tokio::select! {
        () = tracker.wait() => false,
        () = sleep(Duration::from_secs_f64(run_s)) => false,
        () = signals.next() => true,
        () = progress.draw(|| stage.level()) => false,
    };
    let closed_us = stage.clock.now_us();
    stage.closing.cancel();
    tracker.close();
    tokio::select! {
        () = tracker.wait() => return (aborted, closed_us),
        () = sleep(Duration::from_secs_f64(drain_s)) => {}
        // A second signal: no more patience.
        () = signals.next() => {}
        () = progress.draw(|| stage.level()) => {}
    }
    stage.cutting.cancel();
    let _ = timeout(CUT_WITHIN, tracker.wait()).await;
    (aborted, closed_us)
}

async fn finish(
    options: RunOptions,
    opening: Opening,
    stage: Arc<Stage>,
    writer: HistoryWriter,
    end: End,
) -> Result<Finished, RunError> {
    let operations = stage.operations.load(Ordering::Relaxed);
    stage.history.line(&End { operations, ..end.clone() }).await;
    let ledger = std::mem::take(&mut *stage.ledger.lock().expect("no holder of this lock panics"));
    // Tasks that did not notice the cutting still hold the stage: then the writer cannot see the end
    // of its channel, and what it has is on disk within a second anyway.
    let history_fault = match Arc::try_unwrap(stage) {
        Ok(stage) => {
            drop(stage);
            tokio::task::spawn_blocking(|| writer.finish())
                .await
                .unwrap_or_else(|_| Err(std::io::Error::other("the writer panicked")))
                .err()
                .map(|fault| fault.to_string())
        }
        Err(_) => {
            sleep(Duration::from_secs(2)).await;
            Some("some fans could not be stopped in time; their last operations are missing".to_owned())
        }
    };
    Ok(Finished {
        scenario: options.scenario,
        targets: options.targets,
        started_at: opening.started_at,
        elapsed_s: end.end_us as f64 / 1e6,
        aborted: end.aborted,
        meter: ledger.meter,
        watch: ledger.watch,
        history_fault,
    })
}

fn opening_of(options: &RunOptions, clock: Clock) -> Opening {
    let scenario = &options.scenario;
    Opening {
        burst: scenario.line.map(|line| line.burst),
        event: scenario.target.event.clone(),
        kind: Kind::Run,
        rate_per_min: scenario.line.map(|line| line.rate_per_min),
        sale: scenario.target.sale.clone(),
        scenario: scenario.name.clone(),
        seed: scenario.seed,
        started_at: clock.wall().to_string(),
        targets: options.targets.clone(),
        version: 1,
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
