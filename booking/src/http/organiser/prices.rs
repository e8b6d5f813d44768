//! Another price for a category.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use booking_domain::{EventId, Money};
use serde::{Deserialize, Serialize};

use super::super::answer;
use super::super::body::{Ids, Payload};
use super::super::documents::MoneyDocument;
use super::super::request::RequestFacts;
use crate::app::reprice_seats::{NewPrice, RepriceRequest, reprice_seats};
use crate::error::{Error, Refusal};
use crate::services::Services;

/// Exactly one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceBody {
    /// What the buyer pays, everything included.
    price: Option<Money>,
    /// What the organiser asks; the event's fee is added.
    face: Option<Money>,
}

#[derive(Debug, Serialize)]
struct PriceDocument<'a> {
    event: &'a str,
    category: &'a str,
    /// The event's version of the change.
    version: i64,
    face: MoneyDocument,
    fee: MoneyDocument,
    /// What the buyer pays, everything included.
    price: MoneyDocument,
}

/// Gives a category another price.
pub(super) async fn set(
    State(services): State<Services>,
    Ids((event, category)): Ids<(EventId, String)>,
    facts: RequestFacts,
    payload: Payload<PriceBody>,
) -> Result<Response, Error> {
    let known = services.events.get(&services.db, &event).await?;
    let price = match (payload.value.price, payload.value.face) {
        (Some(price), None) => NewPrice::Price(price),
        (None, Some(face)) => NewPrice::Face(face),
        _ => return Err(Refusal::invalid("", "exactly one of price and face is needed").into()),
    };
    let request = RepriceRequest {
        event: event.clone(),
        currency: known.event.currency,
        category: category.clone(),
        price,
        actor: services.organisers.actor(),
        request_id: facts.id,
    };
    let done = reprice_seats(&services, request).await?;
    let document = PriceDocument {
        event: event.as_str(),
        category: &category,
        version: done.version,
        face: done.unit.face.into(),
        fee: done.unit.fee.into(),
        price: done.unit.price.into(),
    };
    Ok(answer::response(answer::json(StatusCode::OK, &document)))
}
