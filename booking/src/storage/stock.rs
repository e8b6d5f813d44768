//! What an organiser does to the stock: each change with the event's next version, its line in the history, and
//! its record of who did it, in one statement.

use booking_domain::{EventId, SeatState, Tariff, UnitPrice};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::areas::AreaCounts;
use crate::error::{Error, Refusal};

/// Who changes the stock, and how.
#[derive(Debug, Clone)]
pub struct Act<'a> {
    /// Whose hand it is.
    pub actor: &'a str,
    /// The request that asked for it.
    pub request_id: &'a str,
    /// What is changed, for whoever reads the record.
    pub detail: Value,
}

/// A seat under lock, as an organiser sees it.
#[derive(Debug, Clone)]
pub struct StockSeat {
    /// Its number.
    pub seat_no: i32,
    /// What it is.
    pub state: SeatState,
    /// Whether it is blocked.
    pub blocked: bool,
    /// Whose it is.
    pub hold: Option<Uuid>,
    /// Whether it is held by a hold whose time has run out, by the database's clock.
    pub lapsed: bool,
}

/// Locks seats in the order of their numbers.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn lock_seats(conn: &mut PgConnection, event: &EventId, seats: &[i32]) -> Result<Vec<StockSeat>, Error> {
    let rows = sqlx::query!(
        r#"select seat_no, state, blocked, hold_id, (state = 1 and expires_at <= clock_timestamp()) as "lapsed!"
           from seat where event_id = $1 and seat_no = any($2) order by seat_no for update"#,
        event.as_str(),
        seats
    );
    let seat = |seat_no, state: i16, blocked, hold, lapsed| {
        let state = u8::try_from(state).ok().and_then(SeatState::from_code);
        let state = state.ok_or_else(|| Error::defect(format!("seat {seat_no} of {event} has an unknown state")))?;
        Ok(StockSeat { seat_no, state, blocked, hold, lapsed })
    };
    let rows = rows.fetch_all(conn).await?;
    rows.into_iter().map(|row| seat(row.seat_no, row.state, row.blocked, row.hold_id, row.lapsed)).collect()
}

/// Blocks free seats, or frees blocked ones; their rows are locked. Returns the event's new version.
///
/// # Errors
/// A defect when a seat is not in the state it must be in; that the database cannot be had.
pub async fn set_blocked(
    conn: &mut PgConnection,
    event: &EventId,
    seats: &[i32],
    blocked: bool,
    act: &Act<'_>,
) -> Result<i64, Error> {
    let (from, to) = if blocked { (SeatState::Free, SeatState::Sold) } else { (SeatState::Sold, SeatState::Free) };
    let row = sqlx::query!(
        r#"with bumped as (
               update event_version set version = version + 1 where event_id = $1 returning version),
           moved as (
               update seat set state = $4, blocked = $5, version = (select version from bumped)
               where event_id = $1 and seat_no = any($2) and state = $3 and blocked = not $5 returning seat_no),
           written as (
               insert into seat_event (event_id, version, op, state, seats, areas)
               select $1, version, $6, $4, $2, '[]' from bumped),
           recorded as (
               insert into stock_change (event_id, version, actor, request_id, action, detail)
               select $1, version, $7, $8, $6, $9 from bumped)
           select (select version from bumped) as "version!", (select count(*) from moved) as "moved!""#,
        event.as_str(),
        seats,
        i16::from(from.code()),
        i16::from(to.code()),
        blocked,
        if blocked { "block" } else { "unblock" },
        act.actor,
        act.request_id,
        act.detail
    );
    let row = row.fetch_one(conn).await?;
    if usize::try_from(row.moved).ok() != Some(seats.len()) {
        return Err(Error::defect(format!(
            "{} of {} seats of {event} could be blocked or freed",
            row.moved,
            seats.len()
        )));
    }
    Ok(row.version)
}

/// By what an event's prices are made.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such event; that the database cannot be had or holds an impossible row.
pub async fn tariff(conn: &mut PgConnection, event: &EventId) -> Result<Tariff, Error> {
    let row = sqlx::query!("select fee, tax_bp from event where event_id = $1", event.as_str());
    let row = row.fetch_optional(conn).await?.ok_or(Refusal::NotFound { what: "event" })?;
    let impossible = || Error::defect(format!("fee or tax of {event} are out of range"));
    let tax_bp = u16::try_from(row.tax_bp).ok().and_then(|tax_bp| tax_bp.try_into().ok()).ok_or_else(impossible)?;
    Ok(Tariff { fee: u32::try_from(row.fee).map_err(|_| impossible())?, tax_bp })
}

/// Gives a category another price and returns the event's new version.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such category; that the database cannot be had.
pub async fn reprice(
    conn: &mut PgConnection,
    event: &EventId,
    category: &str,
    unit: &UnitPrice,
    act: &Act<'_>,
) -> Result<i64, Error> {
    let row = sqlx::query_scalar!(
        r#"with priced as (
               update price_category set face = $3, fee = $4, tax = $5, price = $6
               where event_id = $1 and category = $2 returning category),
           bumped as (
               update event_version set version = version + 1, terms_version = version + 1
               where event_id = $1 and exists (select from priced) returning version),
           written as (
               insert into seat_event (event_id, version, op, state, seats, areas)
               select $1, version, 'reprice', 0, '{}', '[]' from bumped),
           recorded as (
               insert into stock_change (event_id, version, actor, request_id, action, detail)
               select $1, version, $7, $8, 'reprice', $9 from bumped)
           select version from bumped"#,
        event.as_str(),
        category,
        unit.face.amount(),
        unit.fee.amount(),
        unit.tax.amount(),
        unit.price.amount(),
        act.actor,
        act.request_id,
        act.detail
    );
    Ok(row.fetch_optional(conn).await?.ok_or(Refusal::NotFound { what: "category" })?)
}

/// Gives an area whose row is locked another capacity. Returns the event's new version.
///
/// # Errors
/// When the database cannot be had; a violated constraint is a defect.
pub async fn enlarge(
    conn: &mut PgConnection,
    event: &EventId,
    before: &AreaCounts,
    capacity: i32,
    act: &Act<'_>,
) -> Result<i64, Error> {
    let after = AreaCounts { capacity, ..before.clone() };
    let change = after.changed(capacity - before.capacity);
    let row = sqlx::query_scalar!(
        r#"with grown as (
               update area set capacity = $3 where event_id = $1 and area = $2),
           bumped as (
               update event_version set version = version + 1, terms_version = version + 1
               where event_id = $1 returning version),
           written as (
               insert into seat_event (event_id, version, op, state, seats, areas)
               select $1, version, 'enlarge', 0, '{}', $4 from bumped),
           recorded as (
               insert into stock_change (event_id, version, actor, request_id, action, detail)
               select $1, version, $5, $6, 'enlarge', $7 from bumped)
           select version from bumped"#,
        event.as_str(),
        before.area,
        capacity,
        Json([change]) as _,
        act.actor,
        act.request_id,
        act.detail
    );
    Ok(row.fetch_one(conn).await?)
}

/// The record of one change.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The event's version after it.
    pub version: i64,
    /// When it was.
    pub at: Timestamp,
    /// Whose hand it was.
    pub actor: String,
    /// The request that asked for it.
    pub request_id: String,
    /// What kind.
    pub action: String,
    /// What was changed.
    pub detail: Value,
}

/// The changes before a version, the last first.
///
/// # Errors
/// When the database cannot be had.
pub async fn recorded(pool: &PgPool, event: &EventId, before: i64, limit: i64) -> Result<Vec<Recorded>, Error> {
    let rows = sqlx::query!(
        "select version, at, actor, request_id, action, detail from stock_change
         where event_id = $1 and version < $2 order by version desc limit $3",
        event.as_str(),
        before,
        limit
    );
    let rows = rows.fetch_all(pool).await?.into_iter().map(|row| Recorded {
        version: row.version,
        at: row.at.to_jiff(),
        actor: row.actor,
        request_id: row.request_id,
        action: row.action,
        detail: row.detail,
    });
    Ok(rows.collect())
}
