//! Holds: making, reading, releasing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use booking_domain::best::{MAX_QUANTITY, Wish as BestWish};
use booking_domain::{AreaId, EventId, HoldId, HoldState};
use serde::Deserialize;
use utoipa::ToSchema;

use super::admission::{Meter, hold_measured};
use super::answer::{self, Answer};
use super::body::{Ids, OptionalPayload, Payload};
use super::caller::{Caller, now_s};
use super::cookies;
use super::documents::HoldDocument;
use super::problem::ProblemDocument;
use super::request::RequestFacts;
use crate::app::extend_hold::extend_hold;
use crate::app::hold_seats::{HoldRequest, Wish};
use crate::app::release_hold::release_hold;
use crate::app::views::{self, HoldView};
use crate::error::{Error, Fault, Refusal};
use crate::events::EventFacts;
use crate::services::Services;

/// Most places that a request may name at all; what a visitor may have is less.
const MAX_PLACES: u32 = 1000;

/// What to hold: exactly one of `seats`, `areas` and `best`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewHold {
    /// Seats by the plan's `seat_guid`.
    #[schema(example = json!(["A-12-7"]))]
    seats: Option<Vec<String>>,
    /// Places of general-admission areas.
    areas: Option<Vec<NewHoldArea>>,
    /// The best seats beside each other.
    best: Option<NewHoldBest>,
}

/// Places of an area.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewHoldArea {
    area: String,
    #[schema(minimum = 1)]
    quantity: u32,
}

/// The best seats beside each other.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewHoldBest {
    #[schema(minimum = 1)]
    quantity: u32,
    /// Only in this price category.
    category: Option<String>,
    /// Only seats that cost no more than this, in minor units.
    max_price: Option<i64>,
    /// At least one of them at an aisle.
    #[serde(default)]
    aisle: bool,
    /// All of them reached without steps.
    #[serde(default)]
    step_free: bool,
    /// So many of them are wheelchair places; the others sit beside these.
    #[serde(default)]
    accessible: u32,
    /// Rather nothing than not beside each other.
    #[serde(default)]
    together: bool,
}

impl NewHold {
    /// Checks the request against the event.
    fn wish(self, event: &EventFacts) -> Result<Wish, Refusal> {
        match (self.seats, self.areas, self.best) {
            (Some(seats), None, None) => wish_for_seats(&seats, event),
            (None, Some(areas), None) => wish_for_areas(&areas, event),
            (None, None, Some(best)) => wish_for_best(best, event),
            _ => Err(Refusal::invalid("", "exactly one of seats, areas and best is needed")),
        }
    }
}

fn wish_for_seats(seats: &[String], event: &EventFacts) -> Result<Wish, Refusal> {
    if seats.is_empty() || seats.len() > MAX_PLACES as usize {
        return Err(Refusal::invalid("/seats", format!("1 to {MAX_PLACES} seats can be asked for")));
    }
    let (mut numbers, mut seen, mut faults) = (Vec::with_capacity(seats.len()), BTreeSet::new(), Vec::new());
    for (index, guid) in seats.iter().enumerate() {
        let mut fault = |detail: &str| faults.push(Fault { pointer: format!("/seats/{index}"), detail: detail.into() });
        match event.seat_no(guid) {
            None => fault("the event has no such seat"),
            Some(number) if !seen.insert(number) => fault("the seat is named twice"),
            Some(number) => numbers.push(number),
        }
    }
    if faults.is_empty() { Ok(Wish::Seats(numbers)) } else { Err(Refusal::Invalid(faults)) }
}

fn wish_for_areas(areas: &[NewHoldArea], event: &EventFacts) -> Result<Wish, Refusal> {
    if areas.is_empty() {
        return Err(Refusal::invalid("/areas", "at least one area is needed"));
    }
    let (mut wanted, mut faults) = (BTreeMap::new(), Vec::new());
    for (index, asked) in areas.iter().enumerate() {
        let mut fault = |member: &str, detail: String| {
            faults.push(Fault { pointer: format!("/areas/{index}/{member}"), detail });
        };
        if !(1..=MAX_PLACES).contains(&asked.quantity) {
            fault("quantity", format!("1 to {MAX_PLACES} places can be asked for"));
        }
        match asked.area.parse::<AreaId>().ok().filter(|area| event.area(area).is_some()) {
            None => fault("area", "the event has no such area".to_owned()),
            Some(area) => {
                if wanted.insert(area, asked.quantity).is_some() {
                    fault("area", "the area is named twice".to_owned());
                }
            }
        }
    }
    if faults.is_empty() { Ok(Wish::Areas(wanted)) } else { Err(Refusal::Invalid(faults)) }
}

fn wish_for_best(best: NewHoldBest, event: &EventFacts) -> Result<Wish, Refusal> {
    let Some(seated) = &event.seated else {
        return Err(Refusal::invalid("/best", "the event has no numbered seats"));
    };
    if !(1..=MAX_QUANTITY).contains(&best.quantity) {
        return Err(Refusal::invalid("/best/quantity", format!("1 to {MAX_QUANTITY} seats can be asked for")));
    }
    if best.category.as_ref().is_some_and(|category| !seated.seating.categories.contains(category)) {
        return Err(Refusal::invalid("/best/category", "the event has no such category"));
    }
    if best.accessible > best.quantity {
        return Err(Refusal::invalid("/best/accessible", "these are some of the seats, not more"));
    }
    let NewHoldBest { quantity, category, max_price, aisle, step_free, accessible, together } = best;
    let affordable = max_price.map(|most| event.affordable(most));
    Ok(Wish::Best(BestWish { quantity, category, affordable, aisle, step_free, accessible, together }))
}

/// Holds seats or places: all of them or none.
#[utoipa::path(post, path = "/v1/events/{event}/holds", tag = "holds", request_body = NewHold,
    params(("event" = String, Path), ("Idempotency-Key" = Option<String>, Header,
        description = "Repeats nothing for a caller who has no name yet, unless it has 22 characters or more: \
            the answer to the first hold holds the buyer token, and shorter keys can be guessed.")),
    responses((status = 201, body = HoldDocument), (status = 400, body = ProblemDocument),
        (status = 401, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 413, body = ProblemDocument),
        (status = 415, body = ProblemDocument), (status = 422, body = ProblemDocument), (status = 429, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn create(
    State(services): State<Services>,
    Extension(meter): Extension<Arc<Meter>>,
    Ids(event): Ids<EventId>,
    caller: Caller,
    request: RequestFacts,
    headers: HeaderMap,
    payload: Payload<NewHold>,
) -> Result<Response, Error> {
    let event = services.events.get(&services.db, &event).await?;
    let holder = caller.holder(&event)?;
    let wish = payload.value.wish(&event)?;
    let answer = created(&services);
    let key_length = headers.get("idempotency-key").map_or(0, HeaderValue::len);
    let mut repeat = answer::once(&headers, &holder.actor(key_length), payload.hash, &request, &answer)?;
    if let Some(once) = repeat.as_mut().filter(|_| holder.is_new) {
        once.also = Some(holder.owner.as_str().to_owned());
    }
    let expired = caller.expire_beside(&holder.owner);
    let asked = HoldRequest { event, owner: holder.owner, is_new: holder.is_new, wish };
    let done = hold_measured(&meter, &services, asked, repeat).await;
    let response = answer::finish(done, &answer)?;
    Ok((AppendHeaders(expired.into_iter().map(|line| (SET_COOKIE, line))), response).into_response())
}

fn created(services: &Services) -> Answer<HoldView> {
    let services = services.clone();
    Arc::new(move |view: &HoldView| {
        // Signed as of the hold's making, so that the same hold always gives the same answer.
        let made_s = u64::try_from(view.created_at.as_second()).unwrap_or(0);
        let token = services.buyers.sign(&view.owner, made_s);
        let mut answer = answer::json(StatusCode::CREATED, &HoldDocument::new(view, token.clone()));
        let cookie = cookies::set(&view.owner, &token, services.config.secure_cookies);
        answer.headers.push(("set-cookie".to_owned(), cookie));
        answer.headers.push(("location".to_owned(), format!("/v1/events/{}/holds/{}", view.event, view.id)));
        answer
    })
}

/// Reads a hold; its holder only.
#[utoipa::path(get, path = "/v1/events/{event}/holds/{hold}", tag = "holds",
    params(("event" = String, Path), ("hold" = String, Path)),
    responses((status = 200, body = HoldDocument), (status = 404, body = ProblemDocument),
        (status = 410, body = ProblemDocument, description = "It has expired or was released"),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn read(
    State(services): State<Services>,
    Ids((event, hold)): Ids<(EventId, HoldId)>,
    caller: Caller,
) -> Result<Response, Error> {
    let event = services.events.get(&services.db, &event).await?;
    let view = views::hold_now(&services.db, &event, hold).await?;
    let view = view.filter(|view| caller.owners().contains(&view.owner)).ok_or(Refusal::NotFound { what: "hold" })?;
    if let state @ (HoldState::Expired | HoldState::Released) = view.hold.state {
        return Err(Refusal::HoldExpired { state }.into());
    }
    let token = services.buyers.sign(&view.owner, now_s());
    Ok(answer::response(answer::json(StatusCode::OK, &HoldDocument::new(&view, token))))
}

/// Releases a hold; its holder only. Twice is once.
#[utoipa::path(delete, path = "/v1/events/{event}/holds/{hold}", tag = "holds",
    params(("event" = String, Path), ("hold" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn release(
    State(services): State<Services>,
    Ids((event, hold)): Ids<(EventId, HoldId)>,
    caller: Caller,
) -> Result<Response, Error> {
    release_hold(&services, &event, hold, &caller.owners()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Gives a hold its time again; its holder only, once, and within the cap since its making.
#[utoipa::path(post, path = "/v1/events/{event}/holds/{hold}/extend", tag = "holds",
    params(("event" = String, Path), ("hold" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = HoldDocument), (status = 400, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 410, body = ProblemDocument), (status = 413, body = ProblemDocument),
        (status = 415, body = ProblemDocument), (status = 422, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn extend(
    State(services): State<Services>,
    Ids((event, hold)): Ids<(EventId, HoldId)>,
    caller: Caller,
    request: RequestFacts,
    headers: HeaderMap,
    payload: OptionalPayload<Nothing>,
) -> Result<Response, Error> {
    let event = services.events.get(&services.db, &event).await?;
    let shared = services.clone();
    let answer: Answer<HoldView> = Arc::new(move |view: &HoldView| {
        let token = shared.buyers.sign(&view.owner, u64::try_from(view.created_at.as_second()).unwrap_or(0));
        answer::json(StatusCode::OK, &HoldDocument::new(view, token))
    });
    let repeat = answer::once(&headers, &caller.actor(), payload.0.hash, &request, &answer)?;
    let done = extend_hold(&services, &event, hold, &caller.owners(), repeat).await;
    answer::finish(done, &answer)
}

/// A body without members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}
