//! Who changed the stock, when, and how.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use booking_domain::EventId;
use serde::{Deserialize, Serialize};

use super::super::answer;
use super::super::body::{Ids, Params, page_limit, param};
use crate::error::Error;
use crate::services::Services;
use crate::storage::stock;

/// Which part of the list.
#[derive(Debug, Deserialize)]
pub(super) struct ListParams {
    /// 1 to 100; 20 if not given.
    limit: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct ChangeDocument {
    version: i64,
    at: jiff::Timestamp,
    actor: String,
    request_id: String,
    action: String,
    detail: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct Page {
    items: Vec<ChangeDocument>,
    next: Option<String>,
}

/// Lists the changes, the last first.
pub(super) async fn list(
    State(services): State<Services>,
    Ids(event): Ids<EventId>,
    Params(params): Params<ListParams>,
) -> Result<Response, Error> {
    let limit = page_limit(params.limit.as_deref())?;
    let before = param::<i64>("cursor", params.cursor.as_deref(), "a cursor of this list")?.unwrap_or(i64::MAX);
    services.events.get(&services.db, &event).await?;
    let mut rows = stock::recorded(&services.db, &event, before, limit + 1).await?;
    let more = i64::try_from(rows.len()).is_ok_and(|len| len > limit);
    rows.truncate(usize::try_from(limit).unwrap_or(0));
    let next = rows.last().filter(|_| more).map(|row| row.version.to_string());
    let items = rows.into_iter().map(|row| ChangeDocument {
        version: row.version,
        at: row.at,
        actor: row.actor,
        request_id: row.request_id,
        action: row.action,
        detail: row.detail,
    });
    Ok(answer::response(answer::json(StatusCode::OK, &Page { items: items.collect(), next })))
}
