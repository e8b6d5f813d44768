//! The lock under which an owner's places of an event are counted, so that parallel requests cannot pass each other.
//! They are counted in the function `hold_batch`.

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
