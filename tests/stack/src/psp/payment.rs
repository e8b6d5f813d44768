//! What may become of a payment. Pure: no file, no clock, no network.
//!
//! Invariants: only an authorised payment is captured or voided; captured ≤ authorised; refunded ≤ captured.

use serde::{Deserialize, Serialize};

/// The largest amount taken, in minor units.
const LARGEST: i64 = 1_000_000_000_000;

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Authorized,
    Declined,
    Captured,
    Voided,
    Refunded,
}

/// One payment, as it is answered and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Payment {
    pub(super) payment: String,
    pub(super) reference: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) status: Status,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) decline_reason: Option<String>,
    pub(super) created_at: String,
}

/// A request for a new payment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    reference: String,
    amount: i64,
    currency: String,
    token: String,
    /// Where to tell what became of it, for the tokens that answer later.
    #[serde(default)]
    #[expect(dead_code, reason = "taken from every client; the tokens that answer later will use it")]
    webhook_url: Option<String>,
}

/// How much to capture or refund.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Amount {
    amount: i64,
}

/// Something to do with an existing payment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Capture(Amount),
    Void,
    Refund(Amount),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The payment is not in a state for it.
    #[error("{0}")]
    Conflict(String),
}

/// What a card token makes of a payment. The tokens that answer late or by webhook join here.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Authorize,
    Decline,
}

impl Outcome {
    fn of_token(token: &str) -> Option<Outcome> {
        match token {
            "tok_ok" => Some(Outcome::Authorize),
            "tok_declined" => Some(Outcome::Decline),
            _ => None,
        }
    }
}

impl Payment {
    /// A new payment, by the token of its request.
    pub(super) fn new(payment: String, request: Request, created_at: String) -> Result<Payment, Refusal> {
        let Request { reference, amount, currency, token, .. } = request;
        let invalid = |why: &str| Err(Refusal::Invalid(why.to_owned()));
        if reference.is_empty() || reference.len() > 200 {
            return invalid("reference must have 1 to 200 bytes");
        }
        if !(1..=LARGEST).contains(&amount) {
            return invalid("amount must be positive and not absurd");
        }
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return invalid("currency must be three capital letters");
        }
        let Some(outcome) = Outcome::of_token(&token) else {
            return Err(Refusal::Invalid(format!("unknown token {token:?}")));
        };
        let (status, decline_reason) = match outcome {
            Outcome::Authorize => (Status::Authorized, None),
            Outcome::Decline => (Status::Declined, Some("card_declined".to_owned())),
        };
        Ok(Payment {
            payment,
            reference,
            amount,
            currency,
            status,
            captured: 0,
            refunded: 0,
            decline_reason,
            created_at,
        })
    }

    /// The payment after a change.
    pub(super) fn after(&self, change: Change) -> Result<Payment, Refusal> {
        let mut next = self.clone();
        let conflict =
            |what: &str| Refusal::Conflict(format!("a payment that is {} cannot be {what}", name(self.status)));
        match (change, self.status) {
            (Change::Capture(Amount { amount }), Status::Authorized) => {
                if !(1..=self.amount).contains(&amount) {
                    return Err(Refusal::Conflict(format!(
                        "{amount} is not between 1 and the {} authorised",
                        self.amount
                    )));
                }
                next.captured = amount;
                next.status = Status::Captured;
            }
            (Change::Capture(_), _) => return Err(conflict("captured")),
            (Change::Void, Status::Authorized) => next.status = Status::Voided,
            // Nothing is left to void, and nothing else would be asked for.
            (Change::Void, Status::Voided) => {}
            (Change::Void, _) => return Err(conflict("voided")),
            (Change::Refund(Amount { amount }), Status::Captured) => {
                let left = self.captured - self.refunded;
                if !(1..=left).contains(&amount) {
                    return Err(Refusal::Conflict(format!("{amount} is not between 1 and the {left} left")));
                }
                next.refunded += amount;
                if next.refunded == next.captured {
                    next.status = Status::Refunded;
                }
            }
            (Change::Refund(_), _) => return Err(conflict("refunded")),
        }
        Ok(next)
    }
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Authorized => "authorized",
        Status::Declined => "declined",
        Status::Captured => "captured",
        Status::Voided => "voided",
        Status::Refunded => "refunded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(token: &str, amount: i64, currency: &str) -> Request {
        Request { reference: "b/1".into(), amount, currency: currency.into(), token: token.into(), webhook_url: None }
    }

    fn made(token: &str) -> Payment {
        Payment::new("pay_1".into(), request(token, 100, "EUR"), "now".into()).unwrap()
    }

    fn amount(amount: i64) -> Amount {
        Amount { amount }
    }

    #[test]
    fn the_token_decides() {
        assert_eq!(made("tok_ok").status, Status::Authorized);
        assert_eq!(made("tok_declined").status, Status::Declined);
        assert_eq!(made("tok_declined").decline_reason.as_deref(), Some("card_declined"));
        for (token, amount, currency) in
            [("tok_nobody", 1, "EUR"), ("tok_ok", 0, "EUR"), ("tok_ok", -5, "EUR"), ("tok_ok", 1, "eur")]
        {
            let refused = Payment::new("p".into(), request(token, amount, currency), "now".into());
            assert!(matches!(refused, Err(Refusal::Invalid(_))), "{token} {amount} {currency}");
        }
    }

    #[test]
    fn every_change_in_every_state_is_allowed_or_a_conflict() {
        let authorized = made("tok_ok");
        let captured = authorized.after(Change::Capture(amount(100))).unwrap();
        let voided = authorized.after(Change::Void).unwrap();
        let refunded = captured.after(Change::Refund(amount(100))).unwrap();
        let declined = made("tok_declined");
        let changes = [Change::Capture(amount(100)), Change::Void, Change::Refund(amount(100))];
        let allowed: Vec<Vec<bool>> = [&authorized, &captured, &voided, &refunded, &declined]
            .iter()
            .map(|payment| changes.iter().map(|change| payment.after(*change).is_ok()).collect())
            .collect();
        assert_eq!(
            allowed,
            [
                [true, true, false],   // authorised
                [false, false, true],  // captured
                [false, true, false],  // voided
                [false, false, false], // refunded
                [false, false, false], // declined
            ]
        );
        assert_eq!(refunded.status, Status::Refunded);
    }

    #[test]
    fn never_more_is_captured_than_authorised_nor_refunded_than_captured() {
        let authorized = made("tok_ok");
        assert!(authorized.after(Change::Capture(amount(101))).is_err());
        let captured = authorized.after(Change::Capture(amount(60))).unwrap();
        let partly = captured.after(Change::Refund(amount(20))).unwrap();
        assert_eq!((partly.status, partly.refunded), (Status::Captured, 20));
        assert!(partly.after(Change::Refund(amount(41))).is_err());
        assert_eq!(partly.after(Change::Refund(amount(40))).unwrap().status, Status::Refunded);
    }
}
