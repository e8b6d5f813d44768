//! Giving a booking up, by the event's policy: until so long before its start, with the whole money back.
//!
//! Seats become free and tickets void at once, in one transaction; the money follows by the provider, and the
//! reconciler sees to it that it does.

use std::sync::Arc;

use booking_domain::{BookingId, BookingState, HoldState, Owner};
use serde_json::json;
use sqlx::PgConnection;
use tracing::Instrument;

use super::collect_payment::unsell;
use super::once::{Done, Once, once};
use super::release_hold::free_places;
use super::settle_payment;
use super::views::{self, BookingView};
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::payments::{self, Step};
use crate::storage::{bookings, holds, tickets};

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
        Box::pin(async move { cancel(conn, &request).await })
    })
    .await?;
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

async fn cancel(conn: &mut PgConnection, request: &CancelRequest) -> Result<BookingView, Error> {
    let facts = &*request.event;
    let (event, id) = (&facts.event.id, request.booking);
    let found = bookings::find(conn, event, id).await?.filter(|row| request.owners.contains(&row.owner));
    let hold_id = found.ok_or(Refusal::NotFound { what: "booking" })?.hold;
    let lost = || Error::defect(format!("the booking {id} or its hold is lost"));
    let hold = holds::lock(conn, event, hold_id).await?.ok_or_else(lost)?;
    bookings::lock(conn, event, id).await?;
    let row = bookings::find(conn, event, id).await?.ok_or_else(lost)?;
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
            check_policy(facts, &row)?;
            bookings::set_state(conn, event, id, after, None).await?;
            if let Some(payment) = payments::last(conn, event, id).await? {
                let free = payment.amount.amount() == 0;
                // Nothing goes back by itself; money is seen to by the reconciler, should nobody be faster.
                let step = Step { check_in_s: (!free).then_some(0), ..Step::default() };
                let state = if free { payment.state.refund()? } else { payment.state };
                payments::set_state(conn, &payment.key, state, &step).await?;
                if free {
                    bookings::set_state(conn, event, id, after.refund()?, None).await?;
                }
            }
            unsell(conn, &row, &hold).await?;
            let payload = json!({ "event": event, "booking": id });
            tickets::announce(conn, event, id, "booking.cancelled", payload).await?;
        }
        // Cancelled already.
        _ => {}
    }
    views::read_booking(conn, facts, id).await?.ok_or_else(lost)
}

fn check_policy(facts: &EventFacts, row: &bookings::BookingRow) -> Result<(), Refusal> {
    let until = jiff::SignedDuration::from_secs(facts.event.cancel_until_s);
    let last = facts.event.starts_at.checked_sub(until).unwrap_or(jiff::Timestamp::MIN);
    if row.now < last {
        return Ok(());
    }
    Err(Refusal::Forbidden { detail: format!("bookings of this event could be cancelled until {last}") })
}
