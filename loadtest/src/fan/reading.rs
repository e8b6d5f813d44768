//! What an answer means for the operation that asked: did it take effect, is it part of the game,
//! is it worth another attempt. A table, free of the fan's own state.

use super::{Heard, Lost};
use crate::history::{Kind, Verdict};
use crate::wire::Problem;

/// What to do about an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Class {
    /// It is what was asked for.
    Good,
    /// A refusal that belongs to the game: seats taken, card declined.
    Refusal,
    /// Worth another attempt, after so long.
    Again {
        /// What the server asked for.
        after_s: Option<f64>,
    },
    /// The pass does not, or no longer, open this.
    PassNeeded,
    /// Nothing a healthy system answers.
    Wrong,
}

/// An answer, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Whether the operation took effect.
    pub verdict: Verdict,
    /// What to do.
    pub class: Class,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// Name of the problem.
    pub problem: Option<String>,
    /// Whether it counts as an error.
    pub error: bool,
}

impl Reading {
    /// Understands what was heard about an operation.
    pub fn of(kind: Kind, heard: &Heard) -> Self {
        let answer = match heard {
            Heard::Lost(lost) => return Self::of_loss(*lost),
            Heard::Answer(answer) => answer,
        };
        let problem = if answer.status >= 400 {
            Problem::name_in(&answer.body).or_else(|| Some(format!("http_{}", answer.status)))
        } else {
            None
        };
        let again = Class::Again { after_s: answer.retry_after_s };
        let (verdict, class, error) = match (answer.status, problem.as_deref()) {
            (200..=299, _) => (Verdict::Ok, Class::Good, false),
            (300..=399, _) if matches!(kind, Kind::Page | Kind::Join) => (Verdict::Ok, Class::Good, false),
            (429, Some("waiting")) if kind == Kind::Join => (Verdict::Ok, Class::Good, false),
            (429, Some("waiting")) | (401 | 403, _) => (Verdict::Fail, Class::PassNeeded, false),
            (429, _) => (Verdict::Fail, again, false),
            // The same request runs already, and may yet succeed.
            (409, Some("in-flight")) => (Verdict::Unknown, again, false),
            (402, _) | (409, Some("seats-taken" | "not-enough")) => (Verdict::Fail, Class::Refusal, false),
            (410, Some("hold-expired")) | (422, Some("limit-exceeded")) => (Verdict::Fail, Class::Refusal, false),
            (500.., _) => (Verdict::Unknown, again, true),
            _ => (Verdict::Fail, Class::Wrong, true),
        };
        let problem = problem.filter(|_| verdict != Verdict::Ok);
        Self { verdict, class, status: Some(answer.status), problem, error }
    }

    fn of_loss(lost: Lost) -> Self {
        Self {
            verdict: if lost.never_sent() { Verdict::Fail } else { Verdict::Unknown },
            class: Class::Again { after_s: None },
            status: None,
            problem: Some(lost.name().to_owned()),
            // What the end of the run cut off is no fault of the system.
            error: lost != Lost::Cut,
        }
    }

    /// Whether the problem has this name.
    pub fn is(&self, problem: &str) -> bool {
        self.problem.as_deref() == Some(problem)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::fan::Answer;

    fn answer(status: u16, problem: &str) -> Heard {
        let body = match problem {
            "" => Bytes::new(),
            name => Bytes::from(format!(r#"{{"type":"https://usher.example/problems/{name}"}}"#)),
        };
        Heard::Answer(Answer { status, retry_after_s: Some(2.0), body, ..Answer::default() })
    }

    #[test]
    fn answers_are_read_as_the_table_says() {
        use Class::{Good, PassNeeded, Refusal, Wrong};
        use Verdict::{Fail, Ok, Unknown};
        let again = Class::Again { after_s: Some(2.0) };
        for (kind, heard, verdict, class, error) in [
            (Kind::Hold, answer(201, ""), Ok, Good, false),
            (Kind::Join, answer(429, "waiting"), Ok, Good, false),
            (Kind::Hold, answer(429, "waiting"), Fail, PassNeeded, false),
            (Kind::Join, answer(429, "rate-limited"), Fail, again, false),
            (Kind::Hold, answer(401, "pass-required"), Fail, PassNeeded, false),
            (Kind::Hold, answer(409, "seats-taken"), Fail, Refusal, false),
            (Kind::Hold, answer(409, "in-flight"), Unknown, again, false),
            (Kind::Confirm, answer(402, "payment-declined"), Fail, Refusal, false),
            (Kind::Confirm, answer(410, "hold-expired"), Fail, Refusal, false),
            (Kind::Book, answer(503, "unavailable"), Unknown, again, true),
            (Kind::Book, answer(502, ""), Unknown, again, true),
            (Kind::Hold, answer(404, "not-found"), Fail, Wrong, true),
            (Kind::Hold, answer(409, ""), Fail, Wrong, true),
            (Kind::Page, answer(303, ""), Ok, Good, false),
            (Kind::Hold, answer(303, ""), Fail, Wrong, true),
        ] {
            let reading = Reading::of(kind, &heard);
            assert_eq!((reading.verdict, reading.class, reading.error), (verdict, class, error), "{kind:?} {heard:?}");
        }
    }

    #[test]
    fn a_loss_before_sending_had_no_effect() {
        for (lost, verdict) in [
            (Lost::Refused, Verdict::Fail),
            (Lost::NoConnection, Verdict::Fail),
            (Lost::Timeout, Verdict::Unknown),
            (Lost::Broken, Verdict::Unknown),
            (Lost::Cut, Verdict::Unknown),
        ] {
            assert_eq!(Reading::of(Kind::Hold, &Heard::Lost(lost)).verdict, verdict);
        }
    }
}
