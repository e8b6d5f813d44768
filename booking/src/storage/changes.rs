//! Reading the history: what changed after a version.

use booking_domain::{EventId, SeatState};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::history::{AreaChange, Mark};
use crate::error::{Error, Refusal};

/// One line of the history.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The event's version after the change.
    pub version: i64,
    /// The version's mark.
    pub mark: Mark,
    /// What the listed seats became.
    pub state: SeatState,
    /// Which seats.
    pub seats: Vec<i32>,
    /// Areas after the change.
    pub areas: Vec<AreaChange>,
    /// Whether it changed prices.
    pub terms: bool,
}

/// What changed after a version.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The event's version.
    pub version: i64,
    /// The mark of the version after which was asked.
    pub seen: Mark,
    /// The changes, oldest first.
    pub entries: Vec<Entry>,
}

/// Reads what changed after a version, at most `limit` changes. One statement: one moment.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such event; that the database cannot be had or holds an impossible row.
pub async fn after(conn: &mut PgConnection, event: &EventId, version: i64, limit: i64) -> Result<Changes, Error> {
    let rows = sqlx::query!(
        r#"select v.version as now, (select k.at from seat_event k where k.event_id = $1 and k.version = $2) as seen,
                  e.at as "at?", e.version as "version?", e.op as "op?", e.state as "state?", e.seats as "seats?",
                  e.areas as "areas?: Json<Vec<AreaChange>>"
           from event_version v left join seat_event e on e.event_id = v.event_id and e.version > $2
           where v.event_id = $1 order by e.version limit $3"#,
        event.as_str(),
        version,
        limit
    );
    let rows = rows.fetch_all(conn).await?;
    let first = rows.first().ok_or(Refusal::NotFound { what: "event" })?;
    let (now, seen) = (first.now, Mark::at(first.seen.map(|at| at.to_jiff())));
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let (Some(version), Some(op), Some(state), Some(seats), Some(areas)) =
            (row.version, row.op, row.state, row.seats, row.areas)
        else {
            continue;
        };
        let state = u8::try_from(state).ok().and_then(SeatState::from_code);
        let state = state.ok_or_else(|| Error::defect(format!("version {version} of {event} has an unknown state")))?;
        let mark = Mark::at(row.at.map(|at| at.to_jiff()));
        entries.push(Entry { version, mark, state, seats, areas: areas.0, terms: op == "reprice" });
    }
    Ok(Changes { version: now, seen, entries })
}
