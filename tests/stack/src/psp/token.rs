//! What a card token makes of a payment: how it ends, how whoever asks is answered, how its events are told. Pure.

use std::time::Duration;

/// How a payment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) outcome: Outcome,
    pub(super) answer: Answer,
    pub(super) telling: Telling,
    /// Whether its capture is refused for good.
    pub(super) refuses_capture: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Authorize,
    Decline,
    /// Authorised and captured in one go.
    Capture,
    /// At first it is being processed; its end is told by webhook.
    AuthorizeLater,
    DeclineLater,
}

/// How the request that makes it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    AtOnce,
    After(Duration),
    Never,
}

/// How its events are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    Once,
    /// Twice at once and once more after.
    Thrice,
    /// The older the event, the later.
    Backwards,
}

const PLAIN: Manner =
    Manner { outcome: Outcome::Authorize, answer: Answer::AtOnce, telling: Telling::Once, refuses_capture: false };
/// How long `tok_slow` keeps its caller waiting.
const SLOW: Duration = Duration::from_secs(5);

/// What a token does; `None` when there is no such token.
pub(super) fn manner(token: &str) -> Option<Manner> {
    let later = Manner { outcome: Outcome::AuthorizeLater, ..PLAIN };
    Some(match token {
        "tok_ok" => PLAIN,
        "tok_declined" => Manner { outcome: Outcome::Decline, ..PLAIN },
        "tok_slow" => Manner { answer: Answer::After(SLOW), ..PLAIN },
        "tok_timeout_captured" => Manner { outcome: Outcome::Capture, answer: Answer::Never, ..PLAIN },
        "tok_async_ok" => later,
        "tok_async_fail" => Manner { outcome: Outcome::DeclineLater, ..PLAIN },
        "tok_duplicate_webhooks" => Manner { telling: Telling::Thrice, ..later },
        "tok_reordered_webhooks" => Manner { telling: Telling::Backwards, ..later },
        "tok_capture_refused" => Manner { refuses_capture: true, ..PLAIN },
        _ => return None,
    })
}

/// The same for a payment that was made; one from before tokens were kept is a plain one.
pub(super) fn manner_of_made(token: &str) -> Manner {
    manner(token).unwrap_or(PLAIN)
}
