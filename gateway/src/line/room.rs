//! One sale as this gateway knows it.
//!
//! Invariants: the floor is at least every score that this gateway signed or saw, so that scores rise even after
//! Redis has lost everything; a snapshot is replaced, never changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use queue::offer::Offered;
use queue::seen::{self, Shown};
use queue::take::Taken;
use queue::{Clock, Code, Line, LineError, Standing, join, renew};
use queue_token::{Device, SaleId, Score, Taker, VisitorId};
use tokio::runtime::Handle;

use crate::govern::watch::Answers;
use crate::line::batch::{Batch, BatchError};
use crate::line::view::View;

/// Longest wait of a visitor for the line's answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most requests that may wait for one kind of call.
const WAITING_MAX: usize = 16_384;

/// One sale.
#[derive(Debug)]
pub struct SaleRoom {
    /// Which.
    pub id: SaleId,
    line: Line,
    view: ArcSwapOption<View>,
    floor: Arc<AtomicU64>,
    up: Arc<AtomicBool>,
    answers: AtomicU64,
    failed_answers: AtomicU64,
    joins: Batch<VisitorId, Standing>,
    presence: Batch<Shown, Standing>,
    /// The same for those far from the front, who are heard after a loss: they never wait in front of the others.
    returns: Batch<Shown, Standing>,
    renewals: Batch<(VisitorId, u64), Option<u64>>,
}

impl SaleRoom {
    /// A room whose batches are served in the given runtime.
    pub fn open(id: &SaleId, line: &Line, runtime: &Handle) -> Arc<Self> {
        let floor = Arc::new(AtomicU64::new(0));
        let up = Arc::new(AtomicBool::new(true));

        let (joins, worker) = Batch::new(join::BATCH_MAX, WAITING_MAX, PATIENCE, {
            let (line, id, floor, up) = (line.clone(), id.clone(), floor.clone(), up.clone());
            move |visitors: Vec<VisitorId>| {
                let (line, id, floor, up) = (line.clone(), id.clone(), floor.clone(), up.clone());
                async move {
                    let score = Score::new(floor.load(Ordering::Acquire)).unwrap_or(Score::MAX);
                    noted(&up, "join", line.join(&id, score, &visitors, Clock::Server).await)
                }
            }
        });
        runtime.spawn(worker);

        let presence = presence_batch(id, line, &up, runtime);
        let returns = presence_batch(id, line, &up, runtime);

        let (renewals, worker) = Batch::new(renew::BATCH_MAX, WAITING_MAX, PATIENCE, {
            let (line, id, up) = (line.clone(), id.clone(), up.clone());
            move |visitors: Vec<(VisitorId, u64)>| {
                let (line, id, up) = (line.clone(), id.clone(), up.clone());
                async move { noted(&up, "renew", line.renew(&id, &visitors, Clock::Server).await) }
            }
        });
        runtime.spawn(worker);

        let view = ArcSwapOption::empty();
        let (answers, failed_answers) = (AtomicU64::new(0), AtomicU64::new(0));
        let (id, line) = (id.clone(), line.clone());
        Arc::new(Self { id, line, view, floor, up, answers, failed_answers, joins, presence, returns, renewals })
    }

    /// The latest view; `None` until the first snapshot came.
    pub fn view(&self) -> Option<Arc<View>> {
        self.view.load_full()
    }

    /// Whether Redis answered the last call about this sale.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Takes a new view and raises the floor by it.
    pub fn set_view(&self, view: View) {
        self.raise_floor(view.snapshot.last_score);
        self.view.store(Some(Arc::new(view)));
    }

    /// Notes a score that was signed or seen.
    pub fn raise_floor(&self, score: Score) {
        self.floor.fetch_max(score.get(), Ordering::AcqRel);
    }

    /// A score by this gateway's own clock, above everything it knows; for the time when Redis does not answer.
    pub fn score_alone(&self, now_us: u64) -> Score {
        let before = self.floor.fetch_update(Ordering::AcqRel, Ordering::Acquire, |floor| Some(now_us.max(floor + 1)));
        let floor = before.unwrap_or_default();
        Score::new(now_us.max(floor + 1)).unwrap_or(Score::MAX)
    }

    /// Joins the line, together with whoever joins at the same moment.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn join(&self, visitor: VisitorId) -> Result<Standing, BatchError> {
        self.joins.ask(visitor).await
    }

    /// Joins the line, or, `alone`, answers at once that the line does not know the visitor.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn join_unless(&self, alone: bool, visitor: VisitorId) -> Result<Standing, BatchError> {
        if alone { Ok(Standing::Unknown) } else { self.join(visitor).await }
    }

    /// Says that the visitor who shows this place is present and asks where it stands.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn seen(&self, shown: Shown) -> Result<Standing, BatchError> {
        let is_near = self.view().is_none_or(|view| view.is_near(shown.score));
        if is_near { self.presence.ask(shown).await } else { self.returns.ask(shown).await }
    }

    /// Prolongs the slot of a visitor with a live pass; answers the new expiry (ms), or `None` when it no longer counts.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn renew(&self, visitor: VisitorId, expires_ms: u64) -> Result<Option<u64>, BatchError> {
        self.renewals.ask((visitor, expires_ms)).await
    }

    /// A called visitor goes inside, on the device that holds its place.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn claim(&self, visitor: VisitorId, device: Device) -> Result<Standing, LineError> {
        self.note(self.line.claim(&self.id, visitor, device, Clock::Server).await)
    }

    /// A visitor gives up its place, on the device that holds it, or its pass.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn depart(&self, visitor: VisitorId, device: Option<Device>) -> Result<Standing, LineError> {
        self.note(self.line.depart(&self.id, visitor, device, Clock::Server).await)
    }

    /// Notes a code that leads to the place shown.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn offer(&self, shown: Shown, code: Code) -> Result<Offered, LineError> {
        self.note(self.line.offer(&self.id, shown, code, Clock::Server).await)
    }

    /// Takes the place that a code leads to.
    ///
    /// # Errors
    /// When Redis does not answer; the same taker may ask again.
    pub async fn take(&self, code: Code, taker: Taker) -> Result<Taken, LineError> {
        self.note(self.line.take(&self.id, code, taker, Clock::Server).await)
    }

    /// Notes an answer of the origin to somebody inside.
    pub fn note_answer(&self, has_failed: bool) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.failed_answers.fetch_add(u64::from(has_failed), Ordering::Relaxed);
    }

    /// The origin's answers so far.
    pub fn answers(&self) -> Answers {
        Answers { all: self.answers.load(Ordering::Relaxed), failed: self.failed_answers.load(Ordering::Relaxed) }
    }

    /// The line itself, for the jobs.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Notes whether Redis answered.
    pub fn note<T>(&self, result: Result<T, LineError>) -> Result<T, LineError> {
        match &result {
            Ok(_) => self.up.store(true, Ordering::Release),
            Err(error) => failed(&self.up, "call", error),
        }
        result
    }
}

fn presence_batch(id: &SaleId, line: &Line, up: &Arc<AtomicBool>, runtime: &Handle) -> Batch<Shown, Standing> {
    let (batch, worker) = Batch::new(seen::BATCH_MAX, WAITING_MAX, PATIENCE, {
        let (line, id, up) = (line.clone(), id.clone(), up.clone());
        move |visitors: Vec<Shown>| {
            let (line, id, up) = (line.clone(), id.clone(), up.clone());
            async move { noted(&up, "seen", line.seen(&id, &visitors, Clock::Server).await) }
        }
    });
    runtime.spawn(worker);
    batch
}

fn noted<T>(up: &AtomicBool, what: &'static str, result: Result<T, LineError>) -> Result<T, String> {
    match result {
        Ok(value) => {
            up.store(true, Ordering::Release);
            Ok(value)
        }
        Err(error) => {
            failed(up, what, &error);
            Err(error.to_string())
        }
    }
}

fn failed(up: &AtomicBool, what: &'static str, error: &LineError) {
    metrics::counter!("usher_gateway_line_errors_total", "operation" => what).increment(1);
    if error.is_outage() && up.swap(false, Ordering::AcqRel) {
        tracing::warn!(operation = what, error = %error, "the line does not answer");
    } else if !error.is_outage() {
        tracing::error!(operation = what, error = ?error, "the line failed");
    }
}
