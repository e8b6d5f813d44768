//! The connection of a task that writes batch after batch.
//!
//! It is kept between batches, as long as nobody else needs one. One that lay unused, here or in the pool, is looked at
//! before anything is sent over it, so that one that the server has closed costs no batch; one on which something may
//! still run is closed.

use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgPool, Postgres};

use crate::error::Error;

/// A connection unused for so long is looked at first; the task gives it back then.
pub const UNUSED: Duration = Duration::from_secs(1);
/// How long one call of the database may take, as seen from here; a little more than its own limit.
pub const CALL: Duration = Duration::from_secs(7);
/// How long a look at a connection may take.
const PING: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct OwnConnection {
    pool: PgPool,
    conn: Option<PoolConnection<Postgres>>,
    /// When the kept one was last seen to work.
    used: Instant,
    was_closed: bool,
}

impl OwnConnection {
    /// None is open yet.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, conn: None, used: Instant::now(), was_closed: false }
    }

    /// Whether one is kept.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.conn.is_some()
    }

    /// Gives the kept one back to the pool.
    pub fn give_back(&mut self) {
        self.conn = None;
    }

    /// Whether one was found closed since this was asked last: behind another may be another server.
    pub const fn was_closed(&mut self) -> bool {
        std::mem::replace(&mut self.was_closed, false)
    }

    /// One that was seen to work a short time ago. It goes back by [`Self::kept`].
    ///
    /// # Errors
    /// When there is none `within` so long, however many are found closed or mute.
    pub async fn take(&mut self, within: Duration) -> Result<PoolConnection<Postgres>, Error> {
        let ends = Instant::now() + within;
        let left = || ends.saturating_duration_since(Instant::now());
        let mut closed = 0;
        loop {
            let mut conn = match self.conn.take() {
                Some(conn) if self.used.elapsed() < UNUSED => return Ok(conn),
                Some(conn) => conn,
                None => bounded(left(), async { Ok(self.pool.acquire().await?) }).await?,
            };
            match bounded(PING.min(left()), async { Ok(conn.ping().await?) }).await {
                Ok(()) => {
                    self.used = Instant::now();
                    return Ok(conn);
                }
                Err(error) => {
                    self.was_closed = true;
                    drop(conn.detach());
                    if left().is_zero() || closed == self.pool.options().get_max_connections() {
                        return Err(error);
                    }
                    closed += 1;
                }
            }
        }
    }

    /// Keeps the connection for the next batch, gives it back when others may need it, or closes it when something may
    /// still run on it.
    ///
    /// # Errors
    /// Those of `done`, which was done over it.
    pub fn kept<T>(&mut self, conn: PoolConnection<Postgres>, done: Result<T, Error>) -> Result<T, Error> {
        if done.is_ok() {
            self.used = Instant::now();
        }
        if done.as_ref().is_err_and(Error::leaves_open) {
            drop(conn.detach());
        } else if self.pool.num_idle() > 0 || self.pool.size() < self.pool.options().get_max_connections() {
            self.conn = Some(conn);
        }
        done
    }
}

/// Waits for the database no longer than it may take.
///
/// # Errors
/// Those of `work`; [`Error::Unavailable`] when it takes longer.
pub async fn bounded<T>(within: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(within, work)
        .await
        .unwrap_or_else(|late| Err(Error::Unavailable { what: "the database", source: late.into(), retry: false }))
}
