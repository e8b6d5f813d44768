//! What of `payment` says that a person has to look at it: a reason that was found, or that every look at it fails.
//!
//! The two are kept apart: a reason stays until somebody has seen it, failures are over with the first look that
//! succeeds.

use sqlx::{PgConnection, PgPool};

use super::payments::PaymentKey;
use crate::error::Error;

/// Says why a person has to look at a payment. `true` when it is news.
///
/// # Errors
/// When the database cannot be had.
pub async fn set(conn: &mut PgConnection, key: &PaymentKey, why: &str) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update payment set alarm = $4, alarmed_at = clock_timestamp()
         where event_id = $1 and booking_id = $2 and attempt = $3 and alarm is distinct from $4",
        key.event.as_str(),
        key.booking.get(),
        key.attempt,
        why
    );
    Ok(done.execute(conn).await?.rows_affected() > 0)
}

/// After how many failures in a row a person has to look, and the longest wait between two looks that fail.
#[derive(Debug, Clone, Copy)]
pub struct Failing {
    /// So many in a row.
    pub alarm_after: i32,
    /// The wait doubles with each, from two seconds up to this while its seats are pending.
    pub pending_wait_s: u32,
    /// And up to this otherwise.
    pub most_wait_s: u32,
}

/// Notes that a look at a payment failed, and has it looked at again: also one about which nothing seemed to be open.
/// Returns how many failures there were in a row.
///
/// # Errors
/// When the database cannot be had.
pub async fn note_failure(pool: &PgPool, key: &PaymentKey, why: &str, failing: Failing) -> Result<i32, Error> {
    let failures = sqlx::query_scalar!(
        "update payment set failures = failures + 1,
                failing = case when failures + 1 >= $5 then $4 end,
                failing_since = case when failures + 1 >= $5 then coalesce(failing_since, clock_timestamp()) end,
                check_at = clock_timestamp() + make_interval(
                    secs => least(2 ^ least(failures + 1, 20), case when state = 'created' then $7 else $6::double precision end))
         where event_id = $1 and booking_id = $2 and attempt = $3 returning failures",
        key.event.as_str(),
        key.booking.get(),
        key.attempt,
        why,
        failing.alarm_after,
        f64::from(failing.most_wait_s),
        f64::from(failing.pending_wait_s)
    );
    Ok(failures.fetch_one(pool).await?)
}

/// Notes that a look at a payment succeeded. `true` when a person had to look at it until now.
///
/// # Errors
/// When the database cannot be had.
pub async fn end_failures(pool: &PgPool, key: &PaymentKey) -> Result<bool, Error> {
    let alarmed = sqlx::query_scalar!(
        r#"with before as (
               select failing from payment where event_id = $1 and booking_id = $2 and attempt = $3 and failures > 0
               for update)
           update payment p set failures = 0, failing = null, failing_since = null from before
           where p.event_id = $1 and p.booking_id = $2 and p.attempt = $3
           returning before.failing is not null as "alarmed!""#,
        key.event.as_str(),
        key.booking.get(),
        key.attempt
    );
    Ok(alarmed.fetch_optional(pool).await?.unwrap_or(false))
}

/// A payment that a person has to look at.
#[derive(Debug, Clone)]
pub struct Alarmed {
    /// The event.
    pub event_id: String,
    /// Our name of it.
    pub reference: String,
    /// The provider's.
    pub provider_payment: Option<String>,
    /// Its stage.
    pub state: String,
    /// Minor units.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// Why.
    pub why: String,
}

/// Payments that a person has to look at, the newest first.
///
/// # Errors
/// When the database cannot be had.
pub async fn list(pool: &PgPool, limit: i64) -> Result<Vec<Alarmed>, Error> {
    let rows = sqlx::query_as!(
        Alarmed,
        r#"select event_id, reference, provider_payment, state, amount, currency,
                  concat_ws('; ', alarm, 'failed ' || failures || ' times: ' || failing) as "why!"
           from payment where alarm is not null or failing is not null
           order by greatest(alarmed_at, failing_since) desc limit $1"#,
        limit
    );
    Ok(rows.fetch_all(pool).await?)
}

/// Takes a payment off the list of those that a person has to look at; `false` when it is not there. One that goes on
/// failing comes back after as many failures as before.
///
/// # Errors
/// When the database cannot be had.
pub async fn seen(pool: &PgPool, reference: &str) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update payment set alarm = null, alarmed_at = null, failures = 0, failing = null, failing_since = null
         where reference = $1 and (alarm is not null or failing is not null)",
        reference
    );
    Ok(done.execute(pool).await?.rows_affected() > 0)
}
