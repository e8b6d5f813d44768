//! Rows of `seat`: locking and reading. They are changed by [`super::history::apply`] alone.

use booking_domain::{EventId, HoldId, PackedSeats, SeatState};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::areas::AreaCounts;
use super::history::Mark;
use crate::error::Error;

/// A seat under lock.
#[derive(Debug, Clone)]
pub struct LockedSeat {
    /// Which.
    pub seat_no: i32,
    /// What it is.
    pub state: SeatState,
    /// Whose it is.
    pub hold: Option<Uuid>,
    /// Whether it is held by a hold whose time has run out, by the database's clock.
    pub lapsed: bool,
}

/// Locks seats in the order of their numbers.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn lock(conn: &mut PgConnection, event: &EventId, seats: &[i32]) -> Result<Vec<LockedSeat>, Error> {
    let rows = sqlx::query!(
        r#"select seat_no, state, hold_id, (state = 1 and expires_at <= clock_timestamp()) as "lapsed!"
           from seat where event_id = $1 and seat_no = any($2) order by seat_no for update"#,
        event.as_str(),
        seats
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = decode(event, row.seat_no, row.state)?;
            Ok(LockedSeat { seat_no: row.seat_no, state, hold: row.hold_id, lapsed: row.lapsed })
        })
        .collect()
}

fn decode(event: &EventId, seat_no: i32, state: i16) -> Result<SeatState, Error> {
    let state_of = u8::try_from(state).ok().and_then(SeatState::from_code);
    state_of.ok_or_else(|| Error::defect(format!("seat.state is {state} for seat {seat_no} of {event}")))
}

/// Locks those seats of holds that are in a state, in the order of their numbers; with each its hold.
///
/// # Errors
/// When the database cannot be had.
pub async fn lock_of_holds(
    conn: &mut PgConnection,
    event: &EventId,
    holds: &[Uuid],
    state: SeatState,
) -> Result<Vec<(Uuid, i32)>, Error> {
    // Found by the holds' own lists: the seat table needs no index on hold_id.
    let rows = sqlx::query!(
        r#"select s.seat_no, s.hold_id as "hold_id!" from seat s
           where s.event_id = $1 and s.state = $3 and s.hold_id = any($2)
             and s.seat_no = any (select h.seat_no from hold_seat h where h.event_id = $1 and h.hold_id = any($2))
           order by s.seat_no for update"#,
        event.as_str(),
        holds,
        i16::from(state.code())
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.hold_id, row.seat_no)).collect())
}

/// Locks those seats of one hold that are in a state.
///
/// # Errors
/// When the database cannot be had.
pub async fn lock_of_hold(
    conn: &mut PgConnection,
    event: &EventId,
    hold: HoldId,
    state: SeatState,
) -> Result<Vec<i32>, Error> {
    let seats = lock_of_holds(conn, event, &[hold.get()], state).await?;
    Ok(seats.into_iter().map(|(_, seat_no)| seat_no).collect())
}

/// The numbers of the seats that can be had now, in order.
///
/// # Errors
/// When the database cannot be had.
pub async fn free(conn: &mut PgConnection, event: &EventId) -> Result<Vec<i32>, Error> {
    let rows = sqlx::query_scalar!(
        "select seat_no from seat where event_id = $1
         and (state = 0 or (state = 1 and expires_at <= clock_timestamp())) order by seat_no",
        event.as_str()
    );
    Ok(rows.fetch_all(conn).await?)
}

/// All seats and areas of an event at one version.
#[derive(Debug)]
pub struct AllSeats {
    /// The version.
    pub version: i64,
    /// Its mark.
    pub mark: Mark,
    /// The states.
    pub seats: PackedSeats,
    /// The counters.
    pub areas: Vec<AreaCounts>,
}

/// All seats and areas of an event with the version they belong to, by one statement: one moment.
///
/// # Errors
/// When the database cannot be had, or the event is unknown or has gaps in its numbers.
pub async fn snapshot(conn: &mut PgConnection, event: &EventId) -> Result<AllSeats, Error> {
    let row = sqlx::query!(
        r#"select v.version,
                  (select h.at from seat_event h where h.event_id = $1 and h.version = v.version) as mark,
                  (select coalesce(array_agg(state order by seat_no), '{}') from seat where event_id = $1)
                      as "states!: Vec<i16>",
                  (select coalesce(jsonb_agg(to_jsonb(a) order by ordinal), '[]') from area a where event_id = $1)
                      as "areas!: Json<Vec<AreaCounts>>"
           from event_version v where v.event_id = $1"#,
        event.as_str()
    )
    .fetch_one(conn)
    .await?;
    let mut packed = PackedSeats::free(row.states.len());
    for (seat_no, state) in row.states.iter().enumerate() {
        let number = i32::try_from(seat_no).unwrap_or(i32::MAX);
        if !packed.set(seat_no, decode(event, number, *state)?) {
            return Err(Error::defect(format!("seat numbers of {event} have gaps")));
        }
    }
    let mark = Mark::at(row.mark.map(|at| at.to_jiff()));
    Ok(AllSeats { version: row.version, mark, seats: packed, areas: row.areas.0 })
}
