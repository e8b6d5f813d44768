//! Answers: plain ones, and those that are kept for repeated requests.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::Problem;
use super::request::RequestFacts;
use crate::app::once::{Claim, Done, Once, SavedAnswer};
use crate::error::{Error, Refusal};

/// Longest idempotency key.
const MAX_KEY: usize = 255;

/// A JSON answer.
#[must_use]
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> SavedAnswer {
    let body = serde_json::to_vec(document).expect("documents hold text and numbers");
    let headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("cache-control".to_owned(), "no-store".to_owned()),
    ];
    SavedAnswer { status: status.as_u16(), headers, body }
}

/// An answer as a response.
#[must_use]
pub(super) fn response(answer: SavedAnswer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// How an outcome of a use case is answered; pure, so that it may run inside the transaction.
pub(super) type Answer<T> = Arc<dyn Fn(&T) -> SavedAnswer + Send + Sync>;

/// Makes a repeatable request of an idempotency key, if there is one.
///
/// # Errors
/// [`Refusal::Invalid`] when the key is too long or not printable.
pub(super) fn once<T: 'static>(
    headers: &HeaderMap,
    actor: &str,
    request_hash: [u8; 32],
    facts: &RequestFacts,
    answer: &Answer<T>,
) -> Result<Option<Once<T>>, Refusal> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=MAX_KEY).contains(&key.len()));
    let key = key.ok_or_else(|| {
        Refusal::invalid("#Idempotency-Key", format!("the key is 1 to {MAX_KEY} printable ASCII characters"))
    })?;
    let claim = Claim { actor: actor.to_owned(), key: key.to_owned(), request_hash };
    let (facts, answer) = (facts.clone(), Arc::clone(answer));
    let render = Arc::new(move |outcome: Result<&T, &Refusal>| match outcome {
        Ok(value) => answer(value),
        Err(refusal) => Problem::of(refusal).render(&facts),
    });
    Ok(Some(Once { claim, render, also: None }))
}

/// Answers the outcome of a use case that may have been done before.
///
/// # Errors
/// The use case's.
pub(super) fn finish<T>(done: Result<Done<T>, Error>, answer: &Answer<T>) -> Result<Response, Error> {
    match done? {
        Done::Fresh(value) => Ok(response(answer(&value))),
        Done::Replayed(saved) => {
            let mut response = response(saved);
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
            Ok(response)
        }
        Done::Paying(_) => Ok(Error::from(Refusal::InFlight).into_response()),
    }
}

/// Whether the sender of a request knows the answer with this entity tag already.
#[must_use]
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*")
}
