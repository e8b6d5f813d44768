//! What use cases need: the pool, the configuration, keys, the provider, what is known of events.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::app::deliver_announcements::{Consumer, Log, Post};
use crate::app::receive_callback::Callbacks;
use crate::app::till::Tills;
use crate::app::writer::Writers;
use crate::buyer::BuyerKeys;
use crate::config::{self, Config};
use crate::events::EventBook;
use crate::feed::Feeds;
use crate::organiser::OrganiserToken;
use crate::passes::PassKeys;
use crate::payments::breaker::{Breaker, Guarded};
use crate::payments::{self, PaymentProvider};
use crate::storage;

/// Shared by all requests and jobs of a node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Services {
    /// Postgres: the connections of requests, or, of what [`Services::background`] gives, those of jobs.
    pub db: PgPool,
    inner: Arc<Inner>,
}

/// See [`Services`].
#[derive(Debug)]
pub struct Inner {
    /// Connections of callbacks and jobs, which requests cannot exhaust.
    background_db: PgPool,
    /// The configuration.
    pub config: Config,
    /// The payment provider.
    pub provider: Arc<dyn PaymentProvider>,
    /// Says whether the provider counts as down.
    pub provider_breaker: Arc<Breaker>,
    /// Who learns of bookings.
    pub consumer: Arc<dyn Consumer>,
    /// Callbacks on their way into the tables.
    pub callbacks: Callbacks,
    /// Keys that passes are checked against.
    pub passes: PassKeys,
    /// Keys that buyer tokens and tickets are signed with.
    pub buyers: BuyerKeys,
    /// Makes the holds.
    pub writers: Writers,
    /// Take bookings and payments the ordinary way.
    pub tills: Tills,
    /// What is fixed about events, kept in memory.
    pub events: EventBook,
    /// What opens the organisers' routes.
    pub organisers: OrganiserToken,
    /// Live states of seats and areas.
    pub feeds: Arc<Feeds>,
    /// What runs on when the request that began it goes away; a node that stops in order waits for it.
    pub tasks: TaskTracker,
}

impl std::ops::Deref for Services {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Services {
    /// Puts everything together; connects to nothing yet.
    ///
    /// # Errors
    /// When a URL or a key is malformed or a secret file cannot be read.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        let provider = payments::configured(&config.payments, client()?)?;
        Self::with_provider(config, provider)
    }

    /// Like [`Services::new`], with another payment provider.
    ///
    /// # Errors
    /// See [`Services::new`].
    pub fn with_provider(config: Config, provider: Arc<dyn PaymentProvider>) -> anyhow::Result<Self> {
        let consumer: Arc<dyn Consumer> = match &config.checkout.outbox_url {
            Some(url) => Arc::new(Post::new(url.clone(), client()?)),
            None => Arc::new(Log),
        };
        Self::with_consumer(config, provider, consumer)
    }

    /// Like [`Services::with_provider`], with another consumer of announcements.
    ///
    /// # Errors
    /// See [`Services::new`].
    pub fn with_consumer(
        config: Config,
        provider: Arc<dyn PaymentProvider>,
        consumer: Arc<dyn Consumer>,
    ) -> anyhow::Result<Self> {
        let db = storage::open(&config.database)?;
        let client = client()?;
        let key = config::read_secret(&config.buyer_key_file)?;
        let organiser = config::read_secret(&config.organiser_token_file)?;
        let pause = Duration::from_millis(config.checkout.breaker_pause_ms);
        let call = config.payments.provider_timeout();
        let breaker = Arc::new(Breaker::new(config.checkout.breaker_failures, pause, call));
        let feeds = Arc::new(Feeds::new(config.live.max_viewers));
        let tills = Tills::new(&storage::open_for_tills(&config.database)?, &config, provider.name());
        let inner = Inner {
            background_db: storage::open_for_background(&config.database)?,
            buyers: BuyerKeys::from_hex(&key)?,
            provider: Arc::new(Guarded::new(provider, Arc::clone(&breaker))),
            provider_breaker: breaker,
            consumer,
            callbacks: Callbacks::default(),
            passes: PassKeys::new(config.pass_keys_urls.clone(), client),
            writers: Writers::new(storage::open_for_writers(&config.database)?, &config.holds, Arc::clone(&feeds)),
            tills,
            organisers: OrganiserToken::new(&organiser),
            events: EventBook::default(),
            feeds,
            tasks: TaskTracker::new(),
            config,
        };
        Ok(Self { db, inner: Arc::new(inner) })
    }

    /// The same node over the connections of callbacks and jobs.
    #[must_use]
    pub fn background(&self) -> Self {
        Self { db: self.inner.background_db.clone(), inner: Arc::clone(&self.inner) }
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.db.close().await;
        self.inner.background_db.close().await;
    }
}

fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder().tcp_nodelay(true).build().context("preparing the HTTP client")
}
