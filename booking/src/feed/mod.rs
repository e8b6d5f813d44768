//! Live states of seats and areas: what viewers see.
//!
//! The history table is the truth. Each event that is looked at has a [`keeper`]: one task that follows the history in
//! memory, answers for snapshots and tells the followers. It reads when this node changed something, when the [`bell`]
//! says that another did, when somebody asks for a snapshot (so that readers see their own writes on any node), and
//! once a second while somebody follows, should a bell be lost.
//!
//! Invariants: a follower who knows version v and applies every frame whose version is higher knows the states of that
//! version exactly; a frame is written once and its bytes are shared by all; whoever is too slow or was away too long
//! is told to start anew, and nothing is kept for them; at most [`Feeds::viewers`] follow at the same time.

mod bell;
mod frame;
mod keeper;
mod past;
mod stock;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use booking_domain::EventId;
use sqlx::PgPool;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use bell::start as start_bell;
pub use frame::{Frame, Kind};
pub use keeper::{Followed, GATHER, Start};
pub use stock::{AreaStock, Snapshot};

use crate::error::Error;
use bell::Bell;
use keeper::{Keeper, Request};

/// Frames that may wait for a slow follower before it is told to start anew.
pub const BACKLOG: usize = 32;
/// Those who may wait for a keeper's answer.
const WAITING: usize = 8192;
/// Most events with a feed; beyond it those that nobody uses are dropped.
const MAX_FEEDS: usize = 200;

/// The feed of one event.
#[derive(Debug)]
pub struct Feed {
    event: EventId,
    frames: broadcast::Sender<Frame>,
    stirred: Arc<Notify>,
    /// How to ask the keeper; closed while there is none.
    keeper: Mutex<mpsc::Sender<Request>>,
}

impl Feed {
    fn new(event: EventId) -> Self {
        let (frames, _) = broadcast::channel(BACKLOG);
        // No keeper yet: the other end is dropped here.
        let (keeper, _) = mpsc::channel(1);
        Self { event, frames, stirred: Arc::default(), keeper: Mutex::new(keeper) }
    }

    /// The states as they are now.
    ///
    /// # Errors
    /// When there is no such event, or the database cannot be had.
    pub async fn snapshot(&self, pool: &PgPool) -> Result<Arc<Snapshot>, Error> {
        self.ask(pool, Request::Snapshot).await
    }

    /// Follows the changes from a version on, or from now on.
    ///
    /// # Errors
    /// When there is no such event, or the database cannot be had.
    pub async fn follow(&self, pool: &PgPool, after: Option<i64>) -> Result<Followed, Error> {
        self.ask(pool, |reply| Request::Follow { after, reply }).await
    }

    async fn ask<T>(
        &self,
        pool: &PgPool,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(pool, request(reply))?;
        answer.await.map_err(|gone| Error::internal(format!("the keeper of {} is gone", self.event), gone))?
    }

    /// Hands a request to the keeper; wakes one when there is none.
    fn send(&self, pool: &PgPool, request: Request) -> Result<(), Error> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let request = match keeper.try_send(request) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => return Err(overloaded()),
            Err(mpsc::error::TrySendError::Closed(request)) => request,
        };
        let (sender, requests) = mpsc::channel(WAITING);
        let awake = Keeper::new(self.event.clone(), pool.clone(), self.frames.clone(), Arc::clone(&self.stirred));
        tokio::spawn(awake.run(requests));
        *keeper = sender;
        keeper.try_send(request).map_err(|_| overloaded())
    }
}

fn overloaded() -> Error {
    Error::Unavailable { what: "the live map", source: "too many ask at the same time".into(), retry: false }
}

/// The feeds of this node.
#[derive(Debug)]
pub struct Feeds {
    known: Mutex<HashMap<EventId, Arc<Feed>>>,
    bell: Bell,
    viewers: Arc<Semaphore>,
    closed: CancellationToken,
}

impl Feeds {
    /// Feeds for at most so many followers at the same time.
    #[must_use]
    pub fn new(max_viewers: u32) -> Self {
        let viewers = usize::try_from(max_viewers).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let viewers = Arc::new(Semaphore::new(viewers));
        Self { known: Mutex::default(), bell: Bell::default(), viewers, closed: CancellationToken::new() }
    }

    /// The feed of an event, which the caller knows to exist.
    #[must_use]
    pub fn of(&self, event: &EventId) -> Arc<Feed> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_FEEDS && !known.contains_key(event) {
            known.retain(|_, feed| Arc::strong_count(feed) > 1);
        }
        Arc::clone(known.entry(event.clone()).or_insert_with(|| Arc::new(Feed::new(event.clone()))))
    }

    /// Room for one more follower, as long as it is kept.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when all rooms are taken.
    pub fn admit_viewer(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.viewers).try_acquire_owned().map_err(|_| Error::Unavailable {
            what: "the live map",
            source: "as many viewers as this node takes follow already".into(),
            retry: false,
        })
    }

    /// Ends all streams: the node stops, and viewers go to another.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Cancelled when all streams end.
    #[must_use]
    pub fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Says that a transaction of this node that changed an event was committed: its followers here learn of it
    /// at once, other nodes by the bell.
    pub fn changed(&self, event: &EventId) {
        self.stir(event);
        self.bell.pull(event, false);
    }

    /// Like [`Feeds::changed`], for a change of prices or capacities.
    pub fn terms_changed(&self, event: &EventId) {
        self.stir(event);
        self.bell.pull(event, true);
    }

    fn stir(&self, event: &EventId) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = known.get(event) {
            feed.stirred.notify_one();
        }
    }

    fn stir_all(&self) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().for_each(|feed| feed.stirred.notify_one());
    }
}
