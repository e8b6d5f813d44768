//! Live states of seats and areas: what viewers see.
//!
//! Each event that is looked at has a mirror in memory that is brought up to date from the history before it
//! is shown, so a reader sees their own writes on any node. Streams are fed by one task per event that reads
//! the history every 250 ms while somebody follows, encodes the coalesced change once and sends it to all.
//! The history table is the truth: a stream can be resumed on any node from any recent version.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use booking_domain::{EventId, PackedSeats, SeatState};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Mutex, broadcast};

use crate::error::{Error, Refusal};
use crate::storage::areas::AreaCounts;
use crate::storage::history::{self, Entry};
use crate::storage::seats;

/// How long changes are gathered before they are sent.
const COALESCE: Duration = Duration::from_millis(250);
/// History rows read at once.
const CHUNK: i64 = 1000;
/// A follower or mirror further behind than this starts anew.
const MAX_BEHIND: i64 = 5000;
/// Changes that may wait for a slow follower before it is told to start anew.
const BACKLOG: usize = 64;
/// Most events with a mirror; beyond it those that nobody uses are dropped.
const MAX_FEEDS: usize = 200;

/// What there is of an area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AreaStock {
    /// Its id.
    pub area: String,
    /// How many fit in.
    pub capacity: i32,
    /// How many are held or being paid for.
    pub held: i32,
    /// How many are sold.
    pub sold: i32,
}

impl From<AreaCounts> for AreaStock {
    fn from(counts: AreaCounts) -> Self {
        let AreaCounts { area, capacity, held, pending, sold } = counts;
        Self { area, capacity, held: held + pending, sold }
    }
}

/// All states of an event at one version.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The event's version.
    pub version: i64,
    /// Its seats.
    pub seats: PackedSeats,
    /// Its areas.
    pub areas: Vec<AreaStock>,
}

/// Changes up to a version, encoded.
#[derive(Debug, Clone)]
pub struct Delta {
    /// The version after them.
    pub version: i64,
    /// `{"version":…,"seats":[[seat_no,state]…],"areas":[…]}`.
    pub json: Arc<str>,
}

#[derive(Serialize)]
struct DeltaDocument {
    version: i64,
    seats: Vec<(i32, u8)>,
    areas: Vec<AreaStock>,
}

impl Delta {
    /// Lays entries over each other: of each seat and area only the last state counts.
    fn of(entries: Vec<Entry>) -> Option<Self> {
        let version = entries.last()?.version;
        let (mut seats, mut areas) = (BTreeMap::new(), BTreeMap::new());
        for entry in entries {
            seats.extend(entry.seats.into_iter().map(|seat_no| (seat_no, entry.state.code())));
            areas.extend(entry.areas.into_iter().map(|area| (area.area.clone(), stock(area))));
        }
        let document =
            DeltaDocument { version, seats: seats.into_iter().collect(), areas: areas.into_values().collect() };
        let json = serde_json::to_string(&document).expect("numbers and text always serialise");
        Some(Self { version, json: json.into() })
    }
}

fn stock(area: history::AreaChange) -> AreaStock {
    AreaStock { area: area.area, capacity: area.capacity, held: area.held, sold: area.sold }
}

/// Where a follower begins.
#[derive(Debug)]
pub enum Start {
    /// At this version, after these missed changes.
    At(i64, Option<Delta>),
    /// Too far behind: the follower has to load a snapshot; the stream goes on from this version.
    Reset(i64),
}

/// The feed of one event.
#[derive(Debug)]
pub struct Feed {
    event: EventId,
    mirror: Mutex<Option<Snapshot>>,
    deltas: broadcast::Sender<Delta>,
    /// Whether the task that feeds the followers runs.
    pumping: Mutex<bool>,
}

impl Feed {
    fn new(event: EventId) -> Self {
        let (deltas, _) = broadcast::channel(BACKLOG);
        Self { event, mirror: Mutex::default(), deltas, pumping: Mutex::default() }
    }

    /// The states as they are now.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn snapshot(&self, pool: &PgPool) -> Result<Snapshot, Error> {
        let mut mirror = self.mirror.lock().await;
        let mut conn = pool.acquire().await?;
        let version = self.version(&mut conn).await?;
        let near = |known: &&mut Snapshot| (0..=MAX_BEHIND).contains(&(version - known.version));
        if let Some(known) = mirror.as_mut().filter(near) {
            while known.version < version {
                known.advance(history::since(&mut conn, &self.event, known.version, CHUNK).await?)?;
            }
            return Ok(known.clone());
        }
        let fresh = self.load(&mut conn).await?;
        *mirror = Some(fresh.clone());
        Ok(fresh)
    }

    async fn version(&self, conn: &mut PgConnection) -> Result<i64, Error> {
        let version = history::version(conn, &self.event).await?;
        Ok(version.ok_or(Refusal::NotFound { what: "event" })?)
    }

    async fn load(&self, conn: &mut PgConnection) -> Result<Snapshot, Error> {
        let (version, seats, areas) = seats::snapshot(conn, &self.event).await?;
        Ok(Snapshot { version, seats, areas: areas.into_iter().map(AreaStock::from).collect() })
    }

    /// Follows the changes from a version on, or from now on.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn follow(
        self: &Arc<Self>,
        pool: &PgPool,
        after: Option<i64>,
    ) -> Result<(Start, broadcast::Receiver<Delta>), Error> {
        // Subscribed, and the pump at work, before the past is read, so that nothing falls between: what the
        // pump does not tell this follower was there before it began or before this read.
        let receiver = self.deltas.subscribe();
        let mut conn = pool.acquire().await?;
        self.start_pump(pool, &mut conn).await?;
        let now = self.version(&mut conn).await?;
        let start = match after {
            None => Start::At(now, None),
            Some(after) if after > now || now - after > MAX_BEHIND => Start::Reset(now),
            Some(after) => {
                let missed = Delta::of(history::since(&mut conn, &self.event, after, MAX_BEHIND).await?);
                Start::At(missed.as_ref().map_or(after, |delta| delta.version), missed)
            }
        };
        Ok((start, receiver))
    }

    async fn start_pump(self: &Arc<Self>, pool: &PgPool, conn: &mut PgConnection) -> Result<(), Error> {
        let mut pumping = self.pumping.lock().await;
        if !*pumping {
            let from = self.version(conn).await?;
            *pumping = true;
            tokio::spawn(pump(Arc::clone(self), pool.clone(), from));
        }
        Ok(())
    }
}

impl Snapshot {
    fn advance(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        if entries.is_empty() {
            return Err(Error::defect(format!("the history has nothing after version {}", self.version)));
        }
        for entry in entries {
            self.version = entry.version;
            for seat_no in entry.seats {
                self.set(seat_no, entry.state)?;
            }
            for area in entry.areas {
                let area = stock(area);
                if let Some(known) = self.areas.iter_mut().find(|known| known.area == area.area) {
                    *known = area;
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, seat_no: i32, state: SeatState) -> Result<(), Error> {
        let set = usize::try_from(seat_no).is_ok_and(|seat_no| self.seats.set(seat_no, state));
        if set { Ok(()) } else { Err(Error::defect(format!("the history names seat {seat_no}, which is not there"))) }
    }
}

/// Reads the history and feeds the followers until there are none.
async fn pump(feed: Arc<Feed>, pool: PgPool, mut version: i64) {
    loop {
        tokio::time::sleep(COALESCE).await;
        {
            let mut pumping = feed.pumping.lock().await;
            if feed.deltas.receiver_count() == 0 {
                *pumping = false;
                return;
            }
        }
        let read = async {
            let mut conn = pool.acquire().await?;
            history::since(&mut conn, &feed.event, version, CHUNK).await
        };
        match read.await {
            Ok(entries) => {
                if let Some(delta) = Delta::of(entries) {
                    version = delta.version;
                    // Nobody listening is no failure: the next round ends the task.
                    let _ = feed.deltas.send(delta);
                }
            }
            Err(error) => tracing::warn!(event = %feed.event, %error, "the history could not be read for followers"),
        }
    }
}

/// The feeds of this node.
#[derive(Debug, Default)]
pub struct Feeds {
    known: std::sync::Mutex<HashMap<EventId, Arc<Feed>>>,
}

impl Feeds {
    /// The feed of an event, which the caller knows to exist.
    #[must_use]
    pub fn of(&self, event: &EventId) -> Arc<Feed> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_FEEDS && !known.contains_key(event) {
            known.retain(|_, feed| Arc::strong_count(feed) > 1);
        }
        Arc::clone(known.entry(event.clone()).or_insert_with(|| Arc::new(Feed::new(event.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: i64, state: SeatState, seats: &[i32]) -> Entry {
        Entry { version, state, seats: seats.to_vec(), areas: Vec::new() }
    }

    #[test]
    fn of_each_seat_only_the_last_state_is_sent() {
        let entries =
            vec![entry(4, SeatState::Held, &[2, 1]), entry(5, SeatState::Free, &[1]), entry(6, SeatState::Held, &[3])];
        let delta = Delta::of(entries).unwrap();
        assert_eq!(&*delta.json, r#"{"version":6,"seats":[[1,0],[2,1],[3,1]],"areas":[]}"#);
        assert!(Delta::of(Vec::new()).is_none());
    }

    #[test]
    fn a_mirror_follows_the_history() {
        let mut mirror = Snapshot { version: 3, seats: PackedSeats::free(4), areas: Vec::new() };
        mirror.advance(vec![entry(4, SeatState::Held, &[0, 3]), entry(5, SeatState::Sold, &[3])]).unwrap();
        assert_eq!((mirror.version, mirror.seats.bytes()), (5, &[0b1100_0001u8][..]));
        assert!(mirror.advance(vec![entry(6, SeatState::Held, &[4])]).is_err(), "beyond the plan");
    }
}
