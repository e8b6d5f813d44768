//! The governor: the origin's say on the rate of a sale.
//!
//! * [`health`] – what an origin node tells about itself
//! * [`look`] – asks the nodes
//! * [`watch`] – what a row of looks shows: silence, wellness, the share of failures. Pure
//! * [`decide`] – what follows for the rate, and the sentence that says so. Pure
//!
//! Owns: one round a second over the sales that have a `health_path`. What is in force stands in the line's Redis; every
//! gateway looks and decides for itself, and of those that decide alike the first one makes the change. So there is no
//! leader to lose, and a gateway that starts begins with no opinion.
//! Leaves out: the organiser's settings, which the origin can only lower.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::join_all;
use queue::Clock;
use queue_token::SaleId;

use crate::govern::decide::{Decision, InForce, decide};
use crate::govern::look::Looker;
use crate::govern::watch::Watch;
use crate::line::room::SaleRoom;

pub mod decide;
pub mod health;
pub mod look;
pub mod watch;

/// Looks at the origin nodes and acts on what they say.
pub struct Governor {
    nodes: Vec<SocketAddr>,
    looker: Looker,
    started: Instant,
    watches: Mutex<HashMap<SaleId, Watch>>,
}

impl Governor {
    /// A governor over these nodes, with no opinion yet.
    pub fn new(nodes: &[SocketAddr]) -> Self {
        Self { nodes: nodes.to_vec(), looker: Looker::new(), started: Instant::now(), watches: Mutex::default() }
    }

    /// One round: looks at every node for every sale that gives the origin a say, and makes what changes follow.
    pub async fn round(&self, rooms: &[Arc<SaleRoom>]) {
        join_all(rooms.iter().map(|room| self.look_after(room))).await;
    }

    async fn look_after(&self, room: &Arc<SaleRoom>) {
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
        // Looking took a while: what is in force may be another since.
        let Some(view) = room.view() else { return };
        let governed = &view.snapshot.governed;
        let in_force = InForce {
            factor_milli: governed.factor_milli,
            cause: governed.cause,
            since_ms: view.snapshot.at_us.saturating_sub(governed.changed_us) / 1000,
        };
        let Decision::Change { factor_milli, cause, why } = decide(&evidence, in_force) else { return };
        let made = room.line().govern(&room.id, governed.seq, factor_milli, cause, &why, Clock::Server).await;
        match made {
            Ok(true) => tracing::info!(sale = %room.id, factor_milli, cause = cause.as_str(), "{why}"),
            Ok(false) => tracing::debug!(sale = %room.id, "another gateway was first"),
            Err(error) => tracing::warn!(sale = %room.id, error = ?error, "the origin's say could not be stored"),
        }
    }
}
