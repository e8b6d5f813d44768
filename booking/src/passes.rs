//! Checking passes: the published key sets, fetched and kept.
//!
//! Going round the gateway gets nobody in: a pass is believed only by its signature. The key set is fetched
//! at the start, every minute, and when a pass names a key that is not known yet; that last one at most once
//! in two seconds, so that forged key ids do not turn into a flood of fetches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use queue_token::{Pass, PassVerifier, TokenError};
use tokio::sync::Mutex;

const REFETCH_AT_MOST_EVERY: Duration = Duration::from_secs(2);
/// While there are none, a gateway that is just starting is asked more often.
const FIRST_FETCH_AT_MOST_EVERY: Duration = Duration::from_millis(250);
const REFETCH_EVERY: Duration = Duration::from_secs(60);
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_KEY_SET_BYTES: usize = 64 * 1024;

/// The keys that passes are checked against.
#[derive(Debug)]
pub struct PassKeys {
    urls: Vec<String>,
    client: reqwest::Client,
    verifier: ArcSwapOption<PassVerifier>,
    /// When keys were last asked for.
    asked: Mutex<Option<Instant>>,
}

/// Why a key set could not be had.
/// No key set could be fetched yet.
#[derive(Debug, thiserror::Error)]
#[error("no gateway has published its pass keys yet")]
pub struct NoKeys;

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the key set could not be fetched")]
    Http(#[from] reqwest::Error),
    #[error("the key set is larger than {MAX_KEY_SET_BYTES} bytes")]
    TooLarge,
    #[error("the key set cannot be read")]
    Keys(#[from] queue_token::KeyError),
    #[error("the key set is not text")]
    Text(#[from] std::str::Utf8Error),
}

impl PassKeys {
    /// Keys published at `urls`; nothing is fetched yet.
    #[must_use]
    pub fn new(urls: Vec<String>, client: reqwest::Client) -> Self {
        Self { urls, client, verifier: ArcSwapOption::empty(), asked: Mutex::new(None) }
    }

    /// The pass that a token stands for; none when it is not valid now.
    ///
    /// # Errors
    /// [`NoKeys`] while no key set could be fetched yet: then nobody can tell a good pass from a bad one.
    pub async fn verify(&self, token: &str, now_s: u64) -> Result<Option<Pass>, NoKeys> {
        match self.try_verify(token, now_s) {
            Ok(pass) => Ok(Some(pass)),
            Err(TokenError::UnknownKey) => {
                self.refetch(self.patience()).await;
                if self.verifier.load().is_none() {
                    return Err(NoKeys);
                }
                Ok(self.try_verify(token, now_s).ok())
            }
            Err(refused) => {
                tracing::debug!(%refused, "a pass was refused");
                Ok(None)
            }
        }
    }

    /// How long to leave the gateways alone between two fetches.
    fn patience(&self) -> Duration {
        if self.verifier.load().is_some() { REFETCH_AT_MOST_EVERY } else { FIRST_FETCH_AT_MOST_EVERY }
    }

    fn try_verify(&self, token: &str, now_s: u64) -> Result<Pass, TokenError> {
        match &*self.verifier.load() {
            Some(verifier) => verifier.verify(token, now_s),
            None => Err(TokenError::UnknownKey),
        }
    }

    /// Fetches the keys unless they were asked for just now. Those who wait here share one fetch.
    async fn refetch(&self, at_most_every: Duration) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < at_most_every) {
            return;
        }
        for url in &self.urls {
            match self.fetch(url).await {
                Ok(verifier) => {
                    self.verifier.store(Some(Arc::new(verifier)));
                    break;
                }
                // Said once per outage; without keys it is tried every two seconds.
                Err(error) if asked.is_none() || self.verifier.load().is_some() => {
                    tracing::warn!(url, error = %chain(&error), "the pass keys cannot be fetched");
                }
                Err(error) => tracing::debug!(url, error = %chain(&error), "the pass keys still cannot be fetched"),
            }
        }
        *asked = Some(Instant::now());
    }

    async fn fetch(&self, url: &str) -> Result<PassVerifier, FetchError> {
        let answer = self.client.get(url).timeout(FETCH_TIMEOUT).send().await?.error_for_status()?;
        let body = answer.bytes().await?;
        if body.len() > MAX_KEY_SET_BYTES {
            return Err(FetchError::TooLarge);
        }
        Ok(PassVerifier::from_jwks_json(std::str::from_utf8(&body)?)?)
    }

    /// Keeps the keys fresh, for ever.
    pub async fn keep_fresh(&self) {
        loop {
            self.refetch(self.patience()).await;
            let pause = if self.verifier.load().is_some() { REFETCH_EVERY } else { FIRST_FETCH_AT_MOST_EVERY };
            tokio::time::sleep(pause).await;
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
