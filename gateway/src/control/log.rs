//! `GET /control/sales/{sale}/log`: the last changes of the rate by the origin's say, newest first, each in one sentence.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::control::sales::known;
use crate::control::{Desk, refuse};
use crate::problem::{Kind, Problem};
use crate::telemetry;

/// Answers the changes that are kept.
pub async fn log(State(desk): State<Arc<Desk>>, Path(sale): Path<String>) -> Response {
    let room = match known(&desk, &sale) {
        Ok((room, _)) => room,
        Err(problem) => return refuse(*problem),
    };
    match room.note(room.line().governed_changes(&room.id).await) {
        Ok(changes) => {
            let items: Vec<Value> = changes
                .iter()
                .map(|change| {
                    json!({
                        "at": telemetry::rfc3339_us(change.at_us),
                        "factor": change.factor_milli as f64 / 1000.0,
                        "cause": change.cause.as_str(),
                        "why": change.why,
                    })
                })
                .collect();
            axum::Json(json!({"items": items, "next": null})).into_response()
        }
        Err(_) => {
            let problem = Problem::new(Kind::Unavailable, "The line cannot be reached now; try again.").retry_after(2);
            refuse(problem)
        }
    }
}
