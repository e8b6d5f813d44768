//! An event that does not take place: every booking is cancelled and every cent goes back.
//!
//! Bounded batches of small transactions; who stops in between loses nothing, since what is left to do is what the
//! bookings say. Whoever begins it, any node goes on with it. A booking that is being paid is waited for and then
//! cancelled like the others; nothing new is booked or paid meanwhile.

use booking_domain::{BookingId, EventId};

use super::cancel_booking::cancel_for_organiser;
use crate::error::{Error, Refusal};
use crate::passes::chain;
use crate::services::Services;
use crate::storage::cancellations::{self, Lease, Progress};

/// Bookings cancelled between two looks at the progress.
const BATCH: i64 = 100;
/// After how long another node goes on with what this one left.
const LEASE_S: u32 = 30;
/// So many bookings in a row that cannot be had: so are all others.
const MOST_UNAVAILABLE: usize = 3;
/// Batches in one go of the job.
const ROUNDS: usize = 50;

/// Writes that an event does not take place; `false` when that was known.
///
/// # Errors
/// [`Refusal::NotFound`]; that the database cannot be had.
pub async fn cancel_event(services: &Services, event: &EventId, reason: &str) -> Result<bool, Error> {
    services.events.get(&services.db, event).await?;
    cancellations::insert(&services.db, event, reason).await
}

/// Cancels the first batch of an event's bookings.
///
/// # Errors
/// When the database cannot be had.
pub async fn cancel_batch(services: &Services, event: &EventId) -> Result<Progress, Error> {
    cancel_next(services, event, &mut None).await
}

/// Cancels the batch of an event's bookings that comes after one of them, and moves on; after the last one it begins
/// anew, and leaves it to others for a while. A booking that fails, or that somebody has locked, holds up no other.
///
/// # Errors
/// When the database cannot be had.
pub async fn cancel_next(
    services: &Services,
    event: &EventId,
    after: &mut Option<BookingId>,
) -> Result<Progress, Error> {
    let facts = services.events.get(&services.db, event).await?;
    let batch = cancellations::open_bookings(&services.db, event, *after, BATCH).await?;
    *after = batch.last().copied().filter(|_| i64::try_from(batch.len()) == Ok(BATCH));
    let mut unavailable = 0;
    for booking in batch {
        let done = cancel_for_organiser(services, &facts, booking).await;
        unavailable = if matches!(done, Err(Error::Unavailable { .. })) { unavailable + 1 } else { 0 };
        match done {
            // Paid, or run out, between the look and the lock: the next batch sees what it is now.
            Ok(()) | Err(Error::Refused(Refusal::Conflict { .. } | Refusal::NotFound { .. })) => {}
            Err(error) if unavailable == MOST_UNAVAILABLE => return Err(error),
            Err(error) => {
                tracing::error!(%event, %booking, error = %chain(&error), "a booking is cancelled later");
                metrics::counter!("usher_booking_cancellations_failed_total").increment(1);
            }
        }
    }
    let lease = if after.is_some() { Lease::Keeps(LEASE_S) } else { Lease::Leaves };
    cancellations::advance(&services.db, event, lease).await
}

/// Goes on with one cancelled event, if there is one.
///
/// # Errors
/// When the database cannot be had.
pub async fn go_on(services: &Services) -> Result<(), Error> {
    let Some(event) = cancellations::take_due(&services.db, LEASE_S).await? else { return Ok(()) };
    let mut after = None;
    for _ in 0..ROUNDS {
        let before = cancel_next(services, &event, &mut after).await?;
        tracing::info!(%event, cancelled = before.cancelled, open = before.open, "a cancelled event is paid back");
        if before.finished || after.is_none() {
            return Ok(());
        }
    }
    cancellations::advance(&services.db, &event, Lease::Leaves).await?;
    Ok(())
}
