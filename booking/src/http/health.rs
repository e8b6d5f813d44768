//! Health, for gateways and operators.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::services::Services;
use crate::storage;

/// How long the database may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process runs.
pub(super) async fn live() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// The node can serve: its database answers and has the schema.
pub(super) async fn ready(State(services): State<Services>) -> Response {
    let database = match tokio::time::timeout(PATIENCE, storage::is_ready(&services.db)).await {
        Ok(Ok(true)) => return Json(json!({ "status": "ok" })).into_response(),
        Ok(Ok(false)) => "has no schema: run `usher-booking migrate`",
        Ok(Err(_)) => "cannot be reached",
        Err(_) => "does not answer",
    };
    let body = Json(json!({ "status": "unavailable", "database": database }));
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], body).into_response()
}

/// Which build runs.
pub(super) async fn version() -> Response {
    Json(json!({ "name": "usher-booking", "version": env!("CARGO_PKG_VERSION") })).into_response()
}
