//! `GET /_usher/sales/{sale}`: the sale's public status, the same for everybody.

use serde_json::json;

use crate::line::room::SaleRoom;
use crate::line::view::View;
use crate::room::document::sale_state;
use crate::room::{Answer, Asked};
use crate::telemetry::rfc3339_ms;

/// Answers the route; cacheable for a second.
pub fn status(asked: &Asked<'_>, room: &SaleRoom, view: &View) -> Answer {
    let document = json!({
        "sale": room.id,
        "sale_state": sale_state(room, view, asked.now_us),
        "waiting": view.snapshot.numbers.waiting,
        "called_per_min": view.outflow_per_min.unwrap_or(view.snapshot.settings.rate_per_min).round() as u64,
        "opens_at": view.snapshot.settings.opens_at,
        "message": view.snapshot.settings.message,
        "updated_at": rfc3339_ms(view.received_ms),
    });
    Answer::json(200, &document).replace("cache-control", "public, max-age=1")
}
