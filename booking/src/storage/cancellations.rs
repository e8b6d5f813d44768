//! Rows of `event_cancellation`: events that do not take place, and how far their bookings are paid back.

use booking_domain::{BookingId, EventId};
use sqlx::{PgConnection, PgPool};

use super::tx::in_tx;
use crate::error::Error;

/// Writes that an event does not take place; once. Sales that are being written are waited for by the lock of the
/// event's version, so that later ones see it.
///
/// # Errors
/// When the database cannot be had.
pub async fn insert(pool: &PgPool, event: &EventId, reason: &str) -> Result<bool, Error> {
    let (event, reason) = (event.clone(), reason.to_owned());
    in_tx(pool, move |conn| {
        let (event, reason) = (event.clone(), reason.clone());
        Box::pin(async move {
            sqlx::query!("select version from event_version where event_id = $1 for update", event.as_str())
                .fetch_optional(&mut *conn)
                .await?;
            let done = sqlx::query!(
                "insert into event_cancellation (event_id, reason) values ($1, $2) on conflict do nothing",
                event.as_str(),
                reason
            );
            Ok(done.execute(conn).await?.rows_affected() > 0)
        })
    })
    .await
}

/// Whether an event does not take place.
///
/// # Errors
/// When the database cannot be had.
pub async fn is_cancelled(conn: &mut PgConnection, event: &EventId) -> Result<bool, Error> {
    let row = sqlx::query_scalar!("select true from event_cancellation where event_id = $1", event.as_str());
    Ok(row.fetch_optional(conn).await?.is_some())
}

/// Takes one cancelled event whose bookings are not all ended, also one that was finished before. Another taker gets it only after `lease_s`.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn take_due(pool: &PgPool, lease_s: u32) -> Result<Option<EventId>, Error> {
    let row = sqlx::query_scalar!(
        r#"with due as (
               select event_id from event_cancellation c
               where due_at <= clock_timestamp() and (finished_at is null or exists (
                   select from booking b where b.event_id = c.event_id
                   and b.state in ('held', 'payment_pending', 'confirmed')))
               order by due_at limit 1 for update skip locked)
           update event_cancellation c set due_at = clock_timestamp() + make_interval(secs => $1)
           from due where c.event_id = due.event_id returning c.event_id"#,
        f64::from(lease_s)
    );
    row.fetch_optional(pool).await?.map(|id| Ok(id.parse()?)).transpose()
}

/// Bookings of an event that have not ended, after this one, at most `limit`; those being paid are left for later.
///
/// # Errors
/// When the database cannot be had.
pub async fn open_bookings(
    pool: &PgPool,
    event: &EventId,
    after: Option<BookingId>,
    limit: i64,
) -> Result<Vec<BookingId>, Error> {
    let rows = sqlx::query_scalar!(
        "select booking_id from booking
         where event_id = $1 and state in ('held', 'confirmed') and ($2::uuid is null or booking_id > $2)
         order by booking_id limit $3",
        event.as_str(),
        after.map(BookingId::get),
        limit
    );
    Ok(rows.fetch_all(pool).await?.into_iter().map(BookingId::new).collect())
}

/// How far a cancelled event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bookings that were cancelled.
    pub cancelled: i64,
    /// Bookings that are still to be cancelled, or are being paid.
    pub open: i64,
    /// Refunds that have not reached the provider.
    pub refunds_due: i64,
    /// Whether every booking has ended.
    pub finished: bool,
}

/// Counts one more cancelled booking of a cancelled event, in the transaction that cancels it.
///
/// # Errors
/// When the database cannot be had.
pub async fn count(conn: &mut PgConnection, event: &EventId) -> Result<(), Error> {
    sqlx::query!("update event_cancellation set cancelled = cancelled + 1 where event_id = $1", event.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Who goes on with a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Whoever is at it now, for so many seconds more.
    Keeps(u32),
    /// Anybody, in a second.
    Leaves,
}

/// Says who goes on, and finishes the cancellation when no booking is left.
///
/// # Errors
/// When the database cannot be had.
pub async fn advance(pool: &PgPool, event: &EventId, lease: Lease) -> Result<Progress, Error> {
    let again_in_s = match lease {
        Lease::Keeps(seconds) => seconds,
        Lease::Leaves => 1,
    };
    let row = sqlx::query!(
        r#"with left_over as materialized (
               select count(*) as open from booking b
               where b.event_id = $1 and b.state in ('held', 'payment_pending', 'confirmed'))
           update event_cancellation c set due_at = clock_timestamp() + make_interval(secs => $2),
                  finished_at = case when l.open = 0 then clock_timestamp() end
           from left_over l where c.event_id = $1
           returning c.cancelled, c.finished_at is not null as "finished!", l.open as "open!",
                     (select count(*) from refund r where r.event_id = $1 and r.state = 'due') as "refunds_due!""#,
        event.as_str(),
        f64::from(again_in_s)
    )
    .fetch_one(pool)
    .await?;
    Ok(Progress { cancelled: row.cancelled, open: row.open, refunds_due: row.refunds_due, finished: row.finished })
}
