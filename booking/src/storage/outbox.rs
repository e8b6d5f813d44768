//! Rows of `outbox`: what other parts shall learn of a booking, in the order of its changes.
//!
//! Invariant: of one booking only the oldest announcement that was not delivered is ever taken, so one that
//! cannot be delivered holds up its own booking and no other.

use booking_domain::{BookingId, EventId};
use sqlx::{PgConnection, PgPool};

use crate::error::Error;

/// An announcement.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Announcement {
    /// Its number: rises with the changes of one booking. A consumer that gets one twice knows it by this.
    pub seq: i64,
    /// The event.
    #[serde(rename = "event")]
    pub event_id: String,
    /// The booking.
    #[serde(rename = "booking")]
    pub booking_id: uuid::Uuid,
    /// What happened.
    pub topic: String,
    /// The facts.
    pub payload: serde_json::Value,
    /// How often it was tried, this time included.
    pub attempts: i32,
}

/// Writes down what other parts shall learn of a booking, whose row is locked.
///
/// # Errors
/// When the database cannot be had.
pub async fn announce(
    conn: &mut PgConnection,
    event: &EventId,
    booking: BookingId,
    topic: &str,
    payload: serde_json::Value,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into outbox (event_id, booking_id, topic, payload) values ($1, $2, $3, $4)",
        event.as_str(),
        booking.get(),
        topic,
        payload
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes announcements that are due, at most one per booking and `limit` in all. Another taker gets them only
/// after `lease_s`, should this one die.
///
/// # Errors
/// When the database cannot be had.
pub async fn take_due(pool: &PgPool, limit: i32, lease_s: u32) -> Result<Vec<Announcement>, Error> {
    // The function is in the migrations: it looks at few rows, however many wait behind one that is set aside.
    let rows = sqlx::query_as!(
        Announcement,
        r#"select seq as "seq!", event_id as "event_id!", booking_id as "booking_id!", topic as "topic!",
                  payload as "payload!", attempts as "attempts!" from take_announcements($1, $2)"#,
        limit,
        f64::from(lease_s)
    );
    Ok(rows.fetch_all(pool).await?)
}

/// Marks announcements as delivered, and wakes the next one of each one's booking, which may have been put off.
///
/// # Errors
/// When the database cannot be had.
pub async fn delivered(pool: &PgPool, seqs: &[i64]) -> Result<(), Error> {
    if seqs.is_empty() {
        return Ok(());
    }
    // Also one that looks due: who puts it off at this moment has it locked, and is waited for.
    sqlx::query!(
        "with done as (
             update outbox set delivered_at = clock_timestamp(), last_error = null where seq = any($1)
             returning seq, event_id, booking_id)
         update outbox o set due_at = clock_timestamp() from done
         where o.seq = (
             select min(e.seq) from outbox e
             where e.event_id = done.event_id and e.booking_id = done.booking_id and e.seq > done.seq
               and e.delivered_at is null)",
        seqs
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Notes that an announcement could not be delivered: it is tried again in `retry_ms`, or set aside for good.
///
/// # Errors
/// When the database cannot be had.
pub async fn failed(pool: &PgPool, seq: i64, error: &str, retry_ms: Option<u64>) -> Result<(), Error> {
    let retry_s = retry_ms.map(|ms| ms as f64 / 1000.0);
    sqlx::query!(
        "update outbox set last_error = $2,
                due_at = clock_timestamp() + make_interval(secs => coalesce($3::double precision, 0)),
                quarantined_at = case when $3::double precision is null then clock_timestamp() end
         where seq = $1 and delivered_at is null",
        seq,
        error,
        retry_s
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// How many announcements wait, and how many are set aside.
///
/// # Errors
/// When the database cannot be had.
pub async fn counts(pool: &PgPool) -> Result<(i64, i64), Error> {
    let row = sqlx::query!(
        r#"select count(*) filter (where quarantined_at is null) as "waiting!",
                  count(*) filter (where quarantined_at is not null) as "aside!"
           from outbox where delivered_at is null"#
    )
    .fetch_one(pool)
    .await?;
    Ok((row.waiting, row.aside))
}

/// An announcement that waits or is set aside, for operators.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its number.
    pub seq: i64,
    /// The booking.
    pub booking_id: uuid::Uuid,
    /// What happened.
    pub topic: String,
    /// How often it was tried.
    pub attempts: i32,
    /// Whether it is set aside.
    pub is_aside: bool,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// The oldest announcements that were not delivered, those set aside first.
///
/// # Errors
/// When the database cannot be had.
pub async fn list(pool: &PgPool, limit: i64) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query_as!(
        Waiting,
        r#"select seq, booking_id, topic, attempts, (quarantined_at is not null) as "is_aside!", last_error
           from outbox where delivered_at is null order by (quarantined_at is null), seq limit $1"#,
        limit
    );
    Ok(rows.fetch_all(pool).await?)
}

/// Has announcements that are set aside tried again: one, or all. Returns how many.
///
/// # Errors
/// When the database cannot be had.
pub async fn replay(pool: &PgPool, seq: Option<i64>) -> Result<u64, Error> {
    let done = sqlx::query!(
        "update outbox set quarantined_at = null, attempts = 0, due_at = clock_timestamp()
         where quarantined_at is not null and ($1::bigint is null or seq = $1)",
        seq
    );
    Ok(done.execute(pool).await?.rows_affected())
}
