//! Seating plans: as documents of the public format, and packed for those who draw them. Neither ever changes.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use booking_domain::EventId;
use bytes::Bytes;

use super::answer;
use super::body::Ids;
use super::problem::ProblemDocument;
use crate::error::{Error, Refusal};
use crate::events::Seated;
use crate::services::Services;

/// Reads an event's seating plan, in the public pretix seating-plan format. It never changes.
#[utoipa::path(get, path = "/v1/events/{event}/plan", tag = "catalogue",
    params(("event" = String, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "A seating plan", content_type = "application/json"), (status = 304),
        (status = 404, body = ProblemDocument), (status = 503, body = ProblemDocument)))]
pub(super) async fn document(
    State(services): State<Services>,
    Ids(event): Ids<EventId>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    fixed(&services, &event, &headers, "", |seated| seated.document.clone()).await
}

/// Reads an event's seating plan packed for drawing, in a tenth of its size. It never changes.
#[utoipa::path(get, path = "/v1/events/{event}/plan/packed", tag = "catalogue",
    params(("event" = String, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "`x` and `y` are base64 of 16 bits per seat in `seat_no` order, low byte \
        first; a seat lies at `origin + step × number`. `radius` and `category` are `[value, so many seats]` again \
        and again. `number` and `seat` of a row are `[beginning, first, step, count]` or `[beginning, [rest…]]`.",
        content_type = "application/json"), (status = 304), (status = 404, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn packed(
    State(services): State<Services>,
    Ids(event): Ids<EventId>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    fixed(&services, &event, &headers, "-packed-1", |seated| seated.packed.clone()).await
}

async fn fixed(
    services: &Services,
    event: &EventId,
    headers: &HeaderMap,
    form: &str,
    bytes: fn(&Seated) -> Bytes,
) -> Result<Response, Error> {
    let facts = services.events.get(&services.db, event).await?;
    let (Some(seated), Some(digest)) = (&facts.seated, &facts.event.plan_digest) else {
        return Err(Refusal::NotFound { what: "plan" }.into());
    };
    let etag = format!("\"{digest}{form}\"");
    let fixed = [(ETAG, etag.as_str()), (CACHE_CONTROL, "public, max-age=86400, immutable")];
    if answer::is_known(headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    Ok((fixed, [(CONTENT_TYPE, "application/json")], bytes(seated)).into_response())
}
