//! The provider's HTTP: parse, ask the ledger, answer JSON or a problem document.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query as QueryString, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ledger::{Closed, Idempotency, Ledger, Outcome, Query};
use super::payment::{Change, Refusal};

const LARGEST_BODY: usize = 16 * 1024;
/// How much of a larger body is read all the same, so that its sender gets to read the refusal.
const LARGEST_READ: usize = 1024 * 1024;
const LONGEST_KEY: usize = 255;

pub(super) fn router(ledger: Ledger) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/v1/payments", post(create).get(by_reference))
        .route("/v1/payments/{payment}", get(one))
        .route("/v1/payments/{payment}/capture", post(capture))
        .route("/v1/payments/{payment}/void", post(void))
        .route("/v1/payments/{payment}/refunds", post(refund))
        .route("/v1/ledger", get(all))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such route") })
        .layer(DefaultBodyLimit::max(LARGEST_READ))
        .with_state(ledger)
}

type Answer = Result<Response, Problem>;

/// A refusal, as a problem document.
struct Problem {
    status: StatusCode,
    detail: String,
}

async fn create(State(ledger): State<Ledger>, uri: Uri, headers: HeaderMap, body: Bytes) -> Answer {
    let (key, document) = checked(&uri, &headers, &body)?;
    answer(ledger.create(parsed(document)?, key).await)
}

async fn capture(
    State(ledger): State<Ledger>,
    Path(payment): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (key, document) = checked(&uri, &headers, &body)?;
    answer(ledger.change(payment, Change::Capture(parsed(document)?), key).await)
}

async fn refund(
    State(ledger): State<Ledger>,
    Path(payment): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (key, document) = checked(&uri, &headers, &body)?;
    answer(ledger.change(payment, Change::Refund(parsed(document)?), key).await)
}

async fn void(
    State(ledger): State<Ledger>,
    Path(payment): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (key, _) = checked(&uri, &headers, if body.is_empty() { b"{}" } else { &body })?;
    answer(ledger.change(payment, Change::Void, key).await)
}

async fn one(State(ledger): State<Ledger>, Path(payment): Path<String>) -> Answer {
    let found = ledger.read(Query::One(payment)).await.map_err(closed)?;
    let payment = found.first().ok_or_else(unknown)?;
    Ok(json_answer(StatusCode::OK, &json!(payment)))
}

#[derive(Deserialize)]
struct ByReference {
    reference: String,
}

async fn by_reference(State(ledger): State<Ledger>, QueryString(query): QueryString<ByReference>) -> Answer {
    let items = ledger.read(Query::Reference(query.reference)).await.map_err(closed)?;
    Ok(json_answer(StatusCode::OK, &json!({ "items": items })))
}

async fn all(State(ledger): State<Ledger>) -> Answer {
    let items = ledger.read(Query::All).await.map_err(closed)?;
    Ok(json_answer(StatusCode::OK, &json!({ "items": items })))
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
    let document: Value = serde_json::from_slice(body)
        .map_err(|wrong| problem(StatusCode::BAD_REQUEST, &format!("malformed JSON: {wrong}")))?;
    let said = format!("{}\n{document}", uri.path());
    let fingerprint = Sha256::digest(said.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((Idempotency { key: key.to_owned(), fingerprint }, document))
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
