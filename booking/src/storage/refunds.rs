//! Rows of `refund`. Written only under the lock of their payment, whose `refund_due` is their sum.

use sqlx::PgConnection;

use super::payments::{PaymentKey, PaymentRow};
use crate::error::Error;

/// A refund that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Counted from 1, per payment.
    pub number: i32,
    /// Minor units of the payment's currency.
    pub amount: i64,
    /// What has gone back of the payment before it, as of the same moment.
    pub before: i64,
}

impl Refund {
    /// Its idempotency key at the provider.
    #[must_use]
    pub fn provider_key(&self, payment: &PaymentKey) -> String {
        format!("{}/refund/{}", payment.reference(), self.number)
    }
}

/// A refund to be decided.
#[derive(Debug, Clone, Copy)]
pub struct NewRefund<'a> {
    /// Minor units.
    pub amount: i64,
    /// Why, for people.
    pub reason: &'a str,
    /// What asks for it: the same request is the same refund.
    pub request: &'a str,
}

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// Written; the reconciler sees to it.
    New,
    /// The same request was decided before.
    Before,
    /// More than is left of the payment.
    TooMuch {
        /// What is left.
        left: i64,
    },
}

/// Decides a refund of a payment under lock, and has it looked at.
///
/// # Errors
/// When the database cannot be had.
pub async fn decide(conn: &mut PgConnection, payment: &PaymentRow, new: NewRefund<'_>) -> Result<Decided, Error> {
    let key = &payment.key;
    let before = sqlx::query_scalar!(
        "select amount from refund where event_id = $1 and booking_id = $2 and attempt = $3 and request = $4",
        key.event.as_str(),
        key.booking.get(),
        key.attempt,
        new.request
    );
    if before.fetch_optional(&mut *conn).await?.is_some() {
        return Ok(Decided::Before);
    }
    let left = payment.amount.amount() - payment.refund_due;
    if new.amount <= 0 || new.amount > left {
        return Ok(Decided::TooMuch { left });
    }
    sqlx::query!(
        "insert into refund (event_id, booking_id, attempt, refund, amount, reason, request)
         select $1, $2, $3, coalesce(max(refund), 0) + 1, $4, $5, $6 from refund
         where event_id = $1 and booking_id = $2 and attempt = $3",
        key.event.as_str(),
        key.booking.get(),
        key.attempt,
        new.amount,
        new.reason,
        new.request
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update payment set refund_due = refund_due + $4, check_at = clock_timestamp(), checks = 0
         where event_id = $1 and booking_id = $2 and attempt = $3",
        key.event.as_str(),
        key.booking.get(),
        key.attempt,
        new.amount
    )
    .execute(conn)
    .await?;
    Ok(Decided::New)
}

/// The first refund of a payment that has not gone back, with what went back before it: by one statement, or a refund
/// that is noted in between would make the next one look paid.
///
/// # Errors
/// When the database cannot be had.
pub async fn first_due(conn: &mut PgConnection, key: &PaymentKey) -> Result<Option<Refund>, Error> {
    let row = sqlx::query_as!(
        Refund,
        "select r.refund as number, r.amount, p.refunded as before
         from refund r join payment p using (event_id, booking_id, attempt)
         where r.event_id = $1 and r.booking_id = $2 and r.attempt = $3 and r.state = 'due'
         order by r.refund limit 1",
        key.event.as_str(),
        key.booking.get(),
        key.attempt
    );
    Ok(row.fetch_optional(conn).await?)
}

/// Notes that a refund went back; `false` when it was noted before. The payment is locked.
///
/// # Errors
/// When the database cannot be had.
pub async fn note_done(conn: &mut PgConnection, key: &PaymentKey, refund: &Refund) -> Result<bool, Error> {
    let done = sqlx::query!(
        "with noted as (
             update refund set state = 'done', done_at = clock_timestamp()
             where event_id = $1 and booking_id = $2 and attempt = $3 and refund = $4 and state = 'due'
             returning amount)
         update payment set refunded = refunded + noted.amount from noted
         where event_id = $1 and booking_id = $2 and attempt = $3",
        key.event.as_str(),
        key.booking.get(),
        key.attempt,
        refund.number
    );
    Ok(done.execute(conn).await?.rows_affected() > 0)
}

/// Ends all refunds of a payment whose money went back in another way. The payment is locked.
///
/// # Errors
/// When the database cannot be had.
pub async fn moot(conn: &mut PgConnection, key: &PaymentKey) -> Result<(), Error> {
    sqlx::query!(
        "update refund set state = 'moot', done_at = clock_timestamp()
         where event_id = $1 and booking_id = $2 and attempt = $3 and state = 'due'",
        key.event.as_str(),
        key.booking.get(),
        key.attempt
    )
    .execute(conn)
    .await?;
    Ok(())
}
