//! The bell between nodes: `NOTIFY` says that an event changed, the history says what.
//!
//! A `NOTIFY` takes a lock of the whole database while it commits. So it never rings inside the transaction of a
//! change, but after it, in a statement of its own, for many events at once. A bell that is lost costs delay only.

use anyhow::Context;
use booking_domain::EventId;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{PgConnection, PgPool};

use super::connect_options;
use crate::config::Database;
use crate::error::Error;

/// The name of the bell.
const CHANNEL: &str = "usher_seats";
/// One connection rings, one listens.
const CONNECTIONS: u32 = 2;

/// What the bell says: who rang, for which event, and whether its prices changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// The number of the node that rang.
    pub node: u64,
    /// The event.
    pub event: EventId,
    /// Whether prices or capacities changed.
    pub terms: bool,
}

impl Ring {
    fn to_text(&self) -> String {
        format!("{:x} {} {}", self.node, self.event, if self.terms { "terms" } else { "seats" })
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (node, event, what) = (parts.next()?, parts.next()?, parts.next()?);
        let node = u64::from_str_radix(node, 16).ok()?;
        Some(Self { node, event: event.parse().ok()?, terms: what == "terms" })
    }
}

/// Opens the bell's own connections: a busy pool never delays it. Connects lazily.
///
/// # Errors
/// When the URL is malformed.
pub fn open(config: &Database) -> anyhow::Result<PgPool> {
    let options = connect_options(config).context("the bell")?;
    let options = options.application_name("usher-booking-bell").options([
        ("statement_timeout", "5000"),
        // A bell that a crash swallows is as good as one that was never rung.
        ("synchronous_commit", "off"),
    ]);
    let acquire = std::time::Duration::from_secs(5);
    Ok(PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(acquire).connect_lazy_with(options))
}

/// Rings for many events.
///
/// # Errors
/// When the database cannot be had.
pub async fn ring(conn: &mut PgConnection, rings: &[Ring]) -> Result<(), Error> {
    let texts: Vec<String> = rings.iter().map(Ring::to_text).collect();
    sqlx::query!("select pg_notify($1, text) from unnest($2::text[]) as text", CHANNEL, &texts).execute(conn).await?;
    Ok(())
}

/// Somebody who hears the bell.
#[derive(Debug)]
pub struct Ear(PgListener);

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The bell.
    Ring(Ring),
    /// The connection broke and is back: anything may have been missed.
    Gap,
}

impl Ear {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn open(pool: &PgPool) -> Result<Self, Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Waits for the next ring.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn hear(&mut self) -> Result<Heard, Error> {
        loop {
            match self.0.try_recv().await? {
                None => return Ok(Heard::Gap),
                // What is not ours is nothing.
                Some(said) => match Ring::from_text(said.payload()) {
                    Some(ring) => return Ok(Heard::Ring(ring)),
                    None => tracing::debug!(payload = said.payload(), "the bell said something odd"),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_understood() {
        for terms in [true, false] {
            let ring = Ring { node: u64::MAX, event: "demo-arena".parse().unwrap(), terms };
            assert_eq!(Ring::from_text(&ring.to_text()), Some(ring));
        }
        for odd in ["", "x", "1 demo", "zz demo seats", "1 UPPER seats"] {
            assert_eq!(Ring::from_text(odd), None, "{odd}");
        }
    }
}
