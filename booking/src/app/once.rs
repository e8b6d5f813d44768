//! Doing once what is asked twice: answers kept with their effect, in one transaction.
//!
//! A caller who sends an idempotency key gets the same answer for the same request, however often it is
//! repeated. The key is taken by an advisory lock, so that a crash gives it back, and the answer is written
//! in the transaction of the effect, so that neither is ever there without the other. Refusals are answers
//! too; failures are not kept.

use std::sync::Arc;

use booking_domain::HoldId;
use sqlx::{Connection, PgConnection, PgPool};

use crate::error::{Error, Refusal};
use crate::storage::idempotency::{self, Known};
pub use crate::storage::idempotency::{Claim, SavedAnswer};
use crate::storage::payments::PaymentKey;
use crate::storage::tx::{Work, in_tx};

/// Turns an outcome into the answer that is sent and kept. Called inside the transaction; a pure function.
pub type Render<T> = Arc<dyn Fn(Result<&T, &Refusal>) -> SavedAnswer + Send + Sync>;

/// A request that may be repeated.
pub struct Once<T> {
    /// Whose it is and what it asks.
    pub claim: Claim,
    /// How its outcome is answered.
    pub render: Render<T>,
    /// Whose it also is: who comes without a name and gets one by this request may repeat it under both.
    pub also: Option<String>,
}

impl<T> Once<T> {
    /// Forgets that the request began a payment, which was taken back, so that it may begin another.
    pub(crate) async fn take_back(&self, conn: &mut PgConnection) -> Result<(), Error> {
        idempotency::take_back(conn, &self.claim).await
    }

    /// Keeps the answer to an outcome.
    pub(crate) async fn keep(&self, conn: &mut PgConnection, outcome: Result<&T, &Refusal>) -> Result<(), Error> {
        let answer = (self.render)(outcome);
        idempotency::keep(conn, &self.claim, &answer).await?;
        if let Some(actor) = &self.also {
            let claim = Claim { actor: actor.clone(), ..self.claim.clone() };
            idempotency::keep(conn, &claim, &answer).await?;
        }
        Ok(())
    }
}

impl<T> Clone for Once<T> {
    fn clone(&self) -> Self {
        Self { claim: self.claim.clone(), render: Arc::clone(&self.render), also: self.also.clone() }
    }
}

impl<T> std::fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once").field("claim", &self.claim).finish_non_exhaustive()
    }
}

/// The outcome of something that may have been done before.
#[derive(Debug)]
pub enum Done<T> {
    /// It was done now.
    Fresh(T),
    /// It was done before; this was the answer.
    Replayed(SavedAnswer),
    /// It began a payment before, whose answer was not kept.
    Paying(PaymentKey),
}

/// What a key says about going on.
pub(crate) enum Entry {
    Go,
    Replayed(SavedAnswer),
    Paying(PaymentKey),
    /// It made this hold, which is the answer.
    Held(HoldId),
}

/// Takes the key inside a transaction, or finds what it was used for.
pub(crate) async fn enter(conn: &mut PgConnection, claim: &Claim) -> Result<Entry, Error> {
    if !idempotency::try_lock(conn, claim).await? {
        return Err(Refusal::InFlight.into());
    }
    match idempotency::look_up(conn, claim).await? {
        Known::New => Ok(Entry::Go),
        Known::Other => Err(Refusal::KeyReused.into()),
        Known::Answered(answer) => Ok(Entry::Replayed(answer)),
        Known::Paying(payment) => Ok(Entry::Paying(payment)),
        Known::Held(hold) => Ok(Entry::Held(hold)),
    }
}

/// Runs `work` in one transaction, at most once per key. A refusal undoes whatever `work` did before it.
///
/// # Errors
/// What `work` says; [`Refusal::InFlight`] and [`Refusal::KeyReused`]; that the database cannot be had.
pub async fn once<T, F>(pool: &PgPool, once: Option<Once<T>>, work: F) -> Result<Done<T>, Error>
where
    T: Send + Sync + 'static,
    F: for<'c> Fn(&'c mut PgConnection) -> Work<'c, T> + Send + Sync + 'static,
{
    let Some(once) = once else {
        return in_tx(pool, work).await.map(Done::Fresh);
    };
    let work = Arc::new(work);
    let done = in_tx(pool, move |conn| {
        let (once, work) = (once.clone(), Arc::clone(&work));
        Box::pin(async move {
            match enter(conn, &once.claim).await? {
                Entry::Go => {}
                Entry::Replayed(answer) => return Ok(Ok(Done::Replayed(answer))),
                Entry::Paying(payment) => return Ok(Ok(Done::Paying(payment))),
                // Requests for holds have their own way; no other request has such a key.
                Entry::Held(_) => return Ok(Err(Refusal::KeyReused)),
            }
            let mut attempt = conn.begin().await?;
            let outcome = match work(&mut attempt).await {
                Ok(value) => {
                    attempt.commit().await?;
                    Ok(value)
                }
                Err(Error::Refused(refusal)) => {
                    attempt.rollback().await?;
                    Err(refusal)
                }
                Err(failure) => return Err(failure),
            };
            once.keep(conn, outcome.as_ref()).await?;
            Ok(outcome.map(Done::Fresh))
        })
    });
    Ok(done.await??)
}
