//! What can go wrong, in the words of the trade. No HTTP here: `http/problem.rs` alone chooses statuses.
//!
//! A [`Refusal`] is an answer: the request was understood and is denied, for a reason that its sender may
//! know; it is kept for repeated requests like any other answer. The other variants of [`Error`] are
//! failures: their cause is logged where they are handled and never shown.

use booking_domain::{HoldState, IdError, InvalidTransition, MoneyError};
use jiff::Timestamp;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The cause of an error that leaves open what was done, as it is told to others who waited.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unanswered(String);

/// One malformed member of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer into the body, or `#name` of a query parameter or header.
    pub pointer: String,
    /// What is wrong, for a person.
    pub detail: String,
}

/// What a refusal was decided by, so that anybody can see from the event's history whether it was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The event's version: its places as the history up to there has them.
    pub version: i64,
    /// By the database's clock: of the holds at that version, those that end by then had lapsed.
    pub at: Timestamp,
}

/// A reason to deny a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Malformed.
    #[error("the request is malformed")]
    Invalid(Vec<Fault>),
    /// A body that is not JSON by its own label.
    #[error("the body must be application/json")]
    MediaType,
    /// The event is guarded and no live pass of its sale came along.
    #[error("a live pass of the sale {sale} is needed")]
    PassRequired {
        /// The sale that guards the event.
        sale: String,
    },
    /// Known, but not allowed.
    #[error("{detail}")]
    Forbidden {
        /// Why.
        detail: String,
    },
    /// Unknown, or another visitor's.
    #[error("there is no such {what}")]
    NotFound {
        /// What was asked for.
        what: &'static str,
    },
    /// The route exists, not for this method.
    #[error("this route does not take this method")]
    Method,
    /// Some of the seats are not free; nothing was held.
    #[error("{} of the seats are taken", taken.len())]
    SeatsTaken {
        /// Which.
        taken: Vec<String>,
        /// When; not known of an organiser's change.
        moment: Option<Moment>,
    },
    /// An area or best-available cannot satisfy the request; nothing was held.
    #[error("there are not enough places")]
    NotEnough {
        /// The area; none for best-available.
        area: Option<String>,
        /// How many were asked for.
        wanted: u32,
        /// How many an area still has.
        available: Option<u32>,
        /// When.
        moment: Moment,
    },
    /// A request with the same idempotency key still runs.
    #[error("a request with this idempotency key is still running")]
    InFlight,
    /// The present state does not allow it.
    #[error("{detail}")]
    Conflict {
        /// Why.
        detail: String,
        /// The state it is in.
        state: &'static str,
    },
    /// The hold is over.
    #[error("the hold has {}", if *state == HoldState::Released { "been released" } else { "expired" })]
    HoldExpired {
        /// How it ended.
        state: HoldState,
    },
    /// The provider said no; the hold lives on.
    #[error("the payment was declined")]
    PaymentDeclined {
        /// The provider's reason.
        reason: Option<String>,
    },
    /// The payment came to nothing without the provider's no; the hold lives on, unless the sale was undone.
    #[error("the payment did not go through; nothing was charged")]
    PaymentFailed,
    /// The provider gave no answer in time. Should the payment come late, it still buys the places, or goes back.
    #[error(
        "the payment was not confirmed in time; should it still come through, it buys the seats if they are free, \
         and goes back to you if they are not"
    )]
    PaymentLate,
    /// More bytes than are read.
    #[error("the request is larger than {limit} bytes")]
    TooLarge {
        /// How many are read.
        limit: usize,
    },
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// Too many places for one visitor.
    #[error("a visitor may have {limit} places of this event")]
    LimitExceeded {
        /// How many are allowed.
        limit: u32,
        /// How many the visitor already has.
        have: u32,
        /// How many more were asked for.
        wanted: u32,
    },
    /// Seats picked by hand would leave single free ones beside them; nothing was held.
    #[error("single seats would be left: {}", orphans.join(", "))]
    LeavesSingle {
        /// Which.
        orphans: Vec<String>,
        /// When.
        moment: Moment,
    },
    /// Too many requests of one visitor wait already; nothing was held.
    #[error("{limit} requests of this visitor wait already")]
    TooManyAtOnce {
        /// How many may wait.
        limit: u32,
    },
    /// Too many live holds of one visitor.
    #[error("a visitor may have {limit} live holds of this event")]
    TooManyHolds {
        /// How many are allowed.
        limit: u32,
        /// How many the visitor already has.
        have: u32,
    },
}

impl Refusal {
    /// One fault.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault { pointer: pointer.into(), detail: detail.into() }])
    }

    /// The organiser has cancelled the event.
    #[must_use]
    pub fn event_cancelled() -> Self {
        Self::Conflict { detail: "the event does not take place".into(), state: "cancelled" }
    }
}

/// Why there is no answer of the use case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Denied.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Something this needs is overloaded or down; nothing is half-done, and trying again may help.
    #[error("{what} is unavailable")]
    Unavailable {
        /// What.
        what: &'static str,
        /// The cause.
        source: Source,
        /// Whether the whole transaction may be tried again at once: a deadlock or serialisation failure.
        retry: bool,
    },
    /// A defect: ours, or a row that no lifecycle allows.
    #[error("{what}")]
    Internal {
        /// What was attempted.
        what: String,
        /// The cause.
        source: Option<Source>,
    },
}

impl Error {
    /// A defect with its cause.
    pub fn internal(what: impl Into<String>, source: impl Into<Source>) -> Self {
        Self::Internal { what: what.into(), source: Some(source.into()) }
    }

    /// A defect by itself.
    pub fn defect(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into(), source: None }
    }

    /// Whether what was sent to the database may have been done all the same: its answer was lost, or it said good-bye
    /// instead of answering.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        let source = match self {
            Self::Refused(_) => return false,
            Self::Unavailable { source, .. } => Some(source),
            Self::Internal { source, .. } => source.as_ref(),
        };
        let Some(source) = source else { return false };
        match source.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Database(answer)) => answer.code().is_some_and(|code| code.starts_with("57P")),
            Some(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => false,
            Some(_) => true,
            None => source.is::<tokio::time::error::Elapsed>() || source.is::<Unanswered>(),
        }
    }

    /// The same for another caller who waited for the same, also in what it leaves open.
    #[must_use]
    pub fn again(&self) -> Self {
        let told = |source: &Source| -> Source {
            let told = source.to_string();
            if self.leaves_open() { Unanswered(told).into() } else { told.into() }
        };
        match self {
            Self::Refused(refusal) => Self::Refused(refusal.clone()),
            Self::Unavailable { what, source, retry } => {
                Self::Unavailable { what, source: told(source), retry: *retry }
            }
            Self::Internal { what, source } => Self::Internal { what: what.clone(), source: source.as_ref().map(told) },
        }
    }

    /// Whether trying the whole transaction again may help at once.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Unavailable { retry: true, .. })
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let what = "the database";
        let unavailable = |retry, error: sqlx::Error| Self::Unavailable { what, source: error.into(), retry };
        match &error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            // What comes of a server, or what stands before it, that hangs up while it is spoken to.
            | sqlx::Error::Protocol(_) => unavailable(false, error),
            sqlx::Error::Database(answer) => match answer.code().as_deref() {
                // serialization_failure, deadlock_detected
                Some("40001" | "40P01") => unavailable(true, error),
                // lock_not_available, query_canceled (statement_timeout), idle_in_transaction_session_timeout
                Some("55P03" | "57014" | "25P03") => unavailable(false, error),
                // 53: insufficient resources; 57P: operator intervention; 08: connection exceptions;
                // 25006: a primary that became read-only
                Some(code)
                    if code.starts_with("53")
                        || code.starts_with("57P")
                        || code.starts_with("08")
                        || code == "25006" =>
                {
                    unavailable(false, error)
                }
                _ => Self::internal("a statement failed", error),
            },
            _ => Self::internal("a statement failed", error),
        }
    }
}

impl From<InvalidTransition> for Error {
    /// A step that the caller had to have checked.
    fn from(step: InvalidTransition) -> Self {
        Self::internal("a lifecycle step was not allowed", step)
    }
}

impl From<booking_domain::UnknownState> for Error {
    fn from(state: booking_domain::UnknownState) -> Self {
        Self::internal("a row holds an impossible state", state)
    }
}

impl From<MoneyError> for Error {
    fn from(error: MoneyError) -> Self {
        Self::internal("an amount could not be computed", error)
    }
}

impl From<IdError> for Error {
    fn from(error: IdError) -> Self {
        Self::internal("a row holds an impossible id", error)
    }
}
