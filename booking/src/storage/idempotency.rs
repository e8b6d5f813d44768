//! Rows of `idempotency`: answers kept for repeated requests.

use booking_domain::{BookingId, HoldId};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use super::payments::PaymentKey;
use crate::error::Error;

/// Who repeats which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose key it is; keys of different callers never meet.
    pub actor: String,
    /// The key.
    pub key: String,
    /// Fingerprint of method, path and body.
    pub request_hash: [u8; 32],
}

/// An answer as it is kept and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedAnswer {
    /// Its status.
    pub status: u16,
    /// Headers that belong to it.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What is known of a key.
#[derive(Debug, Clone)]
pub enum Known {
    /// Nothing yet.
    New,
    /// Used for another request.
    Other,
    /// Answered.
    Answered(SavedAnswer),
    /// A confirmation that began this payment; its answer was not kept.
    Paying(PaymentKey),
    /// Used to make this hold, of which the answer is written anew.
    Held(HoldId),
}

/// Takes the key for this transaction; `false` when another transaction has it. A crash gives it back.
///
/// # Errors
/// When the database cannot be had.
pub async fn try_lock(conn: &mut PgConnection, claim: &Claim) -> Result<bool, Error> {
    let locked = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended($1::text || ' ' || $2::text, 1)) as "locked!""#,
        claim.actor,
        claim.key
    );
    Ok(locked.fetch_one(conn).await?)
}

/// Looks a key up. A statement of its own after [`try_lock`], so that it sees what the former holder wrote.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn look_up(conn: &mut PgConnection, claim: &Claim) -> Result<Known, Error> {
    let row = sqlx::query!(
        r#"select request_hash, event_id, booking_id, attempt, hold_id, status,
                  headers as "headers: Json<Vec<(String, String)>>", body
           from idempotency where actor = $1 and key = $2"#,
        claim.actor,
        claim.key
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(Known::New) };
    if row.request_hash != claim.request_hash {
        return Ok(Known::Other);
    }
    if let (Some(status), Some(headers), Some(body)) = (row.status, row.headers, row.body) {
        let status = u16::try_from(status).map_err(|e| Error::internal("idempotency.status is negative", e))?;
        return Ok(Known::Answered(SavedAnswer { status, headers: headers.0, body }));
    }
    if let Some(hold) = row.hold_id {
        return Ok(Known::Held(HoldId::new(hold)));
    }
    match (row.event_id, row.booking_id, row.attempt) {
        (Some(event), Some(booking), Some(attempt)) => {
            Ok(Known::Paying(PaymentKey { event: event.parse()?, booking: BookingId::new(booking), attempt }))
        }
        _ => Err(Error::defect(format!("idempotency {} has neither answer nor payment", claim.key))),
    }
}

/// Keeps an answer.
///
/// # Errors
/// When the database cannot be had.
pub async fn keep(conn: &mut PgConnection, claim: &Claim, answer: &SavedAnswer) -> Result<(), Error> {
    sqlx::query!(
        "insert into idempotency (actor, key, request_hash, status, headers, body) values ($1, $2, $3, $4, $5, $6)
         on conflict (actor, key) do update
             set status = excluded.status, headers = excluded.headers, body = excluded.body
             where idempotency.status is null and idempotency.hold_id is null",
        claim.actor,
        claim.key,
        &claim.request_hash,
        i16::try_from(answer.status).map_err(|e| Error::internal("a status is no status", e))?,
        Json(&answer.headers) as _,
        answer.body
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a key began a payment, whose answer is not known yet.
///
/// # Errors
/// When the database cannot be had.
pub async fn note_payment(conn: &mut PgConnection, claim: &Claim, payment: &PaymentKey) -> Result<(), Error> {
    sqlx::query!(
        "insert into idempotency (actor, key, request_hash, event_id, booking_id, attempt)
         values ($1, $2, $3, $4, $5, $6)",
        claim.actor,
        claim.key,
        &claim.request_hash,
        payment.event.as_str(),
        payment.booking.get(),
        payment.attempt
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets that a key began a payment, unless an answer is kept.
///
/// # Errors
/// When the database cannot be had.
pub async fn take_back(conn: &mut PgConnection, claim: &Claim) -> Result<(), Error> {
    sqlx::query!(
        "delete from idempotency
         where actor = $1 and key = $2 and request_hash = $3 and status is null and attempt is not null",
        claim.actor,
        claim.key,
        &claim.request_hash
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets answers older than so many days, at most `limit`; returns how many.
///
/// # Errors
/// When the database cannot be had.
pub async fn forget(pool: &PgPool, days: u32, limit: i64) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from idempotency where (actor, key) in (
             select actor, key from idempotency
             where created_at < clock_timestamp() - make_interval(days => $1) order by created_at limit $2)",
        i32::try_from(days).unwrap_or(i32::MAX),
        limit
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
