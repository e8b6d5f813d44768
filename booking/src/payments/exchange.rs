//! One exchange with a provider over HTTP: sent with a time limit, its answer sorted into known, refused for good, and
//! unknown.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

use super::ProviderError;

/// Refusals that say nothing about the payment: our credentials, a gateway in between, a conflict with a
/// request in flight or with what has happened since, throttling.
const SAYS_NOTHING: [StatusCode; 6] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::CONFLICT,
    StatusCode::TOO_MANY_REQUESTS,
];
/// How much of an answer goes into the log, and how much is read at all.
const WORDS_BYTES: usize = 500;
const LARGEST_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// An answer from which nothing follows.
#[derive(Debug, thiserror::Error)]
#[error("the provider answered {status} with {what}")]
pub(super) struct Nonsense {
    pub(super) status: StatusCode,
    pub(super) what: String,
}

/// Sends a request and reads its answer, both within `timeout`.
pub(super) async fn send(request: RequestBuilder, timeout: Duration) -> Result<Answer, ProviderError> {
    let unknown = |error: reqwest::Error| ProviderError::Unknown(error.into());
    let mut answer = request.timeout(timeout).send().await.map_err(unknown)?;
    let (status, mut body) = (answer.status(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(unknown)? {
        if body.len() + chunk.len() > LARGEST_ANSWER_BYTES {
            let what = format!("more than {LARGEST_ANSWER_BYTES} bytes");
            return Err(ProviderError::Unknown(Nonsense { status, what }.into()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

impl Answer {
    /// The document of a success; every other answer as the error that it is.
    pub(super) fn document<T: DeserializeOwned>(self) -> Result<T, ProviderError> {
        if self.status.is_success() { self.read() } else { Err(self.error()) }
    }

    /// The body as a document, whatever the status.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        serde_json::from_slice(&self.body).map_err(|_| self.nonsense())
    }

    /// What an answer that is no success means.
    pub(super) fn error(&self) -> ProviderError {
        if self.status.is_client_error() && !SAYS_NOTHING.contains(&self.status) {
            return ProviderError::Refused { status: self.status.as_u16(), detail: self.words() };
        }
        self.nonsense()
    }

    /// The answer as one from which nothing follows.
    pub(super) fn nonsense(&self) -> ProviderError {
        ProviderError::Unknown(Nonsense { status: self.status, what: self.words() }.into())
    }

    fn words(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(WORDS_BYTES)]).into_owned()
    }
}
