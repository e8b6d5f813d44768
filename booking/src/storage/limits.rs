//! The lock under which an owner's places of an event are counted, so that parallel requests cannot pass each other.
//! For holds they are counted in the function `hold_batch`, for late money here.

use booking_domain::{EventId, Owner};
use sqlx::PgConnection;

use crate::error::Error;

/// Waits until no other transaction counts or changes the places of this owner in this event; none does until
/// the end of this one. The first lock of all.
///
/// # Errors
/// When the database cannot be had.
pub async fn lock(conn: &mut PgConnection, event: &EventId, owner: &Owner) -> Result<(), Error> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('limit ' || $1::text || ' ' || $2::text, 0))",
        event.as_str(),
        owner.as_str()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Counts the places an owner holds or has bought, under [`lock`].
///
/// # Errors
/// When the database cannot be had.
pub async fn lock_and_count(conn: &mut PgConnection, event: &EventId, owner: &Owner) -> Result<u32, Error> {
    lock(conn, event, owner).await?;
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
