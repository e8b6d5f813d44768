//! Sweeping lapsed holds: tidies and publishes. Nothing depends on it for being right: a lapsed hold's
//! places are free for the next taker at once.

use std::collections::HashMap;

use booking_domain::{EventId, HoldId, SeatState};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;
use crate::passes::chain;
use crate::services::Services;
use crate::storage::areas::{self, Counted};
use crate::storage::history::{self, Change, Op};
use crate::storage::tx::in_tx;
use crate::storage::{holds, seats};

/// Most events swept in one go.
const EVENTS: i64 = 1000;
/// Most holds of one event swept in one transaction, and most such transactions in one go.
const BATCH: i64 = 100;
const ROUNDS: usize = 20;

/// Expires lapsed holds; returns how many. Bounded work: call it again. What fails for one event is logged and
/// holds up no other.
///
/// # Errors
/// When the database cannot be had.
pub async fn expire_holds(services: &Services) -> Result<usize, Error> {
    let mut expired = 0;
    for event in holds::events_with_lapsed(&services.db, EVENTS).await? {
        for _ in 0..ROUNDS {
            match expire_batch(services, event.clone()).await {
                Ok(swept) => {
                    expired += swept;
                    if swept > 0 {
                        services.feeds.changed(&event);
                    }
                    if i64::try_from(swept).is_ok_and(|swept| swept < BATCH) {
                        break;
                    }
                }
                Err(error) => {
                    tracing::error!(%event, error = %chain(&error), "the holds of an event could not be swept");
                    metrics::counter!("usher_booking_sweep_failures_total").increment(1);
                    break;
                }
            }
        }
    }
    Ok(expired)
}

async fn expire_batch(services: &Services, event: EventId) -> Result<usize, Error> {
    in_tx(&services.db, move |conn| {
        let event = event.clone();
        Box::pin(async move { expire_in(conn, &event).await })
    })
    .await
}

async fn expire_in(conn: &mut PgConnection, event: &EventId) -> Result<usize, Error> {
    let lapsed = holds::lock_lapsed(conn, event, BATCH).await?;
    if lapsed.is_empty() {
        return Ok(0);
    }
    holds::expire(conn, event, &lapsed).await?;
    // All seats of the batch in one order, then all areas in one order; only then hold by hold.
    let mut seats_of: HashMap<Uuid, Vec<i32>> = HashMap::new();
    for (hold, seat_no) in seats::lock_of_holds(conn, event, &lapsed, SeatState::Held).await? {
        seats_of.entry(hold).or_default().push(seat_no);
    }
    let names = holds::areas_of(conn, event, &lapsed).await?;
    if !names.is_empty() {
        areas::lock(conn, event, &names).await?;
    }
    for hold in &lapsed {
        let seats = seats_of.remove(hold).unwrap_or_default();
        let areas = areas::move_hold(conn, event, HoldId::new(*hold), Counted::Held, Counted::Free, None).await?;
        if !seats.is_empty() || !areas.is_empty() {
            let change =
                Change { event, op: Op::Expire, hold: *hold, booking: None, seats: &seats, areas, until: None };
            history::apply(conn, change).await?;
        }
    }
    Ok(lapsed.len())
}
