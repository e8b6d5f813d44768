//! Problem documents (RFC 9457): the gateway's refusals, in one place.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::room::Answer;

/// The kinds of problem that the gateway itself answers with; the last part of the `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Malformed request.
    Invalid,
    /// Our own route without a place, or with one that is not valid here.
    PlaceRequired,
    /// A valid credential of another sale.
    Forbidden,
    /// Nothing there.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// Head or body beyond the bounds.
    TooLarge,
    /// Stand in line first.
    Waiting,
    /// The sale takes nobody.
    SaleClosed,
    /// Another device of the visitor holds the place.
    PlaceMoved,
    /// The place cannot be taken to another device.
    PlaceStays,
    /// Asks too often.
    RateLimited,
    /// The origin or the line cannot be reached.
    Unavailable,
    /// The origin broke off; whether it acted is not known.
    OutcomeUnknown,
    /// Nobody may steer a sale without the control token.
    Unauthorized,
    /// Somebody else changed it in between.
    VersionConflict,
    /// Defect on our side.
    Internal,
}

impl Kind {
    /// The status that usually goes with it.
    pub fn status(self) -> u16 {
        self.parts().2
    }

    fn parts(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::Invalid => ("invalid", "The request is malformed", 400),
            Self::PlaceRequired => ("place-required", "A valid place in this line is needed", 401),
            Self::Forbidden => ("forbidden", "Not yours to do", 403),
            Self::NotFound => ("not-found", "Nothing here", 404),
            Self::MethodNotAllowed => ("method-not-allowed", "Method not allowed here", 405),
            Self::TooLarge => ("too-large", "The request is too large", 413),
            Self::Waiting => ("waiting", "You are in line", 429),
            Self::SaleClosed => ("sale-closed", "The sale takes nobody now", 403),
            Self::PlaceMoved => ("place-moved", "The place is on another device", 403),
            Self::PlaceStays => ("place-stays", "This place cannot move to another device", 409),
            Self::RateLimited => ("rate-limited", "Too many requests", 429),
            Self::Unavailable => ("unavailable", "Cannot answer now", 503),
            Self::OutcomeUnknown => ("outcome-unknown", "The origin broke off", 502),
            Self::Unauthorized => ("unauthorized", "The control token is needed", 401),
            Self::VersionConflict => ("version-conflict", "Changed in between", 412),
            Self::Internal => ("internal", "Something went wrong on our side", 500),
        }
    }
}

/// Where problem types are described, as a path on the same host.
const TYPE_BASE: &str = "/problems/";

/// A problem on its way out.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: Kind,
    status: u16,
    detail: String,
    members: Map<String, Value>,
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem of this kind; `detail` is read by strangers.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (_, _, status) = kind.parts();
        Self { kind, status, detail: detail.into(), members: Map::new(), retry_after_s: None }
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// The same problem under another status of its kind.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds all members of a document.
    #[must_use]
    pub fn members(mut self, document: Value) -> Self {
        if let Value::Object(members) = document {
            self.members.extend(members);
        }
        self
    }

    /// When to try again, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The answer; `instance` is the path asked for.
    pub fn answer(self, instance: &str, request_id: &str) -> Answer {
        let (slug, title, _) = self.kind.parts();
        let mut document = self.members;
        document.insert("type".to_owned(), json!(format!("{TYPE_BASE}{slug}")));
        document.insert("title".to_owned(), json!(title));
        document.insert("status".to_owned(), json!(self.status));
        document.insert("detail".to_owned(), json!(self.detail));
        document.insert("instance".to_owned(), json!(instance));
        document.insert("request_id".to_owned(), json!(request_id));
        let body = Bytes::from(Value::Object(document).to_string());
        let mut answer = Answer::new(self.status, "application/problem+json", body);
        if let Some(seconds) = self.retry_after_s {
            answer = answer.header("retry-after", seconds.to_string());
        }
        answer
    }
}
