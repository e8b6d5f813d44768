//! What every request gets: an id, a span, metrics, an answer in the end, and problems written down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

use super::answer;
use super::problem::Problem;
use crate::error::Error;

/// Longest request id that is taken over.
const MAX_ID: usize = 64;
/// Longest wait for an answer, which the limits of all that is asked on the way leave only when something went mute.
const ANSWER: Duration = Duration::from_secs(30);

/// What is known of a request before it is handled.
#[derive(Debug, Clone)]
pub(super) struct RequestFacts {
    /// What the logs of gateway and core call it.
    pub(super) id: String,
    /// Its path.
    pub(super) path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for RequestFacts {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let facts = parts.extensions.get::<Arc<Self>>();
        facts.map(|facts| Self::clone(facts)).ok_or_else(|| Error::defect("a route lies outside the request layer"))
    }
}

/// The layer around all routes.
pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let facts = Arc::new(RequestFacts { id: request_id(&request), path: request.uri().path().to_owned() });
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    request.extensions_mut().insert(Arc::clone(&facts));
    let span = tracing::info_span!("request", request_id = %facts.id, %method, path = %facts.path);
    let answering = tokio::time::timeout(ANSWER, next.run(request)).instrument(span.clone());
    let mut response = answering.await.unwrap_or_else(|late| {
        Error::Unavailable { what: "the answer", source: late.into(), retry: false }.into_response()
    });
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        let allow = response.headers_mut().remove("allow");
        response = answer::response(problem.render(&facts));
        if let Some(allow) = allow {
            response.headers_mut().insert("allow", allow);
        }
    }
    if let Ok(id) = HeaderValue::from_str(&facts.id) {
        response.headers_mut().insert("x-request-id", id);
    }
    span.in_scope(|| record(&method, &route, response.status().as_u16(), began));
    response
}

fn record(method: &Method, route: &str, status: u16, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let labels =
        [("method", method_label(method).to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    metrics::counter!("usher_booking_requests_total", &labels).increment(1);
    metrics::histogram!("usher_booking_request_seconds", "route" => route.to_owned()).record(seconds);
    let took_ms = seconds * 1000.0;
    // Writes and whatever went wrong are worth a line each; the many reads are not.
    if method == Method::GET && status < 500 {
        tracing::debug!(status, took_ms, "answered");
    } else {
        tracing::info!(status, took_ms, "answered");
    }
}

/// Anybody may invent methods; the metrics know the usual ones.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The gateway's id of the request, or a new one.
fn request_id(request: &Request) -> String {
    let given = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
    let usable = |id: &&str| {
        (1..=MAX_ID).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    given.filter(usable).map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    #[test]
    fn invented_methods_are_one_label() {
        let invented = ["BREW", "get", "X1", "X2"].map(|name| Method::from_bytes(name.as_bytes()).unwrap());
        assert!(invented.iter().all(|method| super::method_label(method) == "other"));
        assert_eq!(super::method_label(&Method::GET), "GET");
    }
}
