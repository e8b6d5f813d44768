//! One step of the till: for each event a queue and a task that drains it, commits once, and answers all.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use booking_domain::EventId;
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::Left;
use crate::error::Error;
use crate::passes::chain;
use crate::storage::idempotency::Claim;
use crate::storage::own_connection::{CALL, OwnConnection, UNUSED, bounded};

/// Requests of one commit.
pub(super) const MAX_REQUESTS: usize = 64;
/// Requests that may wait per event and step.
const QUEUE: usize = 1024;
/// Without anything to do for so long, the task ends.
const IDLE: Duration = Duration::from_secs(60);
/// How often a batch is tried after a deadlock.
const TRIES: u32 = 4;

/// What was done, or that nothing was.
pub(super) type Outcome<D> = Result<D, Left>;

/// A request on its way through a lane.
struct Waiting<A, D> {
    ask: A,
    reply: oneshot::Sender<Result<Outcome<D>, Error>>,
}

/// The requests of a step that wait.
type Batch<S> = Vec<Waiting<<S as Step>::Ask, <S as Step>::Done>>;

/// A step of the till.
pub(super) trait Step: Send + Sync + 'static {
    /// Its name in logs and metrics.
    const NAME: &'static str;
    /// What is asked.
    type Ask: Send + Sync + 'static;
    /// What was done.
    type Done: Send + 'static;

    /// What may be in one request of a batch only, beside its key.
    fn subject(ask: &Self::Ask) -> Uuid;

    /// The key that is taken or noted, which may be in one request of a batch only.
    fn key(ask: &Self::Ask) -> Option<&Claim>;

    /// Does a batch and commits it; one outcome for each. An error of the connection leaves open whether it was done.
    fn commit(
        &self,
        conn: &mut PgConnection,
        event: &EventId,
        asks: &[&Self::Ask],
    ) -> impl Future<Output = Result<Vec<Outcome<Self::Done>>, Error>> + Send;
}

type Queue<S> = mpsc::Sender<Waiting<<S as Step>::Ask, <S as Step>::Done>>;

/// The queues of one step, by event.
pub(super) struct Lanes<S: Step> {
    step: Arc<S>,
    pool: PgPool,
    queues: Mutex<HashMap<EventId, Queue<S>>>,
    done: Arc<AtomicU64>,
}

impl<S: Step> std::fmt::Debug for Lanes<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("step", &S::NAME).finish_non_exhaustive()
    }
}

impl<S: Step> Lanes<S> {
    pub(super) fn new(pool: PgPool, step: S) -> Self {
        Self { step: Arc::new(step), pool, queues: Mutex::default(), done: Arc::default() }
    }

    /// How many requests were done.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Hands a request to its event's task and waits for the outcome.
    pub(super) async fn ask(&self, event: &EventId, ask: S::Ask) -> Result<Outcome<S::Done>, Error> {
        let (reply, outcome) = oneshot::channel();
        self.send(event, Waiting { ask, reply })?;
        outcome.await.unwrap_or_else(|gone| Err(Error::internal("the till ended early", gone)))
    }

    fn send(&self, event: &EventId, mut waiting: Waiting<S::Ask, S::Done>) -> Result<(), Error> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let queue = queues.entry(event.clone()).or_insert_with(|| {
                let (sender, queue) = mpsc::channel(QUEUE);
                let (step, event, done) = (Arc::clone(&self.step), event.clone(), Arc::clone(&self.done));
                let conn = OwnConnection::new(self.pool.clone());
                tokio::spawn(Lane { step, event, queue, conn, done }.run());
                sender
            });
            match queue.try_send(waiting) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => {
                    metrics::counter!("usher_booking_till_turned_away_total", "step" => S::NAME).increment(1);
                    let source = "too many requests wait already".into();
                    return Err(Error::Unavailable { what: "the till", source, retry: false });
                }
                // It had nothing to do for a while and ended.
                Err(TrySendError::Closed(back)) => {
                    queues.remove(event);
                    waiting = back;
                }
            }
        }
    }
}

/// The task of one event.
struct Lane<S: Step> {
    step: Arc<S>,
    event: EventId,
    queue: mpsc::Receiver<Waiting<S::Ask, S::Done>>,
    conn: OwnConnection,
    done: Arc<AtomicU64>,
}

impl<S: Step> Lane<S> {
    /// Works until nobody asks any more.
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_REQUESTS);
        loop {
            let pause = if self.conn.is_kept() { UNUSED } else { IDLE };
            match tokio::time::timeout(pause, self.queue.recv_many(&mut batch, MAX_REQUESTS)).await {
                Ok(0) => return,
                Ok(_) => self.serve(std::mem::take(&mut batch)).await,
                Err(_) if self.conn.is_kept() => self.conn.give_back(),
                // What is sent until now is still served.
                Err(_) => self.queue.close(),
            }
        }
    }

    /// Answers a batch: those that meet another of the same batch go the general way.
    async fn serve(&mut self, batch: Batch<S>) {
        let (first, met) = apart::<S>(batch);
        answer_all(met, || Ok(Err(Left)));
        if first.is_empty() {
            return;
        }
        metrics::histogram!("usher_booking_till_batch_requests", "step" => S::NAME).record(first.len() as f64);
        let began = Instant::now();
        let asks: Vec<&S::Ask> = first.iter().map(|waiting| &waiting.ask).collect();
        match self.commit(&asks).await {
            Ok(outcomes) => {
                metrics::histogram!("usher_booking_till_batch_seconds", "step" => S::NAME)
                    .record(began.elapsed().as_secs_f64());
                let left = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                if left > 0 {
                    metrics::counter!("usher_booking_till_left_total", "step" => S::NAME).increment(left as u64);
                }
                self.done.fetch_add((outcomes.len() - left) as u64, Ordering::Relaxed);
                for (waiting, outcome) in first.into_iter().zip(outcomes) {
                    // Who went away meanwhile finds it in the tables.
                    let _ = waiting.reply.send(Ok(outcome));
                }
            }
            // One of them may be what fails: the general way harms no other.
            Err(error @ (Error::Internal { .. } | Error::Refused(_))) if !error.leaves_open() => {
                tracing::warn!(event = %self.event, step = S::NAME, error = %chain(&error), "a batch goes the general way");
                answer_all(first, || Ok(Err(Left)));
            }
            Err(error) => answer_all(first, || Err(error.again())),
        }
    }

    async fn commit(&mut self, asks: &[&S::Ask]) -> Result<Vec<Outcome<S::Done>>, Error> {
        let mut tries = 1;
        loop {
            let mut conn = self.conn.take(CALL).await?;
            let done = bounded(CALL, self.step.commit(&mut conn, &self.event, asks)).await;
            let done = done.and_then(|outcomes| match outcomes.len() == asks.len() {
                true => Ok(outcomes),
                false => Err(Error::defect("a batch has another number of outcomes than of requests")),
            });
            match self.conn.kept(conn, done) {
                Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }
}

/// Those that may be in one batch, and those that meet another of it. Who went away while waiting is left out.
fn apart<S: Step>(mut batch: Batch<S>) -> (Batch<S>, Batch<S>) {
    batch.retain(|waiting| !waiting.reply.is_closed());
    let (mut subjects, mut keys) = (HashSet::new(), HashSet::new());
    let is_first = |waiting: &Waiting<S::Ask, S::Done>| {
        let key = S::key(&waiting.ask).map(|claim| (claim.actor.clone(), claim.key.clone()));
        subjects.insert(S::subject(&waiting.ask)) && key.is_none_or(|key| keys.insert(key))
    };
    batch.into_iter().partition(is_first)
}

fn answer_all<A, D>(waiting: Vec<Waiting<A, D>>, answer: impl Fn() -> Result<Outcome<D>, Error>) {
    for one in waiting {
        let _ = one.reply.send(answer());
    }
}
