//! What late money and unhappy payments do to holds: seats given to another list, time given to a holder.

use booking_domain::{BookingId, EventId, HoldId};
use jiff::Timestamp;
use sqlx::PgConnection;

use super::areas::{self, Counted};
use super::history::AreaChange;
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
        "update hold_seat s set seat_no = p.new, made_seat_no = coalesce(s.made_seat_no, s.seat_no)
         from unnest($3::int[], $4::int[]) as p (old, new)
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

/// Places of an area that a lapsed hold still has.
#[derive(Debug, Clone)]
pub struct LapsedPlaces {
    /// The hold.
    pub hold: HoldId,
    /// The area.
    pub area: String,
    /// How many.
    pub quantity: i32,
}

/// Places of lapsed holds in a locked area, those that lapsed first, until there are so many or no more; those of one
/// hold are left out.
///
/// # Errors
/// When the database cannot be had.
pub async fn lapsed_places(
    conn: &mut PgConnection,
    event: &EventId,
    area: &str,
    wanted: i32,
    except: HoldId,
) -> Result<Vec<LapsedPlaces>, Error> {
    // The clock in a query of its own: asked once, so that the index ends where nothing has lapsed.
    let rows = sqlx::query!(
        "select hold_id, quantity from hold_area
         where event_id = $1 and area = $2 and state = 1 and hold_id <> $4
           and expires_at <= (select clock_timestamp())
         order by expires_at, hold_id limit greatest($3::integer, 0)",
        event.as_str(),
        area,
        wanted,
        except.get()
    );
    let mut found = 0;
    let rows = rows.fetch_all(conn).await?.into_iter().take_while(|row| {
        let is_needed = found < wanted;
        found += row.quantity;
        is_needed
    });
    let places = rows.map(|row| (HoldId::new(row.hold_id), row.quantity));
    Ok(places.map(|(hold, quantity)| LapsedPlaces { hold, area: area.to_owned(), quantity }).collect())
}

/// Takes places back from a lapsed hold, which then are counted nowhere. Their area is locked.
///
/// # Errors
/// A defect when the hold does not have them; that the database cannot be had.
pub async fn take_back(conn: &mut PgConnection, event: &EventId, lapsed: &LapsedPlaces) -> Result<AreaChange, Error> {
    let done = sqlx::query!(
        "update hold_area set state = 0, expires_at = null
         where event_id = $1 and hold_id = $2 and area = $3 and state = 1",
        event.as_str(),
        lapsed.hold.get(),
        lapsed.area
    );
    if done.execute(&mut *conn).await?.rows_affected() != 1 {
        return Err(Error::defect(format!("the hold {} has nothing of {} any more", lapsed.hold, lapsed.area)));
    }
    let counts = areas::shift(conn, event, &lapsed.area, lapsed.quantity, Counted::Held, Counted::Free).await?;
    Ok(counts.changed(lapsed.quantity))
}

/// Writes when a hold lapses. Its places follow by a change of their own, or by the one that is under way.
///
/// # Errors
/// When the database cannot be had.
pub async fn prolong(conn: &mut PgConnection, event: &EventId, hold: HoldId, until: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "update hold set made_until = coalesce(made_until, expires_at), expires_at = $3
         where event_id = $1 and hold_id = $2",
        event.as_str(),
        hold.get(),
        jiff_sqlx::ToSqlx::to_sqlx(until) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}
