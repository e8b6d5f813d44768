//! Which change of prices or capacities was the last.

use booking_domain::EventId;
use sqlx::PgConnection;

use crate::error::{Error, Refusal};

/// The version of an event's last change of prices or capacities.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such event; that the database cannot be had.
pub async fn version(conn: &mut PgConnection, event: &EventId) -> Result<i64, Error> {
    let row = sqlx::query_scalar!("select terms_version from event_version where event_id = $1", event.as_str());
    Ok(row.fetch_optional(conn).await?.ok_or(Refusal::NotFound { what: "event" })?)
}

/// Those events whose last change is another than the one that is known.
///
/// # Errors
/// When the database cannot be had.
pub async fn changed(conn: &mut PgConnection, known: &[(EventId, i64)]) -> Result<Vec<EventId>, Error> {
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let events: Vec<&str> = known.iter().map(|(event, _)| event.as_str()).collect();
    let versions: Vec<i64> = known.iter().map(|(_, version)| *version).collect();
    let rows = sqlx::query_scalar!(
        "select v.event_id from unnest($1::text[], $2::bigint[]) as known (event_id, terms_version)
         join event_version v using (event_id) where v.terms_version <> known.terms_version",
        &events as _,
        &versions
    );
    rows.fetch_all(conn).await?.into_iter().map(|event| Ok(event.parse()?)).collect()
}
