//! The holds writer: one task per event and node takes the requests that wait and commits them together.
//!
//! Owns: the queues and everybody's share of them ([`turns`]), the node's picture of the seats ([`mirror`]), what goes
//! into one batch ([`plan`]), and the task that commits it ([`task`]).
//!
//! Invariants:
//! * A success is only what Postgres committed. A batch whose answer was lost is settled from the database first.
//! * A refusal is right at a moment after its request came: the picture is brought up to date in between, and a
//!   hold that may have lapsed by the database's clock is asked about, not guessed.
//! * Whoever came first and wants a free seat gets it; of each request all or nothing.
//! * Queue, batch, tries and waits are bounded; what does not fit is told to come again.
//!
//! Several nodes may write one event: the database decides between them, this is only the fast path.

mod mirror;
mod plan;
mod task;
mod turns;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use booking_domain::EventId;
use booking_domain::best::Wish as BestWish;
use sqlx::PgPool;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::config;
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::feed::Feeds;
use crate::storage::hold_batch::{HoldOrder, OwnerLimits};
use turns::{Turn, Turns};

/// Requests that may wait per event; at the rate of one node about a fifth of a second.
const QUEUE: usize = 4096;

/// Requests of one owner that may wait: far more than anybody may hold, far fewer than would leave others no room.
const QUEUE_OF_ONE: u32 = 128;

/// Most requests that one commit serves.
pub const BATCH: usize = plan::MAX_REQUESTS;

/// A request on its way through the writer.
#[derive(Debug)]
pub(super) struct Ask {
    /// The event.
    pub(super) facts: Arc<EventFacts>,
    /// What is written. Its seats are chosen by the writer when `best` is there.
    pub(super) order: HoldOrder,
    /// What the best seats are chosen by.
    pub(super) best: Option<BestWish>,
    /// How often it lost chosen seats to another node.
    pub(super) tries: u32,
    /// Its owner's share of the queue.
    _turn: Option<Turn>,
    /// Where the outcome goes.
    pub(super) reply: oneshot::Sender<Result<Outcome, Error>>,
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was held.
    Held(Box<Held>),
    /// It was denied.
    Refused(Refusal),
    /// Its idempotency key was used before: the kept answer counts.
    KeyKnown,
}

/// A hold that was made.
#[derive(Debug)]
pub(super) struct Held {
    /// As it was written.
    pub(super) order: HoldOrder,
    /// When it was made.
    pub(super) made_at: jiff::Timestamp,
    /// When it lapses.
    pub(super) until: jiff::Timestamp,
}

/// The writers of this node.
#[derive(Debug)]
pub struct Writers {
    pool: PgPool,
    terms: Terms,
    /// Who is told of what was committed.
    feeds: Arc<Feeds>,
    turns: Arc<Turns>,
    queues: std::sync::Mutex<HashMap<EventId, mpsc::Sender<Ask>>>,
}

/// The same for all holds of a node.
#[derive(Debug, Clone, Copy)]
struct Terms {
    ttl_s: u32,
    limits: OwnerLimits,
}

impl Writers {
    /// Writers with connections of their own; none runs yet.
    #[must_use]
    pub fn new(pool: PgPool, holds: &config::Holds, feeds: Arc<Feeds>) -> Self {
        let limits = OwnerLimits { places: holds.max_seats_per_visitor, holds: holds.max_holds_per_visitor };
        let (terms, turns) = (Terms { ttl_s: holds.ttl_s, limits }, Turns::new(QUEUE_OF_ONE));
        Self { pool, terms, feeds, turns, queues: std::sync::Mutex::default() }
    }

    /// Most places of one owner.
    #[must_use]
    pub(super) const fn places_limit(&self) -> u32 {
        self.terms.limits.places
    }

    /// Hands a request to its event's writer and waits for the outcome. Who stops waiting may still have been
    /// served: the hold then lapses.
    pub(super) async fn ask(
        &self,
        facts: &Arc<EventFacts>,
        order: HoldOrder,
        best: Option<BestWish>,
    ) -> Result<Outcome, Error> {
        // An owner who was made up for this request has no others.
        let turn = order.counted.then(|| self.turns.take(&order.owner)).transpose()?;
        let (reply, outcome) = oneshot::channel();
        self.send(Ask { facts: Arc::clone(facts), order, best, tries: 0, _turn: turn, reply })?;
        outcome.await.unwrap_or_else(|gone| Err(Error::internal("the holds writer ended early", gone)))
    }

    fn send(&self, mut ask: Ask) -> Result<(), Error> {
        let event = ask.facts.event.id.clone();
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let queue = queues.entry(event.clone()).or_insert_with(|| {
                let (sender, receiver) = mpsc::channel(QUEUE);
                let feeds = Arc::clone(&self.feeds);
                tokio::spawn(task::Writer::new(&ask.facts, self.pool.clone(), self.terms, feeds, receiver).run());
                sender
            });
            match queue.try_send(ask) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => {
                    metrics::counter!("usher_booking_holds_turned_away_total").increment(1);
                    let source = "too many requests wait already".into();
                    return Err(Error::Unavailable { what: "the holds writer", source, retry: false });
                }
                // It had nothing to do for a while and ended.
                Err(TrySendError::Closed(back)) => {
                    queues.remove(&event);
                    ask = back;
                }
            }
        }
    }
}
