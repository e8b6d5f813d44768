//! `GET /events/{event}/holds/{hold}`: what is held, for how long, and the way to pay for it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use booking_domain::{EventId, HoldId, HoldState};
use serde::Deserialize;

use super::assets::ASSETS;
use super::pages::{BuyerForm, HoldPage, Notice, PlaceLine};
use super::{picker, words};
use crate::app::release_hold::release_hold;
use crate::app::views::{self, AreaLine, HoldView, SeatLine};
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::http::body::{Ids, Params};
use crate::http::caller::Caller;
use crate::services::Services;
use crate::storage::bookings;

/// What happened on the way here.
#[derive(Debug, Deserialize)]
pub(super) struct HoldQuery {
    notice: Option<String>,
}

/// Shows a hold of the caller; one that is sold or being paid for is shown as its booking.
pub(super) async fn show(
    State(services): State<Services>,
    caller: Caller,
    Ids((event, hold)): Ids<(EventId, HoldId)>,
    Params(query): Params<HoldQuery>,
) -> Result<Response, Error> {
    let notice = match query.notice.as_deref() {
        Some("declined") => Some(not_paid("The card was declined")),
        Some("failed") => Some(not_paid("The payment did not go through")),
        _ => None,
    };
    let shown = Shown { notice, form: BuyerForm::default(), status: StatusCode::OK };
    show_hold(&services, &caller, &event, hold, shown).await
}

/// How the page is shown.
pub(super) struct Shown {
    pub(super) notice: Option<Notice>,
    pub(super) form: BuyerForm,
    pub(super) status: StatusCode,
}

/// The page of a hold, whatever led to it.
pub(super) async fn show_hold(
    services: &Services,
    caller: &Caller,
    event: &EventId,
    hold: HoldId,
    shown: Shown,
) -> Result<Response, Error> {
    let facts = services.events.get(&services.db, event).await?;
    let mut conn = services.db.acquire().await?;
    let view = views::read_hold(&mut conn, &facts, hold).await?;
    let view = view.filter(|view| caller.owners().contains(&view.owner)).ok_or(Refusal::NotFound { what: "hold" })?;
    let booking = match bookings::of_hold(&mut conn, event, hold).await? {
        Some(id) => bookings::find(&mut conn, event, id).await?,
        None => None,
    };
    drop(conn);
    if let (Some(booking), HoldState::Pending | HoldState::Consumed) = (&booking, view.hold.state) {
        return Ok(super::go(&format!("/bookings/{event}/{}", booking.id)));
    }
    let known = booking.map(|booking| format!("{}, {}", booking.buyer.name, booking.buyer.email));
    super::page(shown.status, &hold_page(&facts, &view, known, shown.notice, shown.form))
}

fn hold_page(
    facts: &EventFacts,
    view: &HoldView,
    known_buyer: Option<String>,
    notice: Option<Notice>,
    form: BuyerForm,
) -> HoldPage {
    let left_s = u64::try_from(view.hold.expires_at.as_second() - view.now.as_second()).unwrap_or(0);
    HoldPage {
        assets: &ASSETS,
        event: picker::event_head(facts),
        notice,
        hold: view.id.to_string(),
        active: view.hold.state == HoldState::Active,
        over: match view.hold.state {
            HoldState::Released => "You gave these places back. Nothing was charged.".into(),
            _ => "The time ran out and the places went back on sale. Nothing was charged.".into(),
        },
        places: places(facts, &view.seats, &view.areas),
        total: words::money(view.total.price),
        left_s,
        left_words: words::time_left(left_s),
        known_buyer,
        form,
    }
}

/// Held or booked places in words.
pub(super) fn places(facts: &EventFacts, seats: &[SeatLine], areas: &[AreaLine]) -> Vec<PlaceLine> {
    let seats = seats.iter().map(|seat| PlaceLine {
        words: words::seat(&seat.section, &seat.row, &seat.number),
        price: words::money(seat.price),
    });
    let areas = areas.iter().map(|area| {
        let name = area_name(facts, &area.area);
        let sum = u32::try_from(area.quantity).ok().and_then(|quantity| area.price.times(quantity).ok());
        PlaceLine { words: format!("{name} × {}", area.quantity), price: words::money(sum.unwrap_or(area.price)) }
    });
    seats.chain(areas).collect()
}

/// What people call an area.
pub(super) fn area_name(facts: &EventFacts, area: &str) -> String {
    facts.areas.iter().find(|row| row.area == area).map_or_else(|| area.to_owned(), |row| row.name.clone())
}

fn not_paid(title: &'static str) -> Notice {
    Notice {
        tone: "bad",
        title: title.into(),
        text: "Nothing was charged. Your places are still held: try another card before the clock runs out.".into(),
        offer: None,
    }
}

/// `POST …/release`: gives the places back.
pub(super) async fn release(
    State(services): State<Services>,
    caller: Caller,
    Ids((event, hold)): Ids<(EventId, HoldId)>,
) -> Result<Response, Error> {
    match release_hold(&services, &event, hold, &caller.owners()).await {
        Ok(()) => Ok(super::go(&format!("/events/{event}?notice=released"))),
        // Sold or being paid for: its page knows better.
        Err(Error::Refused(Refusal::Conflict { .. })) => Ok(super::go(&format!("/events/{event}/holds/{hold}"))),
        Err(error) => Err(error),
    }
}
