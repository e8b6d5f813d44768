//! The task of one event: drain, decide, commit once, answer all. What becomes of a batch without an answer is in
//! [`lost`].

mod lost;

use std::sync::Arc;
use std::time::{Duration, Instant};

use booking_domain::{EventId, HoldId, Owner};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::sync::mpsc;

use super::mirror::Mirror;
use super::plan::{self, Plan, plan};
use super::{Ask, Held, Outcome, QUEUE, Terms};
use crate::error::{Error, Moment, Refusal};
use crate::events::{EventFacts, Seated};
use crate::feed::Feeds;
use crate::passes::chain;
use crate::storage::hold_batch::{self, Batch, Committed, HoldOrder, Verdict};
use crate::storage::mirror as table;
use crate::storage::own_connection::{CALL, OwnConnection, UNUSED, bounded};
use lost::LOST_PAUSE;

/// Requests looked at in one round; a round commits at most one batch. As many as may wait: who sends many, which go one
/// by one, holds up nobody else.
const ROUND: usize = QUEUE;
/// Without anything to do for so long, the task ends.
const IDLE: Duration = Duration::from_secs(60);
/// History rows read at once; further behind than `MAX_BEHIND`, all seats are read anew.
const CHUNK: i32 = 1000;
const MAX_BEHIND: i64 = 5000;
/// How often a batch is tried after a deadlock, and chosen seats that another node took.
const TRIES: u32 = 4;
const CHOICES: u32 = 16;

/// The writer of one event.
pub(super) struct Writer {
    event: EventId,
    pool: PgPool,
    terms: Terms,
    feeds: Arc<Feeds>,
    queue: mpsc::Receiver<Ask>,
    waiting: Vec<Ask>,
    mirror: Option<Mirror>,
    seated: Option<Arc<Seated>>,
    /// Holds of batches whose fate is not known; their callers were told to come again.
    lost: Vec<(HoldId, Owner)>,
    /// Before this moment they are let be.
    lost_at: Instant,
    conn: OwnConnection,
}

/// Why a batch has no answer.
enum Failed {
    /// Nothing was done.
    Undone(Error),
    /// The answer was lost on the way.
    Unknown(Error),
}

impl Writer {
    pub(super) fn new(
        facts: &EventFacts,
        pool: PgPool,
        terms: Terms,
        feeds: Arc<Feeds>,
        queue: mpsc::Receiver<Ask>,
    ) -> Self {
        let (event, seated) = (facts.event.id.clone(), facts.seated.clone());
        Self {
            event,
            conn: OwnConnection::new(pool.clone()),
            pool,
            terms,
            feeds,
            queue,
            waiting: Vec::new(),
            mirror: None,
            seated,
            lost: Vec::new(),
            lost_at: Instant::now(),
        }
    }

    /// Works until nobody asks any more.
    pub(super) async fn run(mut self) {
        loop {
            if self.waiting.is_empty() {
                let pause = if self.conn.is_kept() {
                    UNUSED
                } else if self.lost.is_empty() {
                    IDLE
                } else {
                    LOST_PAUSE
                };
                match tokio::time::timeout(pause, self.queue.recv()).await {
                    Ok(Some(ask)) => self.waiting.push(ask),
                    Ok(None) => return,
                    Err(_) if self.conn.is_kept() => {
                        self.conn.give_back();
                        continue;
                    }
                    Err(_) if !self.lost.is_empty() => {
                        self.release_lost().await;
                        continue;
                    }
                    // What is sent until now is still served.
                    Err(_) => {
                        self.queue.close();
                        continue;
                    }
                }
            }
            while self.waiting.len() < ROUND
                && let Ok(ask) = self.queue.try_recv()
            {
                self.waiting.push(ask);
            }
            // Who went away while waiting gets nothing.
            self.waiting.retain(|ask| !ask.reply.is_closed());
            if !self.waiting.is_empty() {
                self.round().await;
            }
        }
    }

    async fn round(&mut self) {
        if let Err(error) = self.prepare().await {
            let waiting = std::mem::take(&mut self.waiting);
            return fail(waiting, &error);
        }
        let Some(mirror) = &mut self.mirror else { return };
        let Plan { batch, rest, later } = plan(std::mem::take(&mut self.waiting), mirror);
        if batch.is_empty() {
            if let Err(error) = self.catch_up().await {
                self.mirror = None;
                fail(later, &error);
                return fail(rest, &error);
            }
        } else {
            self.write(batch).await;
        }
        self.waiting.extend(later);
        // The picture is newer than every ask by now: what cannot be had by it cannot be had.
        for mut ask in rest {
            match self.mirror.as_ref().map_or(Ok(()), |mirror| plan::choose(&mut ask, mirror)) {
                Ok(()) => self.waiting.push(ask),
                Err(Error::Refused(refusal)) => {
                    metrics::counter!("usher_booking_holds_refused_from_memory_total").increment(1);
                    let _ = ask.reply.send(Ok(Outcome::Refused(refusal)));
                }
                Err(error) => drop(ask.reply.send(Err(error))),
            }
        }
    }

    /// Settles what is open and sees to it that there is a mirror.
    async fn prepare(&mut self) -> Result<(), Error> {
        if !self.lost.is_empty() && self.lost_at <= Instant::now() {
            self.release_lost().await;
        }
        if self.mirror.is_none() {
            self.load().await?;
        }
        Ok(())
    }

    async fn load(&mut self) -> Result<(), Error> {
        let mut conn = self.connection(CALL).await?;
        let read = bounded(CALL, table::read(&mut conn, &self.event)).await;
        self.mirror = Some(Mirror::of(&self.conn.kept(conn, read)?, self.seated.clone())?);
        Ok(())
    }

    /// Brings the mirror to a version that was current after this was called.
    async fn catch_up(&mut self) -> Result<(), Error> {
        for _ in 0..=MAX_BEHIND / i64::from(CHUNK) {
            let mut conn = self.connection(CALL).await?;
            let seen = self.mirror.as_ref().map_or(0, Mirror::version);
            let read = bounded(CALL, table::changes(&mut conn, &self.event, seen, CHUNK)).await;
            let changes = self.conn.kept(conn, read)?;
            let Some(mirror) = &mut self.mirror else { break };
            if changes.seen != mirror.mark() {
                self.forget();
                break;
            }
            if changes.version - mirror.version() > MAX_BEHIND {
                break;
            }
            mirror.follow(&changes.entries)?;
            if mirror.version() >= changes.version {
                mirror.set_now(changes.now);
                return Ok(());
            }
        }
        self.load().await
    }

    /// The database has another history than the one that the mirror followed: it has lost commits, as after a failover
    /// to a replica that lagged. What was made of them since may have their numbers.
    fn forget(&mut self) {
        tracing::warn!(event = %self.event, "the database has another history; the seats are read anew");
        metrics::counter!("usher_booking_histories_lost_total").increment(1);
        self.mirror = None;
        // Viewers, here and elsewhere, look at the lost history too.
        self.feeds.changed(&self.event);
    }

    async fn connection(&mut self, within: Duration) -> Result<PoolConnection<Postgres>, Error> {
        let conn = self.conn.take(within).await;
        // Behind another connection may be another server, which has not seen all that this one had.
        if self.conn.was_closed() {
            self.mirror = None;
        }
        conn
    }

    /// Commits a batch and answers it.
    async fn write(&mut self, batch: Vec<Ask>) {
        let began = Instant::now();
        metrics::histogram!("usher_booking_hold_batch_requests").record(batch.len() as f64);
        match self.commit(&batch).await {
            Ok(committed) => {
                metrics::histogram!("usher_booking_hold_batch_seconds").record(began.elapsed().as_secs_f64());
                // Also when whoever asked went away meanwhile.
                self.feeds.changed(&self.event);
                if let Err(error) = self.learn(&batch, &committed).await {
                    tracing::warn!(event = %self.event, error = %chain(&error), "the seats are read anew");
                    self.mirror = None;
                }
                self.answer(batch, committed);
            }
            // The event does not take place: no request of any batch has anything of it.
            Err(Failed::Undone(Error::Refused(refusal))) => {
                self.mirror.iter_mut().for_each(Mirror::end_claims);
                for ask in batch {
                    let _ = ask.reply.send(Ok(Outcome::Refused(refusal.clone())));
                }
                // The picture is no newer than before, and the others are judged by it.
                if self.catch_up().await.is_err() {
                    self.mirror = None;
                }
            }
            // One of them may be what fails: alone it harms no other.
            Err(Failed::Undone(Error::Internal { .. })) if batch.len() > 1 => {
                for ask in batch {
                    Box::pin(self.write(vec![ask])).await;
                }
            }
            Err(Failed::Undone(error)) => {
                self.mirror = None;
                fail(batch, &error);
            }
            Err(Failed::Unknown(error)) => {
                self.mirror = None;
                self.settle(batch, &error).await;
            }
        }
    }

    async fn commit(&mut self, batch: &[Ask]) -> Result<Committed, Failed> {
        let orders: Vec<&HoldOrder> = batch.iter().map(|ask| &ask.order).collect();
        let event = self.event.clone();
        let statement = Batch {
            event: &event,
            seen: self.mirror.as_ref().map_or(0, Mirror::version),
            entries: CHUNK,
            ttl_s: self.terms.ttl_s,
            limits: self.terms.limits,
            orders: &orders,
        };
        let mut tries = 1;
        loop {
            let mut conn = self.connection(CALL).await.map_err(Failed::Undone)?;
            let done = bounded(CALL, hold_batch::commit(&mut conn, statement)).await;
            match self.conn.kept(conn, done) {
                Ok(committed) => return Ok(committed),
                Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
                Err(error) if error.leaves_open() => return Err(Failed::Unknown(error)),
                Err(error) => return Err(Failed::Undone(error)),
            }
        }
    }

    /// Takes what a batch did and found into the mirror.
    async fn learn(&mut self, batch: &[Ask], committed: &Committed) -> Result<(), Error> {
        let Some(mirror) = &mut self.mirror else { return Ok(()) };
        if committed.seen != mirror.mark() {
            self.forget();
            return Ok(());
        }
        mirror.end_claims();
        mirror.follow(&committed.before)?;
        if mirror.version() != committed.base {
            return self.catch_up().await;
        }
        mirror.set_now(committed.made_at);
        for (ask, verdict) in batch.iter().zip(&committed.verdicts) {
            if *verdict == Verdict::Won {
                let seats = ask.order.seats.iter().map(|seat| seat.seat_no);
                mirror.take(seats, committed.made_at, committed.until)?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, batch: Vec<Ask>, committed: Committed) {
        let (made_at, until) = (committed.made_at, committed.until);
        let mut moment = Moment { version: committed.base, at: committed.asked_at };
        for (mut ask, verdict) in batch.into_iter().zip(committed.verdicts) {
            let outcome = match verdict {
                Verdict::Won => {
                    moment.version += 1;
                    Outcome::Held(Box::new(Held { order: ask.order, made_at, until }))
                }
                Verdict::SeatsTaken(_) if ask.best.is_some() && ask.tries < CHOICES => {
                    ask.tries += 1;
                    self.waiting.push(ask);
                    continue;
                }
                // Not a refusal: there may be seats, others were faster each time.
                Verdict::SeatsTaken(_) if ask.best.is_some() => {
                    let source = "other nodes were faster each time".into();
                    let error = Error::Unavailable { what: "the choice of the best seats", source, retry: false };
                    let _ = ask.reply.send(Err(error));
                    continue;
                }
                other => match refusal_of(other, &ask, self.terms, moment) {
                    Some(refusal) => Outcome::Refused(refusal),
                    None => Outcome::KeyKnown,
                },
            };
            // Who went away meanwhile has a hold that lapses.
            let _ = ask.reply.send(Ok(outcome));
        }
    }
}

/// The refusal that a verdict is: decided when the requests before it in the batch had their places.
fn refusal_of(verdict: Verdict, ask: &Ask, terms: Terms, moment: Moment) -> Option<Refusal> {
    let wanted = u32::try_from(ask.order.places()).unwrap_or(u32::MAX);
    Some(match verdict {
        Verdict::Won | Verdict::KeyKnown => return None,
        Verdict::SeatsTaken(seats) => plan::taken(&ask.facts, &seats, moment),
        Verdict::NotEnough { area, available } => {
            let of_area = ask.order.areas.iter().find(|asked| asked.area == area.as_str());
            let wanted = of_area.and_then(|asked| u32::try_from(asked.quantity).ok()).unwrap_or(wanted);
            let area = Some(area.as_str().to_owned());
            Refusal::NotEnough { area, wanted, available: Some(available), moment }
        }
        Verdict::PlacesLimit { have } => Refusal::LimitExceeded { limit: terms.limits.places, have, wanted },
        Verdict::HoldsLimit { have } => Refusal::TooManyHolds { limit: terms.limits.holds, have },
        Verdict::KeyInUse => Refusal::InFlight,
    })
}

fn fail(asks: Vec<Ask>, error: &Error) {
    for ask in asks {
        let _ = ask.reply.send(Err(error.again()));
    }
}
