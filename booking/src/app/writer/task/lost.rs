//! Batches whose answer was lost: what became of them is found out from the database.
//!
//! Nobody is told that a hold was made before the database says so, nor that it was not before it never can be. What
//! cannot be found out in [`SETTLE`] is told to come again and looked after later: a hold that was made all the same
//! and has no key by which its owner could ask for it is released.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use booking_domain::{HoldId, Owner};
use jiff::Timestamp;

use super::{Writer, fail};
use crate::app::release_hold;
use crate::app::writer::{Ask, Held, Outcome};
use crate::error::Error;
use crate::passes::chain;
use crate::storage::hold_batch;
use crate::storage::own_connection::{CALL, bounded};

/// For how long, with pauses, it is asked what became of a batch; all others wait meanwhile.
const SETTLE: Duration = Duration::from_secs(2);
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// Holds whose fate could not be learnt, kept for later.
const MAX_LOST: usize = 10_000;
/// So many of them are looked after before a batch.
const LOST_AT_ONCE: usize = 32;
/// How long that may take before it is put off.
const LOST_LOOK: Duration = Duration::from_millis(500);
/// When it failed, how long until it is tried again; also when nobody asks for anything.
pub(super) const LOST_PAUSE: Duration = Duration::from_secs(1);

impl Writer {
    /// Answers a batch whose answer was lost by what the database has of it.
    pub(super) async fn settle(&mut self, batch: Vec<Ask>, error: &Error) {
        tracing::warn!(event = %self.event, error = %chain(error), holds = batch.len(), "a batch has no answer");
        metrics::counter!("usher_booking_hold_batches_unanswered_total").increment(1);
        let ids: Vec<(HoldId, &Owner)> = batch.iter().map(|ask| (ask.order.id, &ask.order.owner)).collect();
        match self.settled(&ids).await {
            Ok(made) => {
                self.feeds.changed(&self.event);
                for ask in batch {
                    let outcome = match made.get(&ask.order.id) {
                        Some((made_at, until)) => {
                            Ok(Outcome::Held(Box::new(Held { order: ask.order, made_at: *made_at, until: *until })))
                        }
                        // Now it is known that nothing was done, nor ever will be.
                        None => {
                            let source = error.to_string().into();
                            Err(Error::Unavailable { what: "the database", source, retry: false })
                        }
                    };
                    let _ = ask.reply.send(outcome);
                }
            }
            Err(still) => {
                tracing::warn!(event = %self.event, error = %chain(&still), "it is looked after later");
                // Whoever has a key will ask for the hold by it; the others can never know that it is theirs.
                let room = MAX_LOST.saturating_sub(self.lost.len());
                let nameless = batch.iter().filter(|ask| ask.order.keys.is_empty()).take(room);
                self.lost.extend(nameless.map(|ask| (ask.order.id, ask.order.owner.clone())));
                fail(batch, error);
            }
        }
    }

    async fn settled(&mut self, holds: &[(HoldId, &Owner)]) -> Result<HashMap<HoldId, (Timestamp, Timestamp)>, Error> {
        let ends = Instant::now() + SETTLE;
        loop {
            match self.settle_once(holds, ends.saturating_duration_since(Instant::now())).await {
                Ok(made) => return Ok(made.into_iter().map(|(id, made_at, until)| (id, (made_at, until))).collect()),
                Err(error) if ends <= Instant::now() + SETTLE_PAUSE => return Err(error),
                Err(_) => tokio::time::sleep(SETTLE_PAUSE).await,
            }
        }
    }

    async fn settle_once(
        &mut self,
        holds: &[(HoldId, &Owner)],
        within: Duration,
    ) -> Result<Vec<(HoldId, Timestamp, Timestamp)>, Error> {
        let ends = Instant::now() + within;
        let mut conn = self.connection(within).await?;
        let left = ends.saturating_duration_since(Instant::now());
        let made = bounded(left, hold_batch::settle(&mut conn, &self.event, holds)).await;
        self.conn.kept(conn, made)
    }

    /// Releases some of the holds that nobody was told of. What fails is kept for later and holds up no request.
    pub(super) async fn release_lost(&mut self) {
        let some: Vec<(HoldId, Owner)> = self.lost.drain(..self.lost.len().min(LOST_AT_ONCE)).collect();
        let ids: Vec<(HoldId, &Owner)> = some.iter().map(|(id, owner)| (*id, owner)).collect();
        let (mut left, mut failed) = (Vec::new(), false);
        match self.settle_once(&ids, LOST_LOOK).await {
            Ok(made) => left.extend(some.into_iter().filter(|(lost, _)| made.iter().any(|(id, ..)| id == lost))),
            Err(error) => {
                tracing::warn!(event = %self.event, error = %chain(&error), "lost holds are released later");
                (left, failed) = (some, true);
            }
        }
        while !failed && let Some((id, owner)) = left.pop() {
            let released = release_hold::release_in(&self.pool, &self.event, id, std::slice::from_ref(&owner));
            match bounded(CALL, released).await {
                Ok(()) => self.feeds.changed(&self.event),
                Err(Error::Refused(_)) => {}
                Err(error) => {
                    tracing::warn!(event = %self.event, hold = %id, error = %chain(&error), "it is released later");
                    left.push((id, owner));
                    failed = true;
                }
            }
        }
        self.lost.extend(left);
        if failed {
            self.lost_at = Instant::now() + LOST_PAUSE;
        }
    }
}
