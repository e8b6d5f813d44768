//! Reading what the holds writer keeps in memory: the states of all seats once, then what changed.

use booking_domain::EventId;
use jiff::Timestamp;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::history::Mark;
use super::hold_batch::SeatsChanged;
use crate::error::{Error, Refusal};

/// The seats of an event at one version.
#[derive(Debug)]
pub struct SeatTable {
    /// The event's version.
    pub version: i64,
    /// The mark of that version.
    pub mark: Mark,
    /// The database's clock.
    pub now: Timestamp,
    /// The states' codes, by number.
    pub states: Vec<i16>,
    /// Until when each is held or pending, in microseconds since 1970; 0 for the others.
    pub until_us: Vec<i64>,
}

/// Reads all seats of an event: one statement, one moment.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such event; that the database cannot be had.
pub async fn read(conn: &mut PgConnection, event: &EventId) -> Result<SeatTable, Error> {
    let row = sqlx::query!(
        r#"select v.version, clock_timestamp() as "now!",
                  (select h.at from seat_event h where h.event_id = v.event_id and h.version = v.version) as mark,
                  s.states as "states!: Vec<i16>", s.until_us as "until_us!: Vec<i64>"
           from event_version v cross join lateral (
               select coalesce(array_agg(state order by seat_no), '{}') as states,
                      coalesce(array_agg(coalesce((extract(epoch from expires_at) * 1000000)::bigint, 0)
                                         order by seat_no), '{}') as until_us
               from seat where event_id = v.event_id) s
           where v.event_id = $1"#,
        event.as_str()
    );
    let row = row.fetch_optional(conn).await?.ok_or(Refusal::NotFound { what: "event" })?;
    let mark = Mark::at(row.mark.map(|at| at.to_jiff()));
    Ok(SeatTable { version: row.version, mark, now: row.now.to_jiff(), states: row.states, until_us: row.until_us })
}

/// What changed after a version.
#[derive(Debug)]
pub struct Changes {
    /// The event's version.
    pub version: i64,
    /// The mark of the version after which was asked.
    pub seen: Mark,
    /// The database's clock, not after the moment that is read.
    pub now: Timestamp,
    /// The changes, oldest first.
    pub entries: Vec<SeatsChanged>,
}

/// Reads what changed after a version, at most `limit` changes.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such event; that the database cannot be had.
pub async fn changes(conn: &mut PgConnection, event: &EventId, seen: i64, limit: i32) -> Result<Changes, Error> {
    let row = sqlx::query!(
        r#"select v.version, clock_timestamp() as "now!",
                  (select h.at from seat_event h where h.event_id = $1 and h.version = $2) as seen,
                  case when v.version > $2 then (
                      select jsonb_agg(jsonb_build_array(e.version, e.state, e.seats,
                                 (extract(epoch from e.expires_at) * 1000000)::bigint,
                                 (extract(epoch from e.at) * 1000000)::bigint) order by e.version)
                      from (select h.version, h.state, h.seats, h.expires_at, h.at from seat_event h
                            where h.event_id = $1 and h.version > $2 order by h.version limit $3) e)
                  end as "entries: Json<Vec<SeatsChanged>>"
           from event_version v where v.event_id = $1"#,
        event.as_str(),
        seen,
        i64::from(limit)
    );
    let row = row.fetch_optional(conn).await?.ok_or(Refusal::NotFound { what: "event" })?;
    let entries = row.entries.map(|entries| entries.0).unwrap_or_default();
    let seen = Mark::at(row.seen.map(|at| at.to_jiff()));
    Ok(Changes { version: row.version, seen, now: row.now.to_jiff(), entries })
}
