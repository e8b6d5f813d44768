//! Blocking seats, and putting them back.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use booking_domain::EventId;
use serde::{Deserialize, Serialize};

use super::super::answer::{self, Answer};
use super::super::body::{Ids, Payload};
use super::super::request::RequestFacts;
use crate::app::block_seats::{BlockRequest, Blocked, block_seats};
use crate::error::{Error, Fault, Refusal};
use crate::events::EventFacts;
use crate::services::Services;

/// Which seats, by the plan's `seat_guid`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeatList {
    seats: Vec<String>,
}

#[derive(Debug, Serialize)]
struct BlockedDocument<'a> {
    event: &'a str,
    /// The event's version of the change; null when nothing changed.
    version: Option<i64>,
    /// Seats that changed.
    changed: Vec<&'a str>,
    /// Seats that were so already.
    unchanged: Vec<&'a str>,
}

/// Takes free seats out of the sale.
pub(super) async fn block(
    State(services): State<Services>,
    Ids(event): Ids<EventId>,
    facts: RequestFacts,
    headers: HeaderMap,
    payload: Payload<SeatList>,
) -> Result<Response, Error> {
    change(&services, &event, &facts, &headers, payload, true).await
}

/// Puts blocked seats back into the sale.
pub(super) async fn unblock(
    State(services): State<Services>,
    Ids(event): Ids<EventId>,
    facts: RequestFacts,
    headers: HeaderMap,
    payload: Payload<SeatList>,
) -> Result<Response, Error> {
    change(&services, &event, &facts, &headers, payload, false).await
}

async fn change(
    services: &Services,
    event: &EventId,
    facts: &RequestFacts,
    headers: &HeaderMap,
    payload: Payload<SeatList>,
    blocked: bool,
) -> Result<Response, Error> {
    let event = services.events.get(&services.db, event).await?;
    let seats = numbers(&event, &payload.value.seats)?;
    let answer: Answer<Blocked> = {
        let event = Arc::clone(&event);
        Arc::new(move |done: &Blocked| answer::json(StatusCode::OK, &document(&event, done)))
    };
    let actor = services.organisers.actor();
    let repeat = answer::once(headers, &actor, payload.hash, facts, &answer)?;
    let request = BlockRequest { event, seats, blocked, actor, request_id: facts.id.clone() };
    answer::finish(block_seats(services, request, repeat).await, &answer)
}

fn numbers(event: &EventFacts, seats: &[String]) -> Result<Vec<i32>, Refusal> {
    if seats.is_empty() {
        return Err(Refusal::invalid("/seats", "at least one seat is needed"));
    }
    let (mut numbers, mut faults) = (BTreeSet::new(), Vec::new());
    for (index, seat) in seats.iter().enumerate() {
        match event.seat_no(seat) {
            Some(seat_no) => drop(numbers.insert(seat_no)),
            None => {
                faults.push(Fault { pointer: format!("/seats/{index}"), detail: "there is no such seat".to_owned() });
            }
        }
    }
    if faults.is_empty() { Ok(numbers.into_iter().collect()) } else { Err(Refusal::Invalid(faults)) }
}

fn document<'a>(event: &'a EventFacts, done: &Blocked) -> BlockedDocument<'a> {
    let names = |seats: &[i32]| seats.iter().filter_map(|no| Some(event.seat(*no)?.guid.as_str())).collect();
    BlockedDocument {
        event: event.event.id.as_str(),
        version: done.version,
        changed: names(&done.changed),
        unchanged: names(&done.unchanged),
    }
}
