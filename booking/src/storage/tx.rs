//! The one way to open a transaction.
//!
//! A transaction runs in a task of its own: the request that waits for it may go away, the transaction ends
//! by itself all the same. (In sqlx 0.9.0 a `begin()` that is cancelled puts a connection with an open
//! transaction back into the pool.) Deadlocks and serialisation failures are tried again, a few times. What takes so long
//! that nothing can be at the other end any more is given up, with its connection.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};
use tracing::Instrument;

use crate::error::Error;

/// How often the whole of a transaction is tried.
const TRIES: u32 = 4;

/// How long a transaction may take, as seen from here: more than any takes that the server's own limits let end.
const WHOLE: Duration = Duration::from_secs(20);

const BEGIN: &str = "begin";
/// Several reads that must show one moment.
const SNAPSHOT: &str = "begin isolation level repeatable read read only";

/// What runs inside: a future that borrows the connection.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// Runs `work` in one transaction and commits when it succeeds. `work` may run several times, so it must not
/// have effects outside the database; in particular it makes no remote call.
///
/// # Errors
/// What `work` says (then nothing is committed), or that the database cannot be had.
pub async fn in_tx<T, F>(pool: &PgPool, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: for<'c> Fn(&'c mut PgConnection) -> Work<'c, T> + Send + Sync + 'static,
{
    begun_by(BEGIN, pool, work).await
}

/// Runs reads that must show one moment: between two statements nothing seems to happen.
///
/// # Errors
/// See [`in_tx`].
pub async fn in_snapshot<T, F>(pool: &PgPool, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: for<'c> Fn(&'c mut PgConnection) -> Work<'c, T> + Send + Sync + 'static,
{
    begun_by(SNAPSHOT, pool, work).await
}

async fn begun_by<T, F>(begin: &'static str, pool: &PgPool, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: for<'c> Fn(&'c mut PgConnection) -> Work<'c, T> + Send + Sync + 'static,
{
    let pool = pool.clone();
    let task = async move {
        let mut tries = 1;
        loop {
            match once(begin, &pool, &work).await {
                Err(error) if error.is_conflict() && tries < TRIES => {
                    tracing::debug!(tries, %error, "the transaction is tried again");
                    tokio::time::sleep(pause(tries)).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    };
    let done = tokio::spawn(task.in_current_span()).await;
    done.unwrap_or_else(|panic| Err(Error::internal("a transaction panicked", panic)))
}

async fn once<T, F>(begin: &'static str, pool: &PgPool, work: &F) -> Result<T, Error>
where
    F: for<'c> Fn(&'c mut PgConnection) -> Work<'c, T>,
{
    let mut stale = 0;
    loop {
        let mut conn = pool.acquire().await?;
        match tokio::time::timeout(WHOLE, run(begin, &mut conn, work)).await {
            Ok(Ok(done)) => return done,
            // The server went away while the connection lay in the pool; nothing was done on it yet.
            Ok(Err(sqlx::Error::Io(_))) if stale < pool.options().get_max_connections() => stale += 1,
            Ok(Err(error)) => return Err(error.into()),
            Err(late) => {
                drop(conn.detach());
                return Err(Error::Unavailable { what: "the database", source: late.into(), retry: false });
            }
        }
    }
}

/// Runs `work` between begin and commit; the outer error is that there was no begin.
async fn run<T, F>(begin: &'static str, conn: &mut PgConnection, work: &F) -> Result<Result<T, Error>, sqlx::Error>
where
    F: for<'c> Fn(&'c mut PgConnection) -> Work<'c, T>,
{
    let mut tx = conn.begin_with(begin).await?;
    let done = work(&mut tx).await;
    let end = if done.is_ok() { tx.commit().await } else { tx.rollback().await };
    Ok(match (done, end) {
        (Ok(value), Ok(())) => Ok(value),
        // Whether it was committed is not known; the caller may not take it for done.
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(rollback)) => {
            tracing::debug!(error = %rollback, "the rollback failed; the server does it when the connection closes");
            Err(error)
        }
    })
}

/// A short pause with jitter, so that two that collided do not collide again.
fn pause(tries: u32) -> Duration {
    Duration::from_millis(u64::from(tries) * 5 + rand::random_range(0..10))
}
