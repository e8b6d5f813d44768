//! The only SQL of the booking core.
//!
//! One file per group of tables. Functions take a connection; the use case in `app/` owns the transaction.
//! Queries are checked at compile time against `.sqlx/`.
//!
//! **Lock order**, the same in every transaction, so that none can deadlock with another:
//! advisory locks of owners' limits by their numbers → `hold` → `booking` → `payment` → `seat` by `seat_no` →
//! `area` by the bytes of its name → `hold_area` → `event_version`. The last is bumped last, since it is the one
//! row that all changes of an event share. Idempotency keys are tried, never waited for.

pub mod alarms;
pub mod areas;
pub mod begin_batch;
pub mod bell;
pub mod book_batch;
pub mod bookings;
pub mod callbacks;
pub mod cancellations;
pub mod catalogue;
pub mod changes;
pub mod history;
pub mod hold_batch;
pub mod holds;
pub mod idempotency;
pub mod import;
pub mod late;
pub mod limits;
pub mod locks;
pub mod mirror;
pub mod outbox;
pub mod own_connection;
pub mod payments;
pub mod refunds;
pub mod seats;
pub mod sell_batch;
pub mod statistics;
pub mod stock;
pub mod terms;
pub mod tickets;
pub mod tx;

use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};

use crate::config::Database;
use crate::error::Error;

/// Connections of the holds writers of a node, and of its tills.
const WRITERS: u32 = 8;
const TILLS: u32 = 8;
/// How long a look at a connection may take that comes back to its pool.
const LOOK: Duration = Duration::from_secs(1);

/// The migrations, embedded.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Opens the pool of a serving node. Connects lazily: a node starts without its database and says so in its
/// readiness.
///
/// # Errors
/// When the URL is malformed.
pub fn open(config: &Database) -> anyhow::Result<PgPool> {
    Ok(serving(config).max_connections(config.max_connections).connect_lazy_with(serving_options(config)?))
}

/// Opens the pool of callbacks and jobs, which requests cannot exhaust.
///
/// # Errors
/// When the URL is malformed.
pub fn open_for_background(config: &Database) -> anyhow::Result<PgPool> {
    Ok(serving(config).max_connections(config.background_connections).connect_lazy_with(serving_options(config)?))
}

/// Opens the pool of the holds writers of a serving node: they work when all other connections are taken. Each
/// writer uses one for the time of a batch.
///
/// # Errors
/// When the URL is malformed.
pub fn open_for_writers(config: &Database) -> anyhow::Result<PgPool> {
    Ok(serving(config).max_connections(WRITERS).connect_lazy_with(serving_options(config)?))
}

/// Opens the pool of the tills of a serving node: they work when all other connections are taken. Each of their tasks
/// uses one for the time of a batch.
///
/// # Errors
/// When the URL is malformed.
pub fn open_for_tills(config: &Database) -> anyhow::Result<PgPool> {
    Ok(serving(config).max_connections(TILLS).connect_lazy_with(serving_options(config)?))
}

/// Opens a pool for imports and migrations: few connections, no time limits.
///
/// # Errors
/// When the URL is malformed or the server cannot be reached.
pub async fn open_for_administration(config: &Database) -> anyhow::Result<PgPool> {
    let options = connect_options(config)?;
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(10));
    pool.connect_with(options).await.context("connecting to the database")
}

fn serving(config: &Database) -> PgPoolOptions {
    PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        // One round trip less per request; a broken connection shows itself at its first statement.
        .test_before_acquire(false)
        // The pool looks at what comes back, for as long as that takes: over a wire that went mute, until the system gives
        // the connection up. This look comes before that one and has an end.
        .after_release(|conn, _| {
            Box::pin(async move {
                let looked = tokio::time::timeout(LOOK, conn.ping()).await;
                looked.unwrap_or_else(|late| Err(sqlx::Error::Io(late.into()))).map(|()| true)
            })
        })
}

fn serving_options(config: &Database) -> anyhow::Result<PgConnectOptions> {
    Ok(connect_options(config)?.options([
        ("statement_timeout", "5000"),
        ("lock_timeout", "2000"),
        ("idle_in_transaction_session_timeout", "10000"),
        ("jit", "off"),
    ]))
}

fn connect_options(config: &Database) -> anyhow::Result<PgConnectOptions> {
    let options: PgConnectOptions =
        config.url.expose_secret().parse().map_err(|_| anyhow::anyhow!("database.url is no Postgres URL"))?;
    Ok(options.application_name("usher-booking"))
}

/// Whether the database answers and has exactly the migrations of this binary (or more).
///
/// # Errors
/// When it does not answer.
pub async fn is_ready(pool: &PgPool) -> Result<bool, Error> {
    let mut conn = pool.acquire().await?;
    let applied = match conn.list_applied_migrations("_sqlx_migrations").await {
        Ok(applied) => applied,
        Err(sqlx::migrate::MigrateError::Execute(sqlx::Error::Database(_))) => return Ok(false),
        Err(error) => return Err(Error::internal("listing migrations", error)),
    };
    Ok(MIGRATIONS.iter().all(|ours| applied.iter().any(|theirs| theirs.version == ours.version)))
}
