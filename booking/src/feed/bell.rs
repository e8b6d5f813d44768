//! Ringing for other nodes, and hearing them.
//!
//! Changes made by this node wake its own feeds at once. Other nodes are told after the commit, at most once per
//! event and [`PAUSE`]. Whoever misses a bell reads the history once a second while somebody follows.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use booking_domain::EventId;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Feeds;
use crate::error::Error;
use crate::events::EventBook;
use crate::passes::chain;
use crate::services::Services;
use crate::storage::bell::{self, Ear, Heard, Ring};
use crate::storage::terms;

/// The least time between two statements that ring.
const PAUSE: Duration = Duration::from_millis(50);
/// How often prices and capacities are looked after, should no bell be heard.
const TERMS: Duration = Duration::from_secs(2);
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Most events rung for at once; the others are found by those who look.
const MAX_RUNG: usize = 1000;

/// The events to ring for.
#[derive(Debug)]
pub(super) struct Bell {
    /// This node's number, by which it knows its own voice.
    node: u64,
    rung: Mutex<HashMap<EventId, bool>>,
    pulled: Notify,
}

impl Default for Bell {
    fn default() -> Self {
        Self { node: rand::random(), rung: Mutex::default(), pulled: Notify::new() }
    }
}

impl Bell {
    /// Rings for an event soon.
    pub(super) fn pull(&self, event: &EventId, terms: bool) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = rung.get_mut(event) {
            *known |= terms;
        } else if rung.len() < MAX_RUNG {
            rung.insert(event.clone(), terms);
        }
        drop(rung);
        self.pulled.notify_one();
    }

    fn take(&self) -> Vec<Ring> {
        let rung = std::mem::take(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        rung.into_iter().map(|(event, terms)| Ring { node: self.node, event, terms }).collect()
    }
}

/// Rings and listens until `stop`.
///
/// # Errors
/// When the database's URL is malformed.
pub fn start(services: &Services, tracker: &TaskTracker, stop: &CancellationToken) -> anyhow::Result<()> {
    let pool = bell::open(&services.config.database)?;
    let (out, into, eye) = (services.clone(), services.clone(), services.clone());
    let (ringing, listening, looking) = (pool.clone(), pool.clone(), pool);
    tracker.spawn(stop.clone().run_until_cancelled_owned(async move { ring(&out.feeds, &ringing).await }));
    tracker.spawn(stop.clone().run_until_cancelled_owned(async move { check_terms(&eye.events, &looking).await }));
    tracker.spawn(
        stop.clone().run_until_cancelled_owned(async move { listen(&into.feeds, &into.events, &listening).await }),
    );
    Ok(())
}

async fn ring(feeds: &Feeds, pool: &PgPool) {
    loop {
        feeds.bell.pulled.notified().await;
        let rings = feeds.bell.take();
        if rings.is_empty() {
            continue;
        }
        let rung = async {
            let mut conn = pool.acquire().await?;
            bell::ring(&mut conn, &rings).await
        };
        if let Err(error) = rung.await {
            tracing::warn!(error = %chain(&error), "the bell cannot be rung; it is tried again");
            rings.iter().for_each(|ring| feeds.bell.pull(&ring.event, ring.terms));
            tokio::time::sleep(RETRY).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks once in a while whether prices or capacities changed without a bell that was heard.
async fn check_terms(events: &EventBook, pool: &PgPool) {
    loop {
        tokio::time::sleep(TERMS).await;
        let known = events.terms_versions();
        let looked = async {
            let mut conn = pool.acquire().await?;
            terms::changed(&mut conn, &known).await
        };
        match looked.await {
            Ok(changed) => changed.iter().for_each(|event| events.stale(event)),
            Err(error) => tracing::warn!(error = %chain(&error), "prices and capacities could not be checked"),
        }
    }
}

async fn listen(feeds: &Feeds, events: &EventBook, pool: &PgPool) {
    loop {
        if let Err(error) = hear(feeds, events, pool).await {
            tracing::warn!(error = %chain(&error), "the bell cannot be heard; it is tried again");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn hear(feeds: &Feeds, events: &EventBook, pool: &PgPool) -> Result<(), Error> {
    let mut ear = Ear::open(pool).await?;
    let mut heard = Heard::Gap;
    loop {
        match heard {
            Heard::Gap => {
                feeds.stir_all();
            }
            Heard::Ring(ring) if ring.node == feeds.bell.node => {}
            Heard::Ring(ring) => {
                if ring.terms {
                    events.stale(&ring.event);
                }
                metrics::counter!("usher_booking_bells_heard_total").increment(1);
                feeds.stir(&ring.event);
            }
        }
        heard = ear.hear().await?;
    }
}
