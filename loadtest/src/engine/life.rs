//! One fan's task: sleeps until the next request is due, sends it, writes it down, lets the fan
//! hear the answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::pool::{Exchange, Pool};
use crate::fan::{Call, Fan, Heard, Lost, Next, Note, Outcome, Step};
use crate::history::{History, Verdict};
use crate::meter::{Meter, Times};
use crate::report::Level;
use crate::watch::Watch;

/// Counts and watches, behind one lock that is never held across a wait.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) meter: Meter,
    pub(super) watch: Watch,
}

/// What all tasks of a run share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) clock: Clock,
    pub(super) pool: Pool,
    pub(super) history: History,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) operations: AtomicU64,
    /// No new visits; who is in mid-purchase may finish.
    pub(super) closing: CancellationToken,
    /// Nobody may finish.
    pub(super) cutting: CancellationToken,
}

impl Stage {
    /// Where the run stands, for the progress line.
    pub(super) fn level(&self) -> Level {
        let ledger = self.ledger.lock().expect("no holder of this lock panics");
        let (requests, errors) = ledger.meter.requests();
        Level {
            elapsed_s: self.clock.now_us() as f64 / 1e6,
            arrived: ledger.meter.arrived,
            waiting: ledger.meter.waiting(),
            inside: ledger.meter.inside(),
            confirmed: ledger.meter.confirmed,
            requests,
            errors,
            breaches: ledger.watch.breaches().1,
        }
    }
}

/// How far a fan has come, for the levels of the meter.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    joined: bool,
    inside: bool,
}

/// A whole visit.
pub(super) async fn live(mut fan: Fan, due_us: u64, stage: &Stage) {
    let mut progress = Progress::default();
    let mut next = fan.start(due_us);
    let outcome = loop {
        let call = match next {
            Next::End(outcome) => break outcome,
            Next::Call(call) => call,
        };
        if let Err(outcome) = wait_until_due(&fan, &call, stage).await {
            break outcome;
        }
        let woke_us = stage.clock.now_us();
        let exchange = tokio::select! {
            exchange = stage.pool.exchange(&call) => exchange,
            () = stage.cutting.cancelled() => Exchange { heard: Heard::Lost(Lost::Cut), sent: None },
        };
        let end_us = stage.clock.now_us();
        let sent_us = exchange.sent.map_or(woke_us, |sent| stage.clock.us_of(sent));
        let step = fan.hear(end_us, &exchange.heard);
        let times = Times { due_us: call.at_us, woke_us, sent_us, end_us };
        next = write_down(fan.number(), step, times, stage, &mut progress).await;
        if matches!(exchange.heard, Heard::Lost(Lost::Cut)) {
            break Outcome::CutOff;
        }
    };
    let at_us = stage.clock.now_us();
    let mut ledger = stage.ledger.lock().expect("no holder of this lock panics");
    ledger.meter.ended(outcome, progress.joined, progress.inside, at_us);
}

/// Waits for the moment of a request, unless the run closes first for this fan.
async fn wait_until_due(fan: &Fan, call: &Call, stage: &Stage) -> Result<(), Outcome> {
    let due = stage.clock.moment(call.at_us);
    tokio::select! {
        biased;
        () = stage.closing.cancelled() => if let Some(outcome) = fan.close() { return Err(outcome) },
        () = sleep_until(due) => return Ok(()),
    }
    tokio::select! {
        biased;
        () = stage.cutting.cancelled() => Err(Outcome::CutOff),
        () = sleep_until(due) => Ok(()),
    }
}

async fn write_down(fan: u64, mut step: Step, times: Times, stage: &Stage, progress: &mut Progress) -> Next {
    let seen = &mut step.seen;
    seen.op_id = stage.operations.fetch_add(1, Ordering::Relaxed);
    (seen.start_us, seen.end_us) = (times.sent_us, times.end_us);
    if seen.result == Verdict::Unknown && seen.status.is_none() && seen.problem.is_none() {
        seen.problem = Some("unknown".into());
    }
    {
        let mut ledger = stage.ledger.lock().expect("no holder of this lock panics");
        ledger.meter.operation(seen, step.error, times);
        for note in &step.notes {
            progress.joined |= matches!(note, Note::Joined);
            progress.inside |= matches!(note, Note::GotIn { .. });
            ledger.meter.note(note, seen.currency.as_deref(), times.end_us);
            ledger.watch.note(fan, note, times.sent_us, times.end_us);
        }
    }
    stage.history.operation(seen).await;
    step.next
}
