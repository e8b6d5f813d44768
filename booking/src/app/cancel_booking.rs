//! Giving a booking up, by the policy that it was booked under: with all, some or none of the money back, by how
//! long it still is until the event starts.
//!
//! Seats become free and tickets void at once, in one transaction; the money follows by the provider, and the
//! reconciler sees to it that it does.

use std::sync::Arc;

use booking_domain::{BookingId, BookingState, HoldState, Owner, RefundTier};
use serde_json::json;
use sqlx::PgConnection;
use tracing::Instrument;

use super::once::{Done, Once, once};
use super::payment_steps::{money_is_back, unsell};
use super::release_hold::free_places;
use super::settle_payment;
use super::views::{self, BookingView};
use crate::crash;
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::bookings::{self, BookingRow};
use crate::storage::payments::{self, Step};
use crate::storage::refunds::{self, NewRefund};
use crate::storage::tx::in_tx;
use crate::storage::{cancellations, holds, outbox};

/// A request to cancel.
#[derive(Debug, Clone)]
pub struct CancelRequest {
    /// The event.
    pub event: Arc<EventFacts>,
    /// The booking.
    pub booking: BookingId,
    /// Who asks.
    pub owners: Vec<Owner>,
}

/// Cancels a booking, at most once per key. Twice is once.
///
/// # Errors
/// [`Refusal::NotFound`] also for another's booking; [`Refusal::Forbidden`] when it is too late;
/// [`Refusal::Conflict`] while a payment runs and when it has failed or expired; that the database cannot be
/// had.
pub async fn cancel_booking(
    services: &Services,
    request: CancelRequest,
    repeat: Option<Once<BookingView>>,
) -> Result<Done<BookingView>, Error> {
    let request = Arc::new(request);
    let shared = Arc::clone(&request);
    let done = once(&services.db, repeat, move |conn| {
        let request = Arc::clone(&shared);
        Box::pin(async move { cancel(conn, &request.event, request.booking, By::Buyer(&request.owners)).await })
    })
    .await?;
    crash::point("cancelled");
    services.feeds.changed(&request.event.event.id);
    if let Done::Fresh(view) = &done
        && let Some(payment) = view.payment.clone().filter(|_| view.state() == BookingState::Cancelled)
    {
        let shared = services.clone();
        let refund = async move {
            if let Err(error) = settle_payment::reconcile(&shared, &payment).await {
                tracing::warn!(%error, "the refund is left to the reconciler");
            }
        };
        services.tasks.spawn(refund.in_current_span());
    }
    Ok(done)
}

/// Who gives a booking up.
enum By<'a> {
    /// Its buyer, under its policy.
    Buyer(&'a [Owner]),
    /// The organiser, whose event does not take place: all money goes back.
    Organiser,
}

/// Cancels a booking of an event that does not take place, and counts it; one that is cancelled is not counted again.
///
/// # Errors
/// [`Refusal::Conflict`] while a payment runs and when it has failed or expired; that the database cannot be had.
pub(crate) async fn cancel_for_organiser(
    services: &Services,
    facts: &Arc<EventFacts>,
    booking: BookingId,
) -> Result<(), Error> {
    let shared = Arc::clone(facts);
    in_tx(&services.db, move |conn| {
        let facts = Arc::clone(&shared);
        Box::pin(async move { cancel(conn, &facts, booking, By::Organiser).await.map(|_| ()) })
    })
    .await?;
    services.feeds.changed(&facts.event.id);
    Ok(())
}

async fn cancel(conn: &mut PgConnection, facts: &EventFacts, id: BookingId, by: By<'_>) -> Result<BookingView, Error> {
    let event = &facts.event.id;
    let found = bookings::find(conn, event, id).await?;
    let found = found.filter(|row| match by {
        By::Buyer(owners) => owners.contains(&row.owner),
        By::Organiser => true,
    });
    let hold_id = found.ok_or(Refusal::NotFound { what: "booking" })?.hold;
    let lost = || Error::defect(format!("the booking {id} or its hold is lost"));
    let hold = holds::lock(conn, event, hold_id).await?.ok_or_else(lost)?;
    bookings::lock(conn, event, id).await?;
    let row = bookings::find(conn, event, id).await?.ok_or_else(lost)?;
    // Whoever is faster, buyer or organiser: of an event that does not take place all comes back.
    let by = if cancellations::is_cancelled(conn, event).await? { By::Organiser } else { by };
    let before = row.current_state();
    let after = before.cancel().map_err(|step| Refusal::Conflict { detail: step.to_string(), state: before.name() })?;
    match before {
        BookingState::Held => {
            holds::set_state(conn, event, hold_id, hold.current().release()?.state).await?;
            bookings::set_state(conn, event, id, after, None).await?;
            if hold.hold.state == HoldState::Active {
                free_places(conn, event, hold_id).await?;
            }
        }
        BookingState::Confirmed => {
            let percent = match by {
                By::Buyer(_) => percent_back(facts, &row)?,
                By::Organiser => RefundTier { until_s: 0, percent: 100 },
            };
            bookings::set_state(conn, event, id, after, None).await?;
            let payload = json!({ "event": event, "booking": id });
            outbox::announce(conn, event, id, "booking.cancelled", payload).await?;
            unpay(conn, &row, percent).await?;
            unsell(conn, &row, &hold).await?;
        }
        // Cancelled already.
        _ => return views::read_booking(conn, facts, id).await?.ok_or_else(lost),
    }
    if let By::Organiser = by {
        cancellations::count(conn, event).await?;
    }
    views::read_booking(conn, facts, id).await?.ok_or_else(lost)
}

/// Decides what of a sale's money goes back; what is decided, the reconciler sees to. Hold and booking are locked, and
/// the booking is cancelled.
async fn unpay(conn: &mut PgConnection, row: &BookingRow, tier: RefundTier) -> Result<(), Error> {
    let Some(found) = payments::foremost(conn, &row.event, row.id).await? else { return Ok(()) };
    let payment = payments::lock(conn, &found.key).await?.unwrap_or(found);
    if payment.amount.amount() == 0 {
        // Nothing goes back by itself.
        payments::set_state(conn, &payment.key, payment.state.refund()?, &Step::default()).await?;
        return bookings::set_state(conn, &row.event, row.id, BookingState::Cancelled.refund()?, None).await;
    }
    // What was paid back before counts: never more than the policy's share in all.
    let amount = tier.of(payment.amount.amount()) - payment.refund_due;
    if amount > 0 {
        let request = format!("cancel {}", row.id);
        let new = NewRefund { amount, reason: "cancelled", request: &request };
        refunds::decide(conn, &payment, new).await?;
    } else if payment.refund_due > 0 && payment.refunded == payment.refund_due {
        // All that goes back went back before.
        money_is_back(conn, &payment.key).await?;
    }
    Ok(())
}

/// How much comes back now, by the policy of the day of booking.
fn percent_back(facts: &EventFacts, row: &BookingRow) -> Result<RefundTier, Refusal> {
    let policy = row.refund_policy.as_ref().unwrap_or(&facts.event.refund_policy);
    let left_s = facts.event.starts_at.duration_since(row.now).as_secs();
    policy.tier(left_s).ok_or_else(|| {
        let last = policy.last_s().map(jiff::SignedDuration::from_secs);
        let last = last.and_then(|last| facts.event.starts_at.checked_sub(last).ok());
        let detail = match last {
            Some(last) => format!("bookings of this event could be cancelled until {last}"),
            None => "bookings of this event cannot be cancelled".to_owned(),
        };
        Refusal::Forbidden { detail }
    })
}
