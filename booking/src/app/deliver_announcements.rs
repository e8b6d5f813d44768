//! Handing announcements to whoever has to learn of a booking, at least once and in the order of each booking.
//!
//! One that fails is tried again, less and less often, and set aside after some tries; only its own booking waits for it.
//! A consumer may get one twice (a crash between sending and noting it) and knows it by its number.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, stream};
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};

use crate::crash;
use crate::error::Error;
use crate::passes::chain;
use crate::services::Services;
use crate::storage::outbox::{self, Announcement};

/// Announcements taken in one go, how many at once, rounds in one go.
const BATCH: i32 = 16;
const AT_ONCE: usize = 8;
const ROUNDS: usize = 80;
/// How long one delivery may take, and after how long another node takes what this one left.
const DELIVERY: Duration = Duration::from_secs(5);
const LEASE_S: u32 = 15;
/// The first wait after a failure, which doubles, and the longest.
const FIRST_RETRY_MS: u64 = 500;
const MOST_RETRY_MS: u64 = 600_000;

/// Why an announcement was not taken.
pub type ConsumerError = Box<dyn std::error::Error + Send + Sync>;

/// Somebody who learns of bookings.
#[async_trait]
pub trait Consumer: Send + Sync + std::fmt::Debug {
    /// Takes an announcement; by its `seq` it knows one that it has had before.
    async fn take(&self, announcement: &Announcement) -> Result<(), ConsumerError>;
}

/// Writes announcements to the log: what is done where nobody is configured.
#[derive(Debug)]
pub struct Log;

#[async_trait]
impl Consumer for Log {
    async fn take(&self, announcement: &Announcement) -> Result<(), ConsumerError> {
        let Announcement { seq, topic, booking_id, .. } = announcement;
        tracing::info!(seq, topic, booking = %booking_id, "announced");
        Ok(())
    }
}

/// Posts announcements as JSON, with their number as the idempotency key.
#[derive(Debug)]
pub struct Post {
    url: SecretString,
    client: reqwest::Client,
}

impl Post {
    /// To this URL.
    #[must_use]
    pub fn new(url: SecretString, client: reqwest::Client) -> Self {
        Self { url, client }
    }
}

#[async_trait]
impl Consumer for Post {
    async fn take(&self, announcement: &Announcement) -> Result<(), ConsumerError> {
        let key = format!("announcement {}", announcement.seq);
        let request = self.client.post(self.url.expose_secret()).header("Idempotency-Key", key).json(announcement);
        let answer = request.timeout(DELIVERY).send().await.and_then(reqwest::Response::error_for_status);
        // The error is written to the log and the table, the URL is not.
        answer.map(drop).map_err(|error| error.without_url().into())
    }
}

/// Delivers what is due; returns how many were delivered. Bounded work: call it again.
///
/// # Errors
/// When the database cannot be had.
pub async fn deliver_announcements(services: &Services) -> Result<usize, Error> {
    let mut delivered = 0;
    for _ in 0..ROUNDS {
        let due = outbox::take_due(&services.db, BATCH, LEASE_S).await?;
        if due.is_empty() {
            break;
        }
        let done = stream::iter(due).map(|announcement| deliver(services, announcement)).buffer_unordered(AT_ONCE);
        // Those that were taken by the same moment are marked together.
        let mut done = done.ready_chunks(AT_ONCE * 2);
        while let Some(some) = done.next().await {
            let (taken, failed): (Vec<_>, Vec<_>) = some.into_iter().partition(Result::is_ok);
            let taken: Vec<i64> = taken.into_iter().flatten().flatten().collect();
            outbox::delivered(&services.db, &taken).await?;
            metrics::counter!("usher_booking_announcements_total", "outcome" => "delivered")
                .increment(taken.len() as u64);
            delivered += taken.len();
            failed.into_iter().try_for_each(|failed| failed.map(drop))?;
        }
    }
    Ok(delivered)
}

/// Delivers one; its number when it was taken, to be marked.
async fn deliver(services: &Services, announcement: Announcement) -> Result<Option<i64>, Error> {
    let consumer = Arc::clone(&services.consumer);
    // A consumer that panics on what it gets harms nobody else.
    let taking = std::panic::AssertUnwindSafe(consumer.take(&announcement)).catch_unwind();
    let error = match tokio::time::timeout(DELIVERY, taking).await {
        Ok(Ok(Ok(()))) => {
            crash::point("announced");
            return Ok(Some(announcement.seq));
        }
        Ok(Ok(Err(error))) => chain(&*error).to_string(),
        Ok(Err(_)) => "the consumer panicked".to_owned(),
        Err(_) => "the consumer did not answer in time".to_owned(),
    };
    let tries = u32::try_from(announcement.attempts).unwrap_or(u32::MAX);
    let aside = tries >= services.config.checkout.outbox_tries;
    let retry_ms = (!aside).then(|| retry_ms(tries, rand::rng().random_range(0.5..1.5)));
    if aside {
        tracing::error!(seq = announcement.seq, topic = announcement.topic, error, "an announcement is set aside");
        metrics::counter!("usher_booking_announcements_total", "outcome" => "set_aside").increment(1);
    } else {
        tracing::warn!(seq = announcement.seq, topic = announcement.topic, error, ?retry_ms, "not taken; tried again");
    }
    outbox::failed(&services.db, announcement.seq, &error, retry_ms).await?;
    Ok(None)
}

/// The wait after so many tries, spread by `jitter`, so that many that failed together do not come back together.
fn retry_ms(tries: u32, jitter: f64) -> u64 {
    let doubled = FIRST_RETRY_MS.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(MOST_RETRY_MS);
    (doubled as f64 * jitter) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn neither_errors_nor_logs_show_where_it_is_posted() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let post = Post::new("http://127.0.0.1:1/hook?token=hush".into(), reqwest::Client::new());
        assert!(!format!("{post:?}").contains("hush"));
        let announcement = Announcement {
            seq: 1,
            event_id: "e".to_owned(),
            booking_id: uuid::Uuid::nil(),
            topic: "booking.confirmed".to_owned(),
            payload: serde_json::json!({}),
            attempts: 1,
        };
        let error = post.take(&announcement).await.unwrap_err();
        let told = chain(&*error);
        assert!(!told.contains("hush") && !told.contains("hook"), "{told}");
    }

    #[test]
    fn waits_double_and_end() {
        let waits: Vec<u64> = (1..=5).map(|tries| retry_ms(tries, 1.0)).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000]);
        assert_eq!(retry_ms(60, 1.0), 600_000);
        assert_eq!((retry_ms(1, 0.5), retry_ms(1, 1.5)), (250, 750));
    }
}
