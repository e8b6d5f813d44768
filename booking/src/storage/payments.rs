//! Rows of `payment`: attempts to be paid, and what is still open about them.

use booking_domain::{BookingId, BookingState, Currency, EventId, Money, PaymentState};
use jiff::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::Error;

/// Which attempt at paying for which booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentKey {
    /// The event.
    pub event: EventId,
    /// The booking.
    pub booking: BookingId,
    /// Counted from 1.
    pub attempt: i32,
}

impl PaymentKey {
    /// The name we give the payment at its provider; also its idempotency key there.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}/{}", self.booking, self.attempt)
    }
}

/// A payment as it is stored.
#[derive(Debug, Clone)]
pub struct PaymentRow {
    /// Which.
    pub key: PaymentKey,
    /// Who is asked.
    pub provider: String,
    /// The provider's own id of it.
    pub provider_payment: Option<String>,
    /// Its stage.
    pub state: PaymentState,
    /// How much.
    pub amount: Money,
    /// Why the provider said no.
    pub decline_reason: Option<String>,
    /// Past it, a payment that the provider never heard of counts as never made.
    pub deadline: Timestamp,
    /// All refunds that were decided, in minor units.
    pub refund_due: i64,
    /// Those of them that went back.
    pub refunded: i64,
    /// Whether late money was tried on the places.
    pub late_tried: bool,
    /// How often the reconciler has looked at it.
    pub checks: i32,
    /// When the attempt was made.
    pub created_at: Timestamp,
    /// The database's clock when it was read.
    pub now: Timestamp,
}

struct Stored {
    event_id: String,
    booking_id: Uuid,
    attempt: i32,
    provider: String,
    provider_payment: Option<String>,
    state: String,
    amount: i64,
    currency: String,
    decline_reason: Option<String>,
    deadline: jiff_sqlx::Timestamp,
    refund_due: i64,
    refunded: i64,
    late_tried: bool,
    checks: i32,
    created_at: jiff_sqlx::Timestamp,
    now: jiff_sqlx::Timestamp,
}

impl TryFrom<Stored> for PaymentRow {
    type Error = Error;

    fn try_from(row: Stored) -> Result<Self, Error> {
        let currency = Currency::from_code(&row.currency)
            .ok_or_else(|| Error::defect(format!("payment.currency is {:?} in {}", row.currency, row.booking_id)))?;
        let booking = BookingId::new(row.booking_id);
        Ok(Self {
            key: PaymentKey { event: row.event_id.parse()?, booking, attempt: row.attempt },
            provider: row.provider,
            provider_payment: row.provider_payment,
            state: row.state.parse()?,
            amount: Money::new(row.amount, currency),
            decline_reason: row.decline_reason,
            deadline: row.deadline.to_jiff(),
            refund_due: row.refund_due,
            refunded: row.refunded,
            late_tried: row.late_tried,
            checks: row.checks,
            created_at: row.created_at.to_jiff(),
            now: row.now.to_jiff(),
        })
    }
}

/// Writes a new attempt that must be settled `pending_s` from now; returns it with its number.
///
/// # Errors
/// When the database cannot be had; a defect when another attempt is live.
pub async fn insert(
    conn: &mut PgConnection,
    event: &EventId,
    booking: BookingId,
    provider: &str,
    amount: Money,
    pending_s: u32,
) -> Result<PaymentRow, Error> {
    let row = sqlx::query!(
        r#"with t as materialized (
               select clock_timestamp() as now,
                      (select coalesce(max(attempt), 0) + 1 from payment where event_id = $1 and booking_id = $2) as n)
           insert into payment (event_id, booking_id, attempt, provider, reference, state, amount, currency,
                                deadline, check_at, created_at)
           select $1, $2, n, $3, $2::text || '/' || n, 'created', $4, $5,
                  now + make_interval(secs => $6), now + make_interval(secs => $6), now from t
           returning attempt, deadline, created_at"#,
        event.as_str(),
        booking.get(),
        provider,
        amount.amount(),
        amount.currency().code(),
        f64::from(pending_s)
    )
    .fetch_one(conn)
    .await?;
    Ok(PaymentRow {
        key: PaymentKey { event: event.clone(), booking, attempt: row.attempt },
        provider: provider.to_owned(),
        provider_payment: None,
        state: PaymentState::Created,
        amount,
        decline_reason: None,
        deadline: row.deadline.to_jiff(),
        refund_due: 0,
        refunded: 0,
        late_tried: false,
        checks: 0,
        created_at: row.created_at.to_jiff(),
        now: row.created_at.to_jiff(),
    })
}

/// Locks a payment and reads it. Hold and booking must be locked before it.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn lock(conn: &mut PgConnection, key: &PaymentKey) -> Result<Option<PaymentRow>, Error> {
    let row = sqlx::query_as!(
        Stored,
        r#"select event_id, booking_id, attempt, provider, provider_payment, state, amount, currency,
                  decline_reason, deadline, refund_due, refunded, late_tried, checks, created_at,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from payment where event_id = $1 and booking_id = $2 and attempt = $3 for update"#,
        key.event.as_str(),
        key.booking.get(),
        key.attempt
    );
    row.fetch_optional(conn).await?.map(PaymentRow::try_from).transpose()
}

/// Reads a payment.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn find(conn: &mut PgConnection, key: &PaymentKey) -> Result<Option<PaymentRow>, Error> {
    let row = sqlx::query_as!(
        Stored,
        r#"select event_id, booking_id, attempt, provider, provider_payment, state, amount, currency,
                  decline_reason, deadline, refund_due, refunded, late_tried, checks, created_at,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from payment where event_id = $1 and booking_id = $2 and attempt = $3"#,
        key.event.as_str(),
        key.booking.get(),
        key.attempt
    );
    row.fetch_optional(conn).await?.map(PaymentRow::try_from).transpose()
}

/// The attempt that bought a booking, else the last one.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn foremost(
    conn: &mut PgConnection,
    event: &EventId,
    booking: BookingId,
) -> Result<Option<PaymentRow>, Error> {
    let row = sqlx::query_as!(
        Stored,
        r#"select event_id, booking_id, attempt, provider, provider_payment, state, amount, currency,
                  decline_reason, deadline, refund_due, refunded, late_tried, checks, created_at,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from payment where event_id = $1 and booking_id = $2
           order by (attempt = (select sold_attempt from booking where event_id = $1 and booking_id = $2))
                    desc nulls last, attempt desc limit 1"#,
        event.as_str(),
        booking.get()
    );
    row.fetch_optional(conn).await?.map(PaymentRow::try_from).transpose()
}

/// What is written about a payment after a step.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// The provider's own id of it, once known.
    pub provider_payment: Option<String>,
    /// Why the provider said no.
    pub decline_reason: Option<String>,
    /// In how many seconds the reconciler looks at it; `None` when nothing is open.
    pub check_in_s: Option<u32>,
    /// How many looks count as done: [`LAST_LOOK`] for one more, else none.
    pub checks: i32,
}

/// So many looks no payment gets: after them one answer is the last.
pub const LAST_LOOK: i32 = 1_000_000;

/// Writes a payment's new stage.
///
/// # Errors
/// When the database cannot be had.
pub async fn set_state(
    conn: &mut PgConnection,
    key: &PaymentKey,
    state: PaymentState,
    step: &Step,
) -> Result<(), Error> {
    sqlx::query!(
        "update payment set state = $4, provider_payment = coalesce($5, provider_payment),
                decline_reason = coalesce($6, decline_reason),
                check_at = clock_timestamp() + make_interval(secs => $7), checks = $8
         where event_id = $1 and booking_id = $2 and attempt = $3",
        key.event.as_str(),
        key.booking.get(),
        key.attempt,
        state.name(),
        step.provider_payment,
        step.decline_reason,
        step.check_in_s.map(f64::from),
        step.checks
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says when the reconciler looks at a payment next; `None` when nothing is open.
///
/// # Errors
/// When the database cannot be had.
pub async fn check_in(conn: &mut PgConnection, key: &PaymentKey, seconds: Option<u32>) -> Result<(), Error> {
    sqlx::query!(
        "update payment set check_at = clock_timestamp() + make_interval(secs => $4)
         where event_id = $1 and booking_id = $2 and attempt = $3",
        key.event.as_str(),
        key.booking.get(),
        key.attempt,
        seconds.map(f64::from)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes payments that are due to be looked at, at most `limit`, those that came to nothing last. Another taker gets them only after
/// `lease_s`, should this one die.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn take_due(pool: &PgPool, limit: i64, lease_s: u32) -> Result<Vec<PaymentRow>, Error> {
    let rows = sqlx::query_as!(
        Stored,
        r#"with due as (
               select event_id, booking_id, attempt from payment where check_at <= clock_timestamp()
               order by (state in ('declined', 'failed')), check_at limit $1 for update skip locked)
           update payment p set check_at = clock_timestamp() + make_interval(secs => $2), checks = checks + 1
           from due where (p.event_id, p.booking_id, p.attempt) = (due.event_id, due.booking_id, due.attempt)
           returning p.event_id, p.booking_id, p.attempt, p.provider, p.provider_payment, p.state, p.amount,
                     p.currency, p.decline_reason, p.deadline, p.refund_due, p.refunded, p.late_tried, p.checks,
                     p.created_at,
                     clock_timestamp() as "now!: jiff_sqlx::Timestamp""#,
        limit,
        f64::from(lease_s)
    );
    rows.fetch_all(pool).await?.into_iter().map(PaymentRow::try_from).collect()
}

/// Notes that late money was tried on the places, and has the payment looked at again at once.
///
/// # Errors
/// When the database cannot be had.
pub async fn set_late_tried(conn: &mut PgConnection, key: &PaymentKey) -> Result<(), Error> {
    sqlx::query!(
        "update payment set late_tried = true, check_at = clock_timestamp()
         where event_id = $1 and booking_id = $2 and attempt = $3",
        key.event.as_str(),
        key.booking.get(),
        key.attempt
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The payment that a callback is about: by our reference, else by the provider's own id.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn of_callback(
    pool: &PgPool,
    provider: &str,
    reference: Option<&str>,
    provider_payment: Option<&str>,
) -> Result<Option<PaymentRow>, Error> {
    let row = sqlx::query_as!(
        Stored,
        r#"select event_id, booking_id, attempt, provider, provider_payment, state, amount, currency,
                  decline_reason, deadline, refund_due, refunded, late_tried, checks, created_at,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from payment where provider = $1 and (reference = $2 or provider_payment = $3)
           order by (reference = $2) desc nulls last
           limit 1"#,
        provider,
        reference,
        provider_payment
    );
    row.fetch_optional(pool).await?.map(PaymentRow::try_from).transpose()
}

/// The booking's stage beside the payment: what a decision rests on, as of one moment.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn with_booking(
    conn: &mut PgConnection,
    key: &PaymentKey,
) -> Result<Option<(BookingState, PaymentRow)>, Error> {
    let row = sqlx::query!(
        r#"select b.state as booking, p.provider, p.provider_payment, p.state, p.amount, p.currency, p.decline_reason,
                  p.deadline, p.refund_due, p.refunded, p.late_tried, p.checks, p.created_at,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from payment p join booking b using (event_id, booking_id)
           where p.event_id = $1 and p.booking_id = $2 and p.attempt = $3"#,
        key.event.as_str(),
        key.booking.get(),
        key.attempt
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let stored = Stored {
        event_id: key.event.as_str().to_owned(),
        booking_id: key.booking.get(),
        attempt: key.attempt,
        provider: row.provider,
        provider_payment: row.provider_payment,
        state: row.state,
        amount: row.amount,
        currency: row.currency,
        decline_reason: row.decline_reason,
        deadline: row.deadline,
        refund_due: row.refund_due,
        refunded: row.refunded,
        late_tried: row.late_tried,
        checks: row.checks,
        created_at: row.created_at,
        now: row.now,
    };
    Ok(Some((row.booking.parse()?, stored.try_into()?)))
}
