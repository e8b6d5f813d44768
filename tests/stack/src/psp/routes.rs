//! The provider's HTTP: parse, ask the ledger, answer JSON or a problem document. Faults stand before it.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query as QueryString, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::books::{Idempotency, Outcome, Query};
use super::event::Endpoint;
use super::faults::{Bite, Fault, Faults, Kind, Operation};
use super::ledger::{Closed, Ledger};
use super::payment::{Change, Refusal};
use super::telling::Counts;
use super::token::{self, Answer as Answers};

const LARGEST_BODY: usize = 16 * 1024;
/// How much of a larger body is read all the same, so that its sender gets to read the refusal.
const LARGEST_READ: usize = 1024 * 1024;
const LONGEST_KEY: usize = 255;
const MOST_URLS: usize = 16;
/// How long a caller that is never answered is kept at most; nobody waits so long.
const NEVER: Duration = Duration::from_secs(600);

/// What the routes need.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    pub(super) ledger: Ledger,
    pub(super) faults: Faults,
    /// Whether there is a secret to sign events with.
    pub(super) signs: bool,
}

pub(super) fn router(provider: Provider) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/v1/payments", post(create).get(by_reference))
        .route("/v1/payments/{payment}", get(one))
        .route("/v1/payments/{payment}/capture", post(capture))
        .route("/v1/payments/{payment}/void", post(void))
        .route("/v1/payments/{payment}/refunds", post(refund))
        .layer(from_fn_with_state(provider.faults.clone(), suffer))
        .route("/v1/ledger", get(all))
        .route("/v1/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/v1/webhook-endpoint", get(endpoint).put(set_endpoint))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such route") })
        .layer(DefaultBodyLimit::max(LARGEST_READ))
        .with_state(provider)
}

type Answer = Result<Response, Problem>;

/// A refusal, as a problem document.
struct Problem {
    status: StatusCode,
    detail: String,
}

async fn create(State(provider): State<Provider>, uri: Uri, headers: HeaderMap, body: Bytes) -> Answer {
    let (key, document) = checked(&uri, &headers, &body)?;
    let outcome = provider.ledger.create(parsed(document)?, key).await;
    if let Ok(Outcome::Done { payment, .. }) = &outcome {
        match token::manner_of_made(&payment.token).answer {
            Answers::AtOnce => {}
            Answers::After(wait) => tokio::time::sleep(wait).await,
            Answers::Never => return Err(never().await),
        }
    }
    answer(outcome)
}

async fn capture(
    State(provider): State<Provider>,
    Path(payment): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (key, document) = checked(&uri, &headers, &body)?;
    answer(provider.ledger.change(payment, Change::Capture(parsed(document)?), key).await)
}

async fn refund(
    State(provider): State<Provider>,
    Path(payment): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (key, document) = checked(&uri, &headers, &body)?;
    answer(provider.ledger.change(payment, Change::Refund(parsed(document)?), key).await)
}

async fn void(
    State(provider): State<Provider>,
    Path(payment): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (key, _) = checked(&uri, &headers, if body.is_empty() { b"{}" } else { &body })?;
    answer(provider.ledger.change(payment, Change::Void, key).await)
}

async fn one(State(provider): State<Provider>, Path(payment): Path<String>) -> Answer {
    let found = provider.ledger.read(Query::One(payment)).await.map_err(closed)?;
    let payment = found.first().ok_or_else(unknown)?;
    Ok(json_answer(StatusCode::OK, &json!(payment)))
}

#[derive(Deserialize)]
struct ByReference {
    reference: String,
}

async fn by_reference(State(provider): State<Provider>, QueryString(query): QueryString<ByReference>) -> Answer {
    let items = provider.ledger.read(Query::Reference(query.reference)).await.map_err(closed)?;
    Ok(json_answer(StatusCode::OK, &json!({ "items": items })))
}

async fn all(State(provider): State<Provider>) -> Answer {
    let items = provider.ledger.read(Query::All).await.map_err(closed)?;
    Ok(json_answer(StatusCode::OK, &json!({ "items": items })))
}

async fn faults(State(provider): State<Provider>) -> Response {
    json_answer(StatusCode::OK, &json!({ "items": provider.faults.list(Instant::now()) }))
}

async fn add_fault(State(provider): State<Provider>, body: Bytes) -> Answer {
    let fault: Fault = parsed(json_of(&body)?)?;
    provider.faults.add(fault, Instant::now()).map_err(|why| problem(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    Ok(json_answer(StatusCode::CREATED, &json!({ "items": provider.faults.list(Instant::now()) })))
}

async fn clear_faults(State(provider): State<Provider>) -> StatusCode {
    provider.faults.clear();
    StatusCode::NO_CONTENT
}

async fn endpoint(State(provider): State<Provider>) -> Answer {
    Ok(described(&provider.ledger.endpoint().await.map_err(closed)?))
}

async fn set_endpoint(State(provider): State<Provider>, body: Bytes) -> Answer {
    let endpoint: Endpoint = parsed(json_of(&body)?)?;
    let refused = |why| Err(problem(StatusCode::UNPROCESSABLE_ENTITY, why));
    if endpoint.urls.len() > MOST_URLS || !endpoint.urls.iter().all(|url| url.starts_with("http://")) {
        return refused("urls are at most 16 that begin with http://");
    }
    if !provider.signs && !endpoint.urls.is_empty() {
        return refused("events must be signed: start the provider with --webhook-secret-file");
    }
    Ok(described(&provider.ledger.set_endpoint(endpoint).await.map_err(closed)?))
}

fn described((endpoint, counts): &(Endpoint, Counts)) -> Response {
    json_answer(StatusCode::OK, &json!({ "urls": endpoint.urls, "events": endpoint.events, "counts": counts }))
}

/// What faults do to a request.
async fn suffer(State(faults): State<Faults>, request: Request, next: Next) -> Response {
    let operation = Operation::of(request.method().as_str(), request.uri().path());
    let Bite { delay, then } = operation.map(|operation| faults.bite(operation, Instant::now())).unwrap_or_default();
    tokio::time::sleep(delay).await;
    let Some((kind, acts)) = then else { return next.run(request).await };
    if acts {
        let _lost = next.run(request).await;
    }
    match kind {
        Kind::Refuse => problem(StatusCode::UNPROCESSABLE_ENTITY, "refused, since a fault says so").into_response(),
        Kind::Hang => never().await.into_response(),
        Kind::Disconnect => broken_off(),
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "broken, since a fault says so").into_response(),
    }
}

/// An answer whose body fails, which ends its connection.
fn broken_off() -> Response {
    let cut = std::io::Error::other("cut off, since a fault says so");
    Body::from_stream(stream::once(async { Err::<Bytes, _>(cut) })).into_response()
}

async fn never() -> Problem {
    tokio::time::sleep(NEVER).await;
    problem(StatusCode::GATEWAY_TIMEOUT, "this answer was to be lost")
}

/// The key and the document of a POST. Two documents are the same when they say the same, however they are written.
fn checked(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(Idempotency, Value), Problem> {
    let key = headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok())
        .filter(|key| (1..=LONGEST_KEY).contains(&key.len()))
        .ok_or_else(|| problem(StatusCode::BAD_REQUEST, "an Idempotency-Key of 1 to 255 characters is needed"))?;
    if body.len() > LARGEST_BODY {
        return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "at most 16 KiB are taken"));
    }
    let document = json_of(body)?;
    let said = format!("{}\n{document}", uri.path());
    let fingerprint = Sha256::digest(said.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((Idempotency { key: key.to_owned(), fingerprint }, document))
}

fn json_of(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|wrong| problem(StatusCode::BAD_REQUEST, &format!("malformed JSON: {wrong}")))
}

fn parsed<T: DeserializeOwned>(document: Value) -> Result<T, Problem> {
    serde_json::from_value(document).map_err(|wrong| problem(StatusCode::UNPROCESSABLE_ENTITY, &wrong.to_string()))
}

fn answer(outcome: Result<Outcome, Closed>) -> Answer {
    match outcome.map_err(closed)? {
        Outcome::Done { status, payment } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            Ok(json_answer(status, &json!(payment)))
        }
        Outcome::Unknown => Err(unknown()),
        Outcome::KeyReused => {
            Err(problem(StatusCode::UNPROCESSABLE_ENTITY, "this Idempotency-Key was used for another request"))
        }
        Outcome::Refused(refusal @ Refusal::Invalid(_)) => {
            Err(problem(StatusCode::UNPROCESSABLE_ENTITY, &refusal.to_string()))
        }
        Outcome::Refused(refusal @ Refusal::Conflict(_)) => Err(problem(StatusCode::CONFLICT, &refusal.to_string())),
    }
}

fn unknown() -> Problem {
    problem(StatusCode::NOT_FOUND, "no such payment")
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn closed(closed: Closed) -> Problem {
    problem(StatusCode::SERVICE_UNAVAILABLE, &closed.to_string())
}

fn json_answer(status: StatusCode, document: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

fn problem(status: StatusCode, detail: &str) -> Problem {
    Problem { status, detail: detail.to_owned() }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { status, detail } = self;
        let title = status.canonical_reason().unwrap_or("problem");
        let document = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        (status, [(CONTENT_TYPE, "application/problem+json")], document.to_string()).into_response()
    }
}
