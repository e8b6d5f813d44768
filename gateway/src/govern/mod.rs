//! The governor: the origin's say on the rate of a sale.
//!
//! * [`health`] – what an origin node tells about itself
//! * [`look`] – asks the nodes
//! * [`watch`] – what a row of looks shows: silence, wellness, the share of failures. Pure
//! * [`decide`] – what follows for the rate, and the sentence that says so. Pure
//!
//! Owns: one round a second over the sales that have a `health_path`. What is in force stands in the line's Redis; every
//! gateway looks and decides for itself, and of those that decide alike the first one makes the change. So there is no
//! leader to lose, and a gateway that starts begins with no opinion. A service of its own, in which a sale whose origin or
//! Redis is slow keeps no other one waiting.
//! Leaves out: the organiser's settings, which the origin can only lower.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use queue::Clock;
use queue::govern::Governed;
use queue_token::SaleId;
use tokio::time::{MissedTickBehavior, interval};

use crate::govern::decide::{Decision, Evidence, InForce, decide};
use crate::govern::look::Looker;
use crate::govern::watch::Watch;
use crate::line::in_flight::{InFlight, Round};
use crate::line::room::SaleRoom;
use crate::line::rooms::Rooms;

pub mod decide;
pub mod health;
pub mod look;
pub mod watch;

/// Between two looks at how the origin is.
const GOVERNING: Duration = Duration::from_secs(1);

/// Looks at the origin nodes and acts on what they say.
pub struct Governor {
    nodes: Vec<SocketAddr>,
    rooms: Arc<Rooms>,
    looker: Looker,
    started: Instant,
    watches: Mutex<HashMap<SaleId, Watch>>,
}

#[async_trait]
impl BackgroundService for Governor {
    /// Looks after every sale once a second, and after one whose last round is still under way when that has ended.
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let (rounds, mut under_way) = (InFlight::default(), FuturesUnordered::new());
        let mut times = interval(GOVERNING);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = times.tick() => {
                    let due = self.rooms.all().into_iter();
                    under_way.extend(due.filter_map(|room| rounds.begin(&room.id).map(|round| self.round(room, round))));
                }
                Some(()) = under_way.next() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}

impl Governor {
    /// A governor over these nodes, with no opinion yet.
    pub fn new(nodes: &[SocketAddr], rooms: Arc<Rooms>) -> Self {
        Self { nodes: nodes.to_vec(), rooms, looker: Looker::new(), started: Instant::now(), watches: Mutex::default() }
    }

    async fn round(&self, room: Arc<SaleRoom>, round: Round) {
        self.look_after(&room).await;
        drop(round);
    }

    /// Looks at every node for a sale that gives the origin a say, and makes what changes follow.
    async fn look_after(&self, room: &SaleRoom) {
        let Some(view) = room.view() else { return };
        let settings = &view.snapshot.settings;
        let Some(path) = settings.health_path.as_deref() else {
            self.watches.lock().unwrap_or_else(PoisonError::into_inner).remove(&room.id);
            return;
        };
        let looks = join_all(self.nodes.iter().map(|node| self.looker.look(*node, path))).await;
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let evidence = {
            let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
            let watch = watches.entry(room.id.clone()).or_default();
            watch.note(&looks, room.answers(), settings.health_p99_ms, now_ms)
        };
        tokio::join!(note_heard(room, &evidence), follow(room, path, &evidence));
    }
}

/// Tells the other gateways that the origin answers here.
async fn note_heard(room: &SaleRoom, evidence: &Evidence) {
    if evidence.silent_looks == 0
        && let Err(error) = room.line().heard(&room.id, Clock::Server).await
    {
        tracing::debug!(sale = %room.id, error = ?error, "it could not be noted that the origin answers");
    }
}

/// Makes what follows from what was seen at this path.
async fn follow(room: &SaleRoom, path: &str, evidence: &Evidence) {
    // Looking took a while: what is in force may be another since, and the organiser may have taken the say away.
    let Some(view) = room.view().filter(|view| view.snapshot.settings.health_path.as_deref() == Some(path)) else {
        return;
    };
    let governed = &view.snapshot.governed;
    let in_force = in_force(governed, view.snapshot.at_us);
    let Decision::Change { factor_milli, cause, why } = decide(evidence, in_force) else { return };
    match room.line().govern(&room.id, governed.seq, factor_milli, cause, &why, Clock::Server).await {
        Ok(true) => tracing::info!(sale = %room.id, factor_milli, cause = cause.as_str(), "{why}"),
        Ok(false) => tracing::debug!(sale = %room.id, why, "another gateway was first, or sees it otherwise"),
        Err(error) => tracing::warn!(sale = %room.id, error = ?error, "the origin's say could not be stored"),
    }
}

/// What is in force at a time of the Redis server's clock. A change that lies ahead was made before that clock stepped
/// back: nobody knows when, and waiting for it could take any time, so it has had its rest.
fn in_force(governed: &Governed, at_us: u64) -> InForce {
    let since_us = at_us.checked_sub(governed.changed_us);
    InForce {
        factor_milli: governed.factor_milli,
        cause: governed.cause,
        since_ms: since_us.map_or(u64::MAX, |since_us| since_us / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_rests_until_it_is_over_or_the_clock_steps_back() {
        let governed = Governed { changed_us: 50_000_000, ..Governed::default() };
        let since_ms = |at_us| in_force(&governed, at_us).since_ms;
        assert_eq!((since_ms(50_000_000), since_ms(57_000_000)), (0, 7_000));
        assert_eq!(since_ms(49_000_000), u64::MAX);
        assert_eq!(in_force(&Governed::default(), 7_000_000).since_ms, 7_000, "never changed");
    }
}
