//! What use cases need: the pool, the configuration, keys, the provider, what is known of events.

use std::sync::Arc;

use anyhow::Context;
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::buyer::BuyerKeys;
use crate::config::{self, Config};
use crate::events::EventBook;
use crate::feed::Feeds;
use crate::passes::PassKeys;
use crate::payments::{self, PaymentProvider};
use crate::storage;

/// Shared by all requests and jobs of a node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Services(Arc<Inner>);

/// See [`Services`].
#[derive(Debug)]
pub struct Inner {
    /// Postgres.
    pub db: PgPool,
    /// The configuration.
    pub config: Config,
    /// The payment provider.
    pub provider: Arc<dyn PaymentProvider>,
    /// Keys that passes are checked against.
    pub passes: PassKeys,
    /// Keys that buyer tokens and tickets are signed with.
    pub buyers: BuyerKeys,
    /// What is fixed about events, kept in memory.
    pub events: EventBook,
    /// Live states of seats and areas.
    pub feeds: Feeds,
    /// What runs on when the request that began it goes away; a node that stops in order waits for it.
    pub tasks: TaskTracker,
}

impl std::ops::Deref for Services {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
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
        let db = storage::open(&config.database)?;
        let client = client()?;
        let key = config::read_secret(&config.buyer_key_file)?;
        Ok(Self(Arc::new(Inner {
            buyers: BuyerKeys::from_hex(&key)?,
            provider,
            passes: PassKeys::new(config.pass_keys_urls.clone(), client),
            events: EventBook::default(),
            feeds: Feeds::default(),
            tasks: TaskTracker::new(),
            db,
            config,
        })))
    }
}

fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder().tcp_nodelay(true).build().context("preparing the HTTP client")
}
