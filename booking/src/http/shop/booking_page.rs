//! `GET /bookings/{event}/{booking}`: the booking, with its tickets or an honest word about them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use booking_domain::{BookingId, BookingState, EventId};

use super::assets::ASSETS;
use super::hold_page::{area_name, places};
use super::pages::{BookingPage, TicketLine};
use super::{picker, words};
use crate::app::views::{self, BookingView};
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::http::body::Ids;
use crate::http::caller::Caller;
use crate::services::Services;

/// How soon a page that waits for a payment looks again.
const LOOK_AGAIN_S: u64 = 3;

/// Shows a booking of the caller. One that is not paid for is shown as its hold.
pub(super) async fn show(
    State(services): State<Services>,
    caller: Caller,
    Ids((event, booking)): Ids<(EventId, BookingId)>,
) -> Result<Response, Error> {
    let facts = services.events.get(&services.db, &event).await?;
    let mut conn = services.db.acquire().await?;
    let view = views::read_booking(&mut conn, &facts, booking).await?;
    drop(conn);
    let view = view.filter(|view| caller.owners().contains(&view.row.owner));
    let view = view.ok_or(Refusal::NotFound { what: "booking" })?;
    if view.state() == BookingState::Held {
        return Ok(super::go(&format!("/events/{event}/holds/{}", view.row.hold)));
    }
    super::page(StatusCode::OK, &booking_page(&facts, &view))
}

/// `GET /events/{event}/bookings/{booking}`: the booking's page lies where no waiting room stands before it.
pub(super) async fn moved(Ids((event, booking)): Ids<(EventId, BookingId)>) -> Response {
    super::go(&format!("/bookings/{event}/{booking}"))
}

fn booking_page(facts: &EventFacts, view: &BookingView) -> BookingPage {
    let state = view.state();
    let paid = view.row.confirmed_at.is_some() && view.row.total.price.amount() > 0;
    let (tone, title, words) = told(state, paid);
    let nothing_booked = matches!(state, BookingState::Failed | BookingState::Expired);
    BookingPage {
        assets: &ASSETS,
        event: picker::event_head(facts),
        title,
        words: words.into(),
        tone,
        pending_after_s: (state == BookingState::PaymentPending).then_some(LOOK_AGAIN_S),
        tickets: view.tickets.iter().map(|ticket| ticket_line(facts, ticket)).collect(),
        places: places(facts, &view.seats, &view.areas),
        total: words::money(view.row.total.price),
        booking: view.id().to_string(),
        buyer: format!("{}, {}", view.buyer().name, view.buyer().email),
        again: nothing_booked.then(|| format!("/events/{}", facts.event.id)),
    }
}

fn ticket_line(facts: &EventFacts, ticket: &views::TicketLine) -> TicketLine {
    let seat = ticket.seat.as_deref().and_then(|guid| facts.seat_no(guid)).and_then(|seat_no| facts.seat(seat_no));
    let words = match (seat, &ticket.area) {
        (Some(seat), _) => words::seat(&seat.section, &seat.row, &seat.number),
        (None, Some(area)) => area_name(facts, area),
        (None, None) => "Entry".into(),
    };
    TicketLine { words, code: ticket.code.clone() }
}

/// Tone, title and words of a stage, of a booking that was paid for or not.
fn told(state: BookingState, paid: bool) -> (&'static str, &'static str, &'static str) {
    match state {
        BookingState::Confirmed => ("good", "You are booked", "Paid and confirmed. See you there."),
        BookingState::PaymentPending => (
            "",
            "Your payment is on its way",
            "The bank has not answered yet. Your places are kept for you meanwhile and nobody else can take them. \
             This page looks again by itself; do not pay a second time.",
        ),
        BookingState::Held => ("", "Not paid for yet", "Your places are held."),
        BookingState::Failed => (
            "bad",
            "This booking did not come about",
            "The payment could not be taken, so the places went back on sale. Nothing was charged; what was \
             reserved on your card is released.",
        ),
        BookingState::Expired => (
            "bad",
            "The time ran out",
            "The places were not paid for in time and went back on sale. Nothing was charged.",
        ),
        BookingState::Cancelled if !paid => ("", "Cancelled", "This booking was cancelled. Nothing was charged."),
        BookingState::Refunded if !paid => ("", "Cancelled", "This booking was cancelled. It had cost nothing."),
        BookingState::Cancelled => ("", "Cancelled", "This booking was cancelled. Your money is on its way back."),
        BookingState::Refunded => ("", "Cancelled and refunded", "This booking was cancelled and your money returned."),
    }
}
