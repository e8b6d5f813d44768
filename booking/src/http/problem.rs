//! Errors as RFC 9457 problem documents: the only place that chooses a status.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::request::RequestFacts;
use crate::app::once::SavedAnswer;
use crate::error::{Error, Moment, Refusal};
use crate::passes::chain;

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// How long a caller waits before trying again, where nothing better is known.
const RETRY_AFTER_S: u32 = 1;

/// Of what was sent to the database, when its answer was lost.
const UNKNOWN: &str = "whether it was done is not known; repeat it with the same key";
const NOT_PAID: &str = "The payment did not go through";

/// A problem before it is written down.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// The status.
    pub(super) status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    members: Map<String, Value>,
    retry_after_s: Option<u32>,
}

/// A problem document; facts come as further members.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem, title = "Problem", description = "RFC 9457. Facts come as further members: `errors`, \
    `taken`, `orphans`, `area`, `wanted`, `available`, `limit`, `have`, `state`, `reason`, `sale`. A refusal of places names \
    the moment it was decided by: `version`, the event's, and `at`, a time of the database's clock; of the holds at that \
    version, those that end by then had lapsed.")]
pub(super) struct ProblemDocument {
    /// Which problem; compare its last path segment.
    #[serde(rename = "type")]
    kind: String,
    /// The same for every problem of this type.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// This problem, for a person.
    detail: String,
    /// The path that was asked.
    instance: String,
    /// What the logs of gateway and core call this request.
    request_id: String,
    #[serde(flatten)]
    #[schema(ignore)]
    members: Map<String, Value>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: String) -> Self {
        Self { status, kind, title, detail, members: Map::new(), retry_after_s: None }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    fn by(self, moment: Moment) -> Self {
        self.with("version", moment.version).with("at", moment.at.to_string())
    }

    const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Writes the problem down for a request.
    #[must_use]
    pub(super) fn render(&self, facts: &RequestFacts) -> SavedAnswer {
        let document = ProblemDocument {
            kind: format!("/problems/{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            instance: facts.path.clone(),
            request_id: facts.id.clone(),
            members: self.members.clone(),
        };
        let mut headers = vec![("content-type".to_owned(), MEDIA_TYPE.to_owned())];
        headers.extend(self.retry_after_s.map(|seconds| ("retry-after".to_owned(), seconds.to_string())));
        let body = serde_json::to_vec(&document).expect("text and numbers always serialise");
        SavedAnswer { status: self.status.as_u16(), headers, body }
    }

    /// The problem that a refusal is.
    #[must_use]
    pub(super) fn of(refusal: &Refusal) -> Self {
        let new = |status, kind, title| Self::new(status, kind, title, refusal.to_string());
        match refusal {
            Refusal::Invalid(faults) => {
                let errors: Vec<Value> =
                    faults.iter().map(|fault| json!({ "pointer": fault.pointer, "detail": fault.detail })).collect();
                new(StatusCode::BAD_REQUEST, "invalid", "The request is malformed").with("errors", errors)
            }
            Refusal::MediaType => {
                new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not JSON")
            }
            Refusal::PassRequired { sale } => {
                new(StatusCode::UNAUTHORIZED, "pass-required", "A live pass is needed").with("sale", sale.as_str())
            }
            Refusal::Forbidden { .. } => new(StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Refusal::NotFound { .. } => new(StatusCode::NOT_FOUND, "not-found", "Not found"),
            Refusal::Method => new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Refusal::SeatsTaken { taken, moment } => {
                let problem = new(StatusCode::CONFLICT, "seats-taken", "Seats are taken").with("taken", taken.clone());
                moment.iter().fold(problem, |problem, moment| problem.by(*moment))
            }
            Refusal::NotEnough { area, wanted, available, moment } => {
                let problem = new(StatusCode::CONFLICT, "not-enough", "Not enough places").with("wanted", *wanted);
                let problem = problem.by(*moment);
                let problem = area.iter().fold(problem, |problem, area| problem.with("area", area.as_str()));
                available.iter().fold(problem, |problem, available| problem.with("available", *available))
            }
            Refusal::InFlight => {
                new(StatusCode::CONFLICT, "in-flight", "The request is still running").retry_after(RETRY_AFTER_S)
            }
            Refusal::Conflict { state, .. } => {
                new(StatusCode::CONFLICT, "state-conflict", "Its state does not allow this").with("state", *state)
            }
            Refusal::HoldExpired { state } => {
                new(StatusCode::GONE, "hold-expired", "The hold is over").with("state", state.name())
            }
            Refusal::PaymentDeclined { reason } => {
                new(StatusCode::PAYMENT_REQUIRED, "payment-declined", NOT_PAID).with("reason", reason.clone())
            }
            Refusal::PaymentFailed | Refusal::PaymentLate => {
                new(StatusCode::PAYMENT_REQUIRED, "payment-declined", NOT_PAID).with("reason", Value::Null)
            }
            Refusal::TooLarge { limit } => {
                new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large").with("limit", *limit)
            }
            Refusal::KeyReused => {
                new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-mismatch", "The idempotency key was used before")
            }
            Refusal::LimitExceeded { limit, have, wanted } => {
                let title = "Too many places for one visitor";
                let problem = new(StatusCode::UNPROCESSABLE_ENTITY, "limit-exceeded", title);
                problem.with("limit", *limit).with("have", *have).with("wanted", *wanted)
            }
            Refusal::LeavesSingle { orphans, moment } => {
                new(StatusCode::CONFLICT, "leaves-single", "Single seats would be left")
                    .with("orphans", orphans.clone())
                    .by(*moment)
            }
            Refusal::TooManyAtOnce { limit } => {
                let problem = new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests of one visitor");
                problem.with("limit", *limit).retry_after(RETRY_AFTER_S)
            }
            Refusal::TooManyHolds { limit, have } => {
                let title = "Too many holds of one visitor";
                let problem = new(StatusCode::UNPROCESSABLE_ENTITY, "limit-exceeded", title);
                problem.with("limit", *limit).with("have", *have)
            }
        }
    }

    /// The problem that an error is. Causes are logged here and not shown.
    #[must_use]
    pub(super) fn log_and_tell(error: &Error) -> Self {
        match error {
            Error::Refused(refusal) => Self::of(refusal),
            Error::Unavailable { what, .. } => {
                tracing::warn!(error = %chain(error), "unavailable");
                let done = if error.leaves_open() { UNKNOWN } else { "nothing was done" };
                let detail = format!("{what} cannot be had at the moment; {done}");
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Try again shortly", detail);
                problem.retry_after(RETRY_AFTER_S)
            }
            Error::Internal { .. } => {
                tracing::error!(error = %chain(error), "internal error");
                let detail = "something went wrong on our side; the logs name it by this request_id";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail.to_owned())
            }
        }
    }
}

/// The problem travels in the response's extensions until the request's facts are at hand; see
/// [`super::request`].
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = Problem::log_and_tell(&self);
        let mut response = problem.status.into_response();
        response.extensions_mut().insert(Arc::new(problem));
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}
