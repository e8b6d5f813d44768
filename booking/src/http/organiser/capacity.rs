//! More places in an area.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use booking_domain::{AreaId, EventId};
use serde::{Deserialize, Serialize};

use super::super::answer::{self, Answer};
use super::super::body::{Ids, Payload};
use super::super::request::RequestFacts;
use crate::app::extend_area::{ExtendRequest, Extended, Growth, MAX_CAPACITY, extend_area};
use crate::error::{Error, Refusal};
use crate::services::Services;

/// Exactly one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CapacityBody {
    /// So many places in all.
    capacity: Option<i32>,
    /// So many more.
    add: Option<i32>,
}

#[derive(Debug, Serialize)]
struct CapacityDocument<'a> {
    event: &'a str,
    area: &'a str,
    /// The event's version of the change; null when nothing changed.
    version: Option<i64>,
    capacity: i32,
}

/// Gives an area more places.
pub(super) async fn extend(
    State(services): State<Services>,
    Ids((event, area)): Ids<(EventId, AreaId)>,
    facts: RequestFacts,
    headers: HeaderMap,
    payload: Payload<CapacityBody>,
) -> Result<Response, Error> {
    let sensible = |places: &i32| (1..=MAX_CAPACITY).contains(places);
    let range = |pointer| Refusal::invalid(pointer, format!("a number from 1 to {MAX_CAPACITY}"));
    let growth = match (payload.value.capacity, payload.value.add) {
        (Some(capacity), None) => Growth::To(Some(capacity).filter(sensible).ok_or_else(|| range("/capacity"))?),
        (None, Some(places)) => Growth::By(Some(places).filter(sensible).ok_or_else(|| range("/add"))?),
        _ => return Err(Refusal::invalid("", "exactly one of capacity and add is needed").into()),
    };
    services.events.get(&services.db, &event).await?;
    let answer: Answer<Extended> = {
        let (event, area) = (event.clone(), area.clone());
        Arc::new(move |done: &Extended| {
            let (event, area) = (event.as_str(), area.as_str());
            let document = CapacityDocument { event, area, version: done.version, capacity: done.capacity };
            answer::json(StatusCode::OK, &document)
        })
    };
    let actor = services.organisers.actor();
    let repeat = answer::once(&headers, &actor, payload.hash, &facts, &answer)?;
    let request = ExtendRequest { event, area, growth, actor, request_id: facts.id };
    answer::finish(extend_area(&services, request, repeat).await, &answer)
}
