//! Turning a live hold into a booking: who pays, and for how much.

use std::sync::Arc;

use booking_domain::{BookingId, HoldId, HoldState, Owner};
use sqlx::PgConnection;
use uuid::Uuid;

use super::once::{Done, Once, once};
use super::views::{self, BookingView};
use crate::crash;
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::bookings::{self, Buyer, NewBooking};
use crate::storage::{cancellations, holds};

/// A request to book.
#[derive(Debug, Clone)]
pub struct BookingRequest {
    /// The event.
    pub event: Arc<EventFacts>,
    /// The hold to book.
    pub hold: HoldId,
    /// Who asks.
    pub owners: Vec<Owner>,
    /// Who pays.
    pub buyer: Buyer,
    /// Whether late money may buy equal seats.
    pub accept_equal: bool,
}

/// Makes a booking of a hold, at most once per key. A hold has one booking.
///
/// # Errors
/// [`Refusal::NotFound`] also for another's hold; [`Refusal::HoldExpired`]; [`Refusal::Conflict`] when the
/// hold is booked already; that the database cannot be had.
pub async fn start_booking(
    services: &Services,
    request: BookingRequest,
    repeat: Option<Once<BookingView>>,
) -> Result<Done<BookingView>, Error> {
    let request = Arc::new(request);
    crash::point("held");
    let id = BookingId::new(Uuid::now_v7());
    let done = match services.tills.book(&request, id, repeat.as_ref()).await {
        Ok(Ok(view)) => Ok(Done::Fresh(view)),
        // What is not ordinary is looked at by itself.
        Ok(Err(_)) => {
            once(&services.db, repeat, move |conn| {
                let request = Arc::clone(&request);
                Box::pin(async move { start(conn, &request, id).await })
            })
            .await
        }
        Err(error) => Err(error),
    };
    crash::point("booked");
    done
}

async fn start(conn: &mut PgConnection, request: &BookingRequest, id: BookingId) -> Result<BookingView, Error> {
    let facts = &*request.event;
    let event = &facts.event.id;
    let row = holds::lock(conn, event, request.hold).await?;
    let row = row.filter(|row| request.owners.contains(&row.owner)).ok_or(Refusal::NotFound { what: "hold" })?;
    let hold = row.current();
    match hold.state {
        HoldState::Active => {}
        HoldState::Expired | HoldState::Released => return Err(Refusal::HoldExpired { state: hold.state }.into()),
        HoldState::Pending | HoldState::Consumed => {
            return Err(
                Refusal::Conflict { detail: "the hold is booked already".into(), state: hold.state.name() }.into()
            );
        }
    }
    if let Some(booking) = bookings::of_hold(conn, event, request.hold).await? {
        let detail = format!("the hold is booked already, as {booking}");
        return Err(Refusal::Conflict { detail, state: hold.state.name() }.into());
    }
    if cancellations::is_cancelled(conn, event).await? {
        return Err(Refusal::event_cancelled().into());
    }
    let seats = holds::seats(conn, event, request.hold).await?;
    let areas = holds::areas(conn, event, request.hold).await?;
    let new = NewBooking {
        event,
        id,
        hold: request.hold,
        owner: &row.owner,
        buyer: &request.buyer,
        total: views::total_of(facts.event.currency, &seats, &areas)?,
        accept_equal: request.accept_equal,
        refund_policy: &facts.event.refund_policy,
    };
    bookings::insert(conn, &new).await?;
    let view = views::read_booking(conn, facts, new.id).await?;
    view.ok_or_else(|| Error::defect(format!("the booking {} was written and is not there", new.id)))
}
