//! The one way to change seats and areas: every change bumps the event's version and is written to the
//! history in the same statement.

use std::fmt;

use booking_domain::{EventId, SeatState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::error::Error;

/// By what a line of the history is told from another that has its number: when it was written, by the database's clock,
/// in microseconds since 1970. None where there is no line, as before the first.
///
/// A database that lost commits, because a replica that lagged took over or a copy was put back, gives their numbers
/// anew. Whoever remembers a version remembers its mark, and compares: the line of a version is written on top of all
/// before it, so where it is the same line, all before it are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Mark(Option<i64>);

impl Mark {
    /// Of a line that was written at this time.
    #[must_use]
    pub fn at(written_at: Option<Timestamp>) -> Self {
        Self(written_at.map(Timestamp::as_microsecond))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0.unwrap_or(0))
    }
}

/// What kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Free → held.
    Hold,
    /// Held → free, by the holder.
    Release,
    /// Held → free, by time.
    Expire,
    /// Held → pending: a payment begins.
    Pend,
    /// Pending → held: the payment came to nothing.
    Unpend,
    /// Pending → sold.
    Sell,
    /// Sold → free.
    Cancel,
    /// Held → held, for longer.
    Extend,
}

impl Op {
    const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Expire => "expire",
            Self::Pend => "pend",
            Self::Unpend => "unpend",
            Self::Sell => "sell",
            Self::Cancel => "cancel",
            Self::Extend => "extend",
        }
    }

    /// What the seats were before, and what they are after. A hold also takes seats whose hold has lapsed:
    /// those are expired by a change of their own first.
    const fn states(self) -> (SeatState, SeatState) {
        match self {
            Self::Hold => (SeatState::Free, SeatState::Held),
            Self::Release | Self::Expire => (SeatState::Held, SeatState::Free),
            Self::Pend => (SeatState::Held, SeatState::Pending),
            Self::Unpend => (SeatState::Pending, SeatState::Held),
            Self::Sell => (SeatState::Pending, SeatState::Sold),
            Self::Cancel => (SeatState::Sold, SeatState::Free),
            Self::Extend => (SeatState::Held, SeatState::Held),
        }
    }
}

/// An area after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AreaChange {
    /// The area.
    pub area: String,
    /// How many places the change moved.
    pub quantity: i32,
    /// How many fit in.
    pub capacity: i32,
    /// How many are held or being paid for, after the change.
    pub held: i32,
    /// How many are sold, after the change.
    pub sold: i32,
}

/// One change of an event's seats and areas. All belong to one hold.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The event.
    pub event: &'a EventId,
    /// What kind.
    pub op: Op,
    /// The hold they belong to, before or after.
    pub hold: Uuid,
    /// The booking they belong to, before or after.
    pub booking: Option<Uuid>,
    /// The seats, whose rows this transaction has locked.
    pub seats: &'a [i32],
    /// The areas, already counted.
    pub areas: Vec<AreaChange>,
    /// Until when the seats are held or pending.
    pub until: Option<jiff::Timestamp>,
}

/// Applies a change and returns the event's new version.
///
/// # Errors
/// A defect when a seat is not in the state it must be in: the caller had to lock and check it.
pub async fn apply(conn: &mut PgConnection, change: Change<'_>) -> Result<i64, Error> {
    let (from, to) = change.op.states();
    let keeps_hold = to != SeatState::Free;
    let keeps_booking = matches!(to, SeatState::Pending | SeatState::Sold);
    let hold_before = (from != SeatState::Free).then_some(change.hold);
    let row = sqlx::query!(
        r#"with bumped as (
               update event_version set version = version + 1 where event_id = $1 returning version),
           moved as (
               update seat set state = $4, hold_id = $5, booking_id = $6, expires_at = $7,
                      version = (select version from bumped)
               where event_id = $1 and seat_no = any($2) and state = $3
                 and hold_id is not distinct from $8
               returning seat_no),
           written as (
               insert into seat_event (event_id, version, op, state, seats, areas, hold_id, booking_id, expires_at)
               select $1, version, $9, $4, $2, $10, $11, $12, $7 from bumped)
           select (select version from bumped) as version, (select count(*) from moved) as "moved!""#,
        change.event.as_str(),
        change.seats,
        i16::from(from.code()),
        i16::from(to.code()),
        keeps_hold.then_some(change.hold),
        if keeps_booking { change.booking } else { None },
        change.until.map(jiff_sqlx::ToSqlx::to_sqlx) as _,
        hold_before,
        change.op.name(),
        Json(&change.areas) as _,
        change.hold,
        change.booking
    )
    .fetch_one(conn)
    .await?;
    if usize::try_from(row.moved).ok() != Some(change.seats.len()) {
        return Err(Error::defect(format!(
            "{} of {} seats could be moved by {:?} of hold {}",
            row.moved,
            change.seats.len(),
            change.op,
            change.hold
        )));
    }
    row.version.ok_or_else(|| Error::defect(format!("event {} has no version", change.event)))
}
