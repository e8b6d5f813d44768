//! What is told of a payment, to whom and how it is signed.
//!
//! An event is written once: every telling of it has the same bytes and the same id, and a signature of its own moment.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::payment::{self, Payment, Status};
use super::token::{self, Answer, Telling};

/// The header with the signature of an event.
pub const SIGNATURE: &str = "Sandbox-Signature";

/// Where events are told, and which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint {
    /// Tried in turn, from one telling to the next; none means that nobody is told anything.
    pub(super) urls: Vec<String>,
    #[serde(default)]
    pub(super) events: Subscription,
}

/// Which events are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subscription {
    /// What no answer to a request has told, and all of the payments whose token is about webhooks.
    #[default]
    Late,
    /// Every change of every payment.
    All,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) made_at: Timestamp,
    pub(super) payment: Payment,
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    r#type: String,
    created: i64,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    payment: &'a Payment,
}

impl Endpoint {
    /// Whether a change is told here: that of `payment`, which nobody asked for, or which was answered.
    pub(super) fn wants(&self, payment: &Payment, asked_for: bool) -> bool {
        let manner = token::manner_of_made(&payment.token);
        let unanswered = manner.answer == Answer::Never && payment.refunded == 0;
        let late = !asked_for || unanswered || manner.telling != Telling::Once;
        !self.urls.is_empty() && (late || self.events == Subscription::All)
    }
}

impl Event {
    /// The bytes that are sent and signed.
    pub(super) fn body(&self) -> Vec<u8> {
        let partly = self.payment.status == Status::Captured && self.payment.refunded > 0;
        let what = if partly { "partly_refunded" } else { payment::name(self.payment.status) };
        let document = Document {
            id: &self.id,
            r#type: format!("payment.{what}"),
            created: self.made_at.as_second(),
            data: Data { payment: &self.payment },
        };
        serde_json::to_vec(&document).expect("an event holds nothing that JSON cannot")
    }

    /// How often it is told at once, and how often once more after that.
    pub(super) fn copies(&self) -> (usize, usize) {
        match token::manner_of_made(&self.payment.token).telling {
            Telling::Thrice => (2, 1),
            Telling::Once | Telling::Backwards => (1, 0),
        }
    }

    /// How many times as long as a payment is processed it is held back.
    pub(super) fn held_back(&self) -> u32 {
        match (token::manner_of_made(&self.payment.token).telling, self.payment.status) {
            (Telling::Backwards, Status::Processing) => 3,
            (Telling::Backwards, Status::Authorized) => 1,
            _ => 0,
        }
    }
}

/// The value of that header for a body at a moment, in seconds since 1970.
///
/// # Panics
/// Never: any secret will do.
#[must_use]
pub fn signature(secret: &[u8], body: &[u8], at_s: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(format!("{at_s}.").as_bytes());
    mac.update(body);
    let tag: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at_s},v1={tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_others_compute() {
        // printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
        let expected = "t=1700000000,v1=c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";
        assert_eq!(signature(b"whsec_test", br#"{"id":"evt_1"}"#, 1_700_000_000), expected);
    }
}
