//! What late money and unhappy payments do to holds: seats given to another list, time given to a holder.

use booking_domain::{BookingId, EventId, HoldId};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::error::Error;

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
