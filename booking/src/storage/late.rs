//! What late money and unhappy payments do to holds: seats given to another list, time given to a holder.

use booking_domain::{BookingId, EventId, HoldId, Owner, SeatState};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::limits;
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
pub async fn lock_seats(conn: &mut PgConnection, event: &EventId, seats: &[i32]) -> Result<Vec<LockedSeat>, Error> {
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
            let state = u8::try_from(row.state).ok().and_then(SeatState::from_code);
            let state =
                state.ok_or_else(|| Error::defect(format!("seat {} of {event} is {}", row.seat_no, row.state)))?;
            Ok(LockedSeat { seat_no: row.seat_no, state, hold: row.hold_id, lapsed: row.lapsed })
        })
        .collect()
}

/// The numbers of the seats that can be had now, in order.
///
/// # Errors
/// When the database cannot be had.
pub async fn free_seats(conn: &mut PgConnection, event: &EventId) -> Result<Vec<i32>, Error> {
    let rows = sqlx::query_scalar!(
        "select seat_no from seat where event_id = $1
         and (state = 0 or (state = 1 and expires_at <= clock_timestamp())) order by seat_no",
        event.as_str()
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Counts the places an owner holds or has bought; none takes more until the end of the transaction.
///
/// # Errors
/// When the database cannot be had.
pub async fn lock_and_count(conn: &mut PgConnection, event: &EventId, owner: &Owner) -> Result<u32, Error> {
    limits::lock(conn, event, owner).await?;
    let row = sqlx::query!(
        r#"with live as (
               select hold_id from hold
               where event_id = $1 and owner = $2
                 and (state = 'pending' or (state = 'active' and expires_at > clock_timestamp()))),
           bought as (
               select booking_id from booking where event_id = $1 and owner = $2 and state = 'confirmed')
           select (select count(*) from hold_seat s join live using (hold_id) where s.event_id = $1)
                + (select coalesce(sum(quantity), 0) from hold_area a join live using (hold_id) where a.event_id = $1)
                + (select count(*) from booking_seat s join bought using (booking_id) where s.event_id = $1)
                + (select coalesce(sum(quantity), 0) from booking_area a join bought using (booking_id)
                   where a.event_id = $1) as "places!: i64""#,
        event.as_str(),
        owner.as_str()
    )
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(row.places).unwrap_or(u32::MAX))
}

/// Gives a hold and its booking other seats for some of theirs, pair by pair; prices stay. The new seats are locked.
///
/// # Errors
/// When the database cannot be had.
pub async fn exchange_seats(
    conn: &mut PgConnection,
    event: &EventId,
    hold: HoldId,
    booking: BookingId,
    pairs: &[(i32, i32)],
) -> Result<(), Error> {
    let (from, to): (Vec<i32>, Vec<i32>) = pairs.iter().copied().unzip();
    sqlx::query!(
        "update hold_seat s set seat_no = p.new from unnest($3::int[], $4::int[]) as p (old, new)
         where s.event_id = $1 and s.hold_id = $2 and s.seat_no = p.old",
        event.as_str(),
        hold.get(),
        &from,
        &to
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update booking_seat s set seat_no = p.new from unnest($3::int[], $4::int[]) as p (old, new)
         where s.event_id = $1 and s.booking_id = $2 and s.seat_no = p.old",
        event.as_str(),
        booking.get(),
        &from,
        &to
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a hold has of areas, and whether it is still counted there.
#[derive(Debug, Clone)]
pub struct AreaPlaces {
    /// The area.
    pub area: String,
    /// How many places.
    pub quantity: i32,
    /// 0 not at all, 1 held; see `hold_area.state`.
    pub state: i16,
}

/// What a hold has of areas.
///
/// # Errors
/// When the database cannot be had.
pub async fn area_places(conn: &mut PgConnection, event: &EventId, hold: HoldId) -> Result<Vec<AreaPlaces>, Error> {
    let rows = sqlx::query_as!(
        AreaPlaces,
        "select area, quantity, state from hold_area where event_id = $1 and hold_id = $2",
        event.as_str(),
        hold.get()
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Writes when a hold lapses. Its places follow by a change of their own, or by the one that is under way.
///
/// # Errors
/// When the database cannot be had.
pub async fn prolong(conn: &mut PgConnection, event: &EventId, hold: HoldId, until: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "update hold set expires_at = $3 where event_id = $1 and hold_id = $2",
        event.as_str(),
        hold.get(),
        jiff_sqlx::ToSqlx::to_sqlx(until) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}
