//! `POST /events/{event}/holds/{hold}/buy`: books the hold and pays for it.
//!
//! Sent twice it acts once: a hold has one booking, and a booking that is paid or being paid is not paid
//! again.

use axum::Form;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use booking_domain::{BookingId, BookingState, EventId, HoldId};

use super::forms::{self, Fields};
use super::hold_page::{self, Shown};
use crate::app::confirm_booking::{ConfirmRequest, confirm_booking};
use crate::app::once::Done;
use crate::app::start_booking::{BookingRequest, start_booking};
use crate::error::{Error, Refusal};
use crate::http::body::Ids;
use crate::http::caller::Caller;
use crate::services::Services;
use crate::storage::bookings::{self, Buyer};

/// The test cards that the page offers.
const CARDS: [&str; 2] = ["tok_ok", "tok_declined"];

/// Books and pays, then shows the booking; or shows the hold again, with what went wrong.
pub(super) async fn buy(
    State(services): State<Services>,
    caller: Caller,
    Ids((event, hold)): Ids<(EventId, HoldId)>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Error> {
    let fields = Fields(fields);
    let facts = services.events.get(&services.db, &event).await?;
    caller.check_pass(&facts)?;
    let card = fields.first("card").filter(|card| CARDS.contains(card)).unwrap_or(CARDS[0]);
    let booking = match booking_of(&services, &caller, &event, hold).await? {
        Some(booking) => Some(booking),
        None => match forms::buyer(&fields) {
            Ok((name, email)) => {
                let (event, owners) = (facts.clone(), caller.owners());
                book(
                    &services,
                    BookingRequest { event, hold, owners, buyer: Buyer { name, email }, accept_equal: false },
                )
                .await?
            }
            Err(form) => {
                let shown = Shown { notice: None, form, status: StatusCode::UNPROCESSABLE_ENTITY };
                return hold_page::show_hold(&services, &caller, &event, hold, shown).await;
            }
        },
    };
    let Some(booking) = booking else { return Ok(super::go(&hold_address(&event, hold))) };
    let guarded = facts.event.sale.is_some();
    let request =
        ConfirmRequest { event: facts, booking, owners: caller.owners(), token: card.to_owned(), accept_equal: None };
    match confirm_booking(&services, request, None).await {
        Ok(Done::Fresh(view)) => {
            let mut response = super::go(&booking_address(&event, booking));
            if guarded && view.state() == BookingState::Confirmed {
                // Done here: the next in the line may come in.
                response.headers_mut().insert("usher-pass", HeaderValue::from_static("depart"));
            }
            Ok(response)
        }
        Ok(Done::Replayed(_) | Done::Paying(_)) | Err(Error::Refused(Refusal::Conflict { .. })) => {
            Ok(super::go(&booking_address(&event, booking)))
        }
        Err(Error::Refused(Refusal::PaymentDeclined { .. })) => {
            Ok(super::go(&format!("{}?notice=declined", hold_address(&event, hold))))
        }
        Err(Error::Refused(Refusal::PaymentFailed | Refusal::PaymentLate)) => {
            Ok(super::go(&format!("{}?notice=failed", hold_address(&event, hold))))
        }
        // It still runs: its page looks again by itself.
        Err(Error::Refused(Refusal::InFlight)) => Ok(super::go(&booking_address(&event, booking))),
        Err(Error::Refused(Refusal::HoldExpired { .. })) => Ok(super::go(&hold_address(&event, hold))),
        Err(error) => Err(error),
    }
}

/// Somebody reloaded the address of the form.
pub(super) async fn back(Ids((event, hold)): Ids<(EventId, HoldId)>) -> Response {
    super::go(&hold_address(&event, hold))
}

fn hold_address(event: &EventId, hold: HoldId) -> String {
    format!("/events/{event}/holds/{hold}")
}

fn booking_address(event: &EventId, booking: BookingId) -> String {
    format!("/bookings/{event}/{booking}")
}

/// The booking that the caller's hold has already: an earlier card was declined, or the form came twice.
async fn booking_of(
    services: &Services,
    caller: &Caller,
    event: &EventId,
    hold: HoldId,
) -> Result<Option<BookingId>, Error> {
    let mut conn = services.db.acquire().await?;
    let Some(id) = bookings::of_hold(&mut conn, event, hold).await? else { return Ok(None) };
    let row = bookings::find(&mut conn, event, id).await?;
    let own = row.filter(|row| caller.owners().contains(&row.owner));
    let own = own.ok_or(Refusal::NotFound { what: "hold" })?;
    Ok(Some(own.id))
}

/// Makes the booking; none when the hold is over.
async fn book(services: &Services, request: BookingRequest) -> Result<Option<BookingId>, Error> {
    let (event, hold) = (request.event.event.id.clone(), request.hold);
    match start_booking(services, request, None).await {
        Ok(Done::Fresh(view)) => Ok(Some(view.id())),
        Err(Error::Refused(Refusal::Conflict { .. })) => {
            let mut conn = services.db.acquire().await?;
            bookings::of_hold(&mut conn, &event, hold).await
        }
        Ok(_) | Err(Error::Refused(Refusal::HoldExpired { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}
