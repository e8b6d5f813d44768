//! Rows of `provider_event`: what providers told us, once per event of theirs.

use sqlx::PgPool;

use crate::error::Error;

/// A callback as it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The provider's id of the event: the same id is the same event.
    pub event: String,
    /// Our name of the payment it is about.
    pub reference: Option<String>,
    /// The provider's.
    pub provider_payment: Option<String>,
}

/// Writes callbacks of one provider; those that are known change nothing. Returns how many were new.
///
/// # Errors
/// When the database cannot be had.
pub async fn insert(pool: &PgPool, provider: &str, batch: &[Callback]) -> Result<u64, Error> {
    let column = |of: fn(&Callback) -> Option<String>| batch.iter().map(of).collect::<Vec<_>>();
    let done = sqlx::query!(
        "insert into provider_event (provider, provider_event, reference, provider_payment)
         select $1, e.event, e.reference, e.payment
         from unnest($2::text[], $3::text[], $4::text[]) as e (event, reference, payment)
         on conflict do nothing",
        provider,
        &batch.iter().map(|one| one.event.clone()).collect::<Vec<_>>(),
        &column(|one| one.reference.clone()) as &[Option<String>],
        &column(|one| one.provider_payment.clone()) as &[Option<String>]
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Takes callbacks that wait, at most `limit`. Another taker gets them only after `lease_s`, should this one die; one that
/// cannot be worked off is taken less and less often, in the end once in 64 times as long.
///
/// # Errors
/// When the database cannot be had.
pub async fn take_due(pool: &PgPool, provider: &str, limit: i64, lease_s: u32) -> Result<Vec<Callback>, Error> {
    let rows = sqlx::query_as!(
        Callback,
        r#"with due as (
               select provider, provider_event from provider_event
               where due_at <= clock_timestamp() and provider = $1
               order by due_at limit $2 for update skip locked)
           update provider_event p set due_at = clock_timestamp() + make_interval(secs => $3 * 2 ^ least(tries, 6)),
                                       tries = tries + 1
           from due where (p.provider, p.provider_event) = (due.provider, due.provider_event)
           returning p.provider_event as event, p.reference, p.provider_payment"#,
        provider,
        limit,
        f64::from(lease_s)
    );
    Ok(rows.fetch_all(pool).await?)
}

/// Marks callbacks as worked off.
///
/// # Errors
/// When the database cannot be had.
pub async fn finish(pool: &PgPool, provider: &str, events: &[String]) -> Result<(), Error> {
    sqlx::query!(
        "update provider_event set due_at = null where provider = $1 and provider_event = any($2)",
        provider,
        events
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets worked-off callbacks older than so many days, at most `limit`.
///
/// # Errors
/// When the database cannot be had.
pub async fn forget(pool: &PgPool, days: u32, limit: i64) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from provider_event where (provider, provider_event) in (
             select provider, provider_event from provider_event
             where received_at < clock_timestamp() - make_interval(days => $1) and due_at is null
             order by received_at limit $2)",
        i32::try_from(days).unwrap_or(i32::MAX),
        limit
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
