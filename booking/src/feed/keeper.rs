//! The one task that knows an event's live states: it alone reads the history, answers for snapshots, and tells the
//! followers. So nothing is read or written twice at the same time, and nobody waits for a lock.
//!
//! Those who ask while a read runs share the next one: each answer shows what was committed before it was asked for.

use std::sync::Arc;
use std::time::Duration;

use booking_domain::EventId;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::frame::{Frame, Gathered};
use super::past::Past;
use super::stock::{AreaStock, Snapshot};
use crate::error::Error;
use crate::passes::chain;
use crate::storage::changes::{self, Entry};
use crate::storage::seats::{self, AllSeats};

/// The least time between two frames: changes within it are told together.
pub const GATHER: Duration = Duration::from_millis(200);
/// How often the history is read while somebody follows, should no bell be heard.
const POLL: Duration = Duration::from_secs(1);
/// How long a read may take, as seen from here: all who ask wait for it.
const READ: Duration = Duration::from_secs(10);
/// How often an idle stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the states are kept when nobody asks.
const IDLE: Duration = Duration::from_secs(60);
/// Those who ask and are answered at once.
const BATCH: usize = 1024;
/// Lines of the history read at once; further behind than so many, all is read anew.
const CHUNK: i64 = 1000;
const MAX_BEHIND: i64 = 5000;
/// Lines of the history that are read back for those who were away, and told in one frame.
const BACKFILL: i64 = 2000;
const BACKFILL_FRAME: usize = 50;

/// Where a follower begins.
#[derive(Debug)]
pub enum Start {
    /// At this version, after these missed frames.
    At(i64, Vec<Frame>),
    /// Too far behind: the follower has to load a snapshot; the stream goes on from this version.
    Reset(i64),
}

/// How a follow begins, and what comes then.
pub type Followed = (Start, broadcast::Receiver<Frame>);

/// What a keeper is asked.
#[derive(Debug)]
pub(super) enum Request {
    Snapshot(oneshot::Sender<Result<Arc<Snapshot>, Error>>),
    Follow { after: Option<i64>, reply: oneshot::Sender<Result<Followed, Error>> },
}

impl Request {
    fn fail(self, error: &Error) {
        // Whoever went away meanwhile needs no answer.
        match self {
            Self::Snapshot(reply) => drop(reply.send(Err(error.again()))),
            Self::Follow { reply, .. } => drop(reply.send(Err(error.again()))),
        }
    }
}

/// What is known of the event.
struct Known {
    now: Arc<Snapshot>,
    /// What happened and was not yet told.
    gathered: Gathered,
    past: Past,
    /// Whether the history before this node's time was read already.
    backfilled: bool,
}

/// What became of an attempt to take in what happened.
enum Caught {
    Up,
    TooFarBehind,
    /// The history is not the one that was followed.
    AnotherHistory,
}

pub(super) struct Keeper {
    pub(super) event: EventId,
    pub(super) pool: PgPool,
    pub(super) frames: broadcast::Sender<Frame>,
    pub(super) stirred: Arc<Notify>,
    known: Option<Known>,
    /// Up to this version more than one history was told: the database lost commits and gave their numbers anew.
    doubtful: i64,
    /// Whether the bell was heard since the last read.
    due: bool,
    /// When the followers were last thought of, read, told anything; when somebody last asked.
    looked_at: Instant,
    read_at: Instant,
    told_at: Instant,
    asked_at: Instant,
}

impl Keeper {
    pub(super) fn new(event: EventId, pool: PgPool, frames: broadcast::Sender<Frame>, stirred: Arc<Notify>) -> Self {
        let now = Instant::now();
        let (looked_at, read_at, told_at, asked_at) = (now, now, now, now);
        Self {
            event,
            pool,
            frames,
            stirred,
            known: None,
            doubtful: -1,
            due: false,
            looked_at,
            read_at,
            told_at,
            asked_at,
        }
    }

    /// Works until the feed is gone. When nobody has asked or followed for a while, what is known is forgotten.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut batch = Vec::new();
        let stirred = Arc::clone(&self.stirred);
        loop {
            let followed = self.frames.receiver_count() > 0;
            let gathering = self.known.as_ref().is_some_and(|known| !known.gathered.is_empty());
            let look_at = if gathering || (self.due && followed) {
                Some(self.looked_at + GATHER)
            } else if followed {
                Some((self.read_at + POLL).min(self.told_at + KEEP_ALIVE))
            } else {
                self.known.as_ref().map(|_| self.asked_at + IDLE)
            };
            tokio::select! {
                count = requests.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.answer(&mut batch).await;
                }
                () = stirred.notified(), if !self.due => self.due = true,
                () = sleep_until(look_at.unwrap_or(self.asked_at)), if look_at.is_some() => {
                    if followed || gathering {
                        self.tell(followed).await;
                    } else {
                        self.known = None;
                    }
                }
            }
        }
    }

    /// Answers all who asked, out of one read.
    async fn answer(&mut self, batch: &mut Vec<Request>) {
        self.asked_at = Instant::now();
        let oldest = |request: &Request| match request {
            Request::Follow { after, .. } => *after,
            Request::Snapshot(_) => None,
        };
        let oldest = batch.iter().filter_map(oldest).min();
        let read = match self.refresh().await {
            Ok(()) => self.reach_back(oldest).await,
            failed => failed,
        };
        let known =
            read.and_then(|()| self.known.as_ref().ok_or_else(|| Error::defect("nothing is known after a read")));
        let known = match known {
            Ok(known) => known,
            Err(error) => return batch.drain(..).for_each(|request| request.fail(&error)),
        };
        for request in batch.drain(..) {
            match request {
                Request::Snapshot(reply) => drop(reply.send(Ok(Arc::clone(&known.now)))),
                Request::Follow { after, reply } => {
                    drop(reply.send(Ok((known.start(after, self.doubtful), self.frames.subscribe()))));
                }
            }
        }
    }

    /// Tells the followers what happened, or at least that the stream lives.
    async fn tell(&mut self, followed: bool) {
        self.looked_at = Instant::now();
        if followed && (self.due || self.read_at.elapsed() >= POLL) {
            self.due = false;
            if let Err(error) = self.refresh().await {
                tracing::warn!(event = %self.event, error = %chain(&error), "the history could not be read for followers");
            }
        }
        let Some(known) = &mut self.known else { return };
        let frame = match known.gathered.take() {
            Some(frame) => {
                known.past.push(frame.clone());
                frame
            }
            None if self.told_at.elapsed() >= KEEP_ALIVE => Frame::alive(known.now.version),
            None => return,
        };
        self.send(frame);
    }

    fn send(&mut self, frame: Frame) {
        self.told_at = Instant::now();
        // Nobody following is no failure.
        let _ = self.frames.send(frame);
    }

    /// Reads what happened since the last read.
    async fn refresh(&mut self) -> Result<(), Error> {
        let read = self.try_refresh().await;
        self.read_at = Instant::now();
        // What does not fit together is read anew the next time; who cannot have the database is told so.
        if matches!(read, Err(Error::Internal { .. } | Error::Refused(_))) {
            self.known = None;
        }
        read
    }

    async fn try_refresh(&mut self) -> Result<(), Error> {
        let mut conn = self.pool.acquire().await?;
        let Ok(read) = tokio::time::timeout(READ, self.read(&mut conn)).await else {
            // Something may still run on it.
            drop(conn.detach());
            let source = "it does not answer".into();
            return Err(Error::Unavailable { what: "the database", source, retry: false });
        };
        read
    }

    async fn read(&mut self, conn: &mut PgConnection) -> Result<(), Error> {
        if let Some(known) = &mut self.known {
            match known.catch_up(conn, &self.event).await? {
                Caught::Up => return Ok(()),
                Caught::TooFarBehind => {}
                Caught::AnotherHistory => {
                    tracing::warn!(event = %self.event, "the database has another history; viewers start anew");
                    metrics::counter!("usher_booking_histories_lost_total").increment(1);
                    self.doubtful = self.doubtful.max(known.now.version);
                }
            }
        }
        let AllSeats { version, mark, seats, areas } = seats::snapshot(conn, &self.event).await?;
        let areas = areas.into_iter().map(AreaStock::from).collect();
        self.known = Some(Known::new(Snapshot::new(version, mark, seats, areas)));
        if self.frames.receiver_count() > 0 {
            self.send(Frame::reset(version));
        }
        Ok(())
    }

    /// Reads, once, the history before this node's time, when somebody comes who knows a version of then.
    async fn reach_back(&mut self, oldest: Option<i64>) -> Result<(), Error> {
        let (Some(oldest), Some(known)) = (oldest, &mut self.known) else { return Ok(()) };
        if known.backfilled || oldest >= known.past.start() {
            return Ok(());
        }
        let start = known.past.start();
        let from = (start - BACKFILL).max(0);
        let mut conn = self.pool.acquire().await?;
        let read = changes::after(&mut conn, &self.event, from, start - from).await?;
        known.backfilled = true;
        let entries: Vec<&Entry> = read.entries.iter().filter(|entry| entry.version <= start).collect();
        for chunk in entries.rchunks(BACKFILL_FRAME) {
            let mut gathered = Gathered::default();
            chunk.iter().for_each(|entry| gathered.add(entry));
            let fits = gathered.take().is_some_and(|frame| known.past.push_before(chunk[0].version - 1, frame));
            if !fits {
                break;
            }
        }
        Ok(())
    }
}

impl Known {
    fn new(now: Snapshot) -> Self {
        let past = Past::from(now.version);
        Self { now: Arc::new(now), gathered: Gathered::default(), past, backfilled: false }
    }

    /// Takes in what happened.
    async fn catch_up(&mut self, conn: &mut PgConnection, event: &EventId) -> Result<Caught, Error> {
        let begun = self.now.version;
        loop {
            let read = changes::after(conn, event, self.now.version, CHUNK).await?;
            if read.seen != self.now.mark {
                return Ok(Caught::AnotherHistory);
            }
            if read.version - begun > MAX_BEHIND {
                return Ok(Caught::TooFarBehind);
            }
            if !read.entries.is_empty() {
                let now = Arc::make_mut(&mut self.now);
                for entry in &read.entries {
                    now.advance(entry)?;
                    self.gathered.add(entry);
                }
            }
            if self.now.version >= read.version {
                return Ok(Caught::Up);
            }
            if read.entries.is_empty() {
                return Err(Error::defect(format!("the history of {event} has nothing after {}", self.now.version)));
            }
        }
    }

    fn start(&self, after: Option<i64>, doubtful: i64) -> Start {
        let now = self.now.version;
        match after {
            // From now on. What is gathered has versions up to now, which this follower is not told.
            None => Start::At(now, Vec::new()),
            // A version that nobody knows, or one that may have been told of another history.
            Some(after) if after > now || after <= doubtful => Start::Reset(now),
            Some(after) => match self.past.since(after) {
                None => Start::Reset(now),
                Some(missed) => Start::At(missed.last().map_or(after, |frame| frame.version), missed),
            },
        }
    }
}
