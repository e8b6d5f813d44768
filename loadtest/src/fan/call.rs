//! What a fan asks for and hears.

use bytes::Bytes;
use http::Method;

use super::{Note, Outcome, Reading};
use crate::history::{Kind, Record};

/// What comes next for a fan.
#[derive(Debug)]
pub enum Next {
    /// This request, at its moment.
    Call(Box<Call>),
    /// Nothing: the visit is over.
    End(Outcome),
}

impl Next {
    pub(super) fn call(call: Call) -> Self {
        Self::Call(Box::new(call))
    }
}

/// Who the fan says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// By its place in the line.
    Place(String),
    /// By its pass.
    Pass(String),
    /// By the buyer token of its first hold.
    Buyer(String),
}

impl Auth {
    /// The value of the `Authorization` header.
    pub fn header(&self) -> String {
        match self {
            Self::Place(token) => format!("Place {token}"),
            Self::Pass(token) => format!("Pass {token}"),
            Self::Buyer(token) => format!("Buyer {token}"),
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it is.
    pub kind: Kind,
    /// When it is due; latency counts from here.
    pub at_us: u64,
    /// HTTP method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Whether the fan asks as a browser does.
    pub html: bool,
    /// Who asks.
    pub auth: Option<Auth>,
    /// JSON body.
    pub body: Option<String>,
    /// Idempotency key.
    pub key: Option<String>,
    /// 0 for the first attempt.
    pub attempt: u32,
    /// Which target is asked.
    pub target: usize,
}

/// What came back.
#[derive(Debug, Clone)]
pub enum Heard {
    /// An answer, whole.
    Answer(Answer),
    /// No answer.
    Lost(Lost),
}

impl Heard {
    /// Whether the target itself seems unwell.
    pub(super) fn is_trouble(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.status >= 500,
            Self::Lost(_) => true,
        }
    }
}

/// An answer, as far as a fan reads it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<f64>,
    /// `Usher-Place`.
    pub place: Option<String>,
    /// `Usher-Pass`.
    pub pass: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lost {
    /// No connection could be made: the request was never sent.
    Refused,
    /// All connections of the harness were busy for too long: never sent.
    NoConnection,
    /// The answer did not come in time.
    Timeout,
    /// The connection broke.
    Broken,
    /// The answer was longer than the scenario allows.
    TooLong,
    /// The run ended first.
    Cut,
}

impl Lost {
    /// Its name in history and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NoConnection => "no_connection",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::TooLong => "too_long",
            Self::Cut => "cut",
        }
    }

    /// Whether the request cannot have had an effect.
    pub fn never_sent(self) -> bool {
        matches!(self, Self::Refused | Self::NoConnection)
    }
}

/// What a fan made of an answer.
#[derive(Debug)]
pub struct Step {
    /// What comes next.
    pub next: Next,
    /// The operation, for the history; the engine adds when it was.
    pub seen: Record,
    /// What happened.
    pub notes: Vec<Note>,
    /// Whether the answer was none that a healthy system gives.
    pub error: bool,
}

impl Step {
    pub(super) fn of(reading: &Reading, mut seen: Record) -> Self {
        seen.result = reading.verdict;
        seen.status = reading.status;
        seen.problem.clone_from(&reading.problem);
        Self { next: Next::End(Outcome::Failed), seen, notes: Vec::new(), error: reading.error }
    }
}
