//! What may become of a payment. Pure: no file, no clock, no network.
//!
//! Invariants: only an authorised payment is captured or voided; captured ≤ authorised; refunded ≤ captured; what is
//! being processed ends by itself, as authorised or declined.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::token::{self, Outcome};

/// The largest amount taken, in minor units.
const LARGEST: i64 = 1_000_000_000_000;

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Its end comes later.
    Processing,
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
    pub(super) created_at: Timestamp,
    /// What it was made with.
    #[serde(default)]
    pub(super) token: String,
    /// When what is being processed ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due_at: Option<Timestamp>,
}

/// A request for a new payment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    reference: String,
    amount: i64,
    currency: String,
    token: String,
    /// Taken and left alone: events are told at one endpoint for all payments.
    #[serde(default)]
    #[expect(dead_code, reason = "clients may send it")]
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
    /// The end of what was being processed; nobody asks for it.
    Finish,
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

impl Payment {
    /// A new payment, by the token of its request. What is processed first ends at `due_at`.
    pub(super) fn new(
        payment: String,
        request: Request,
        created_at: Timestamp,
        due_at: Timestamp,
    ) -> Result<Payment, Refusal> {
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
        let Some(manner) = token::manner(&token) else {
            return Err(Refusal::Invalid(format!("unknown token {token:?}")));
        };
        let mut made = Payment {
            payment,
            reference,
            amount,
            currency,
            status: Status::Authorized,
            captured: 0,
            refunded: 0,
            decline_reason: None,
            created_at,
            token,
            due_at: None,
        };
        match manner.outcome {
            Outcome::Authorize => {}
            Outcome::Decline => made.decline(),
            Outcome::Capture => (made.status, made.captured) = (Status::Captured, amount),
            Outcome::AuthorizeLater | Outcome::DeclineLater => {
                (made.status, made.due_at) = (Status::Processing, Some(due_at));
            }
        }
        Ok(made)
    }

    fn decline(&mut self) {
        self.status = Status::Declined;
        self.decline_reason = Some("card_declined".to_owned());
    }

    /// The payment after a change.
    pub(super) fn after(&self, change: Change) -> Result<Payment, Refusal> {
        let mut next = self.clone();
        let conflict =
            |what: &str| Refusal::Conflict(format!("a payment that is {} cannot be {what}", name(self.status)));
        match (change, self.status) {
            (Change::Finish, Status::Processing) => {
                next.due_at = None;
                next.status = Status::Authorized;
                if token::manner_of_made(&self.token).outcome == Outcome::DeclineLater {
                    next.decline();
                }
            }
            (Change::Finish, _) => return Err(conflict("finished")),
            (Change::Capture(_), Status::Authorized) if token::manner_of_made(&self.token).refuses_capture => {
                return Err(Refusal::Invalid("the card's bank does not let this capture pass".to_owned()));
            }
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

/// The status as it is written.
pub(super) fn name(status: Status) -> &'static str {
    match status {
        Status::Processing => "processing",
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

    const DUE: Timestamp = Timestamp::constant(1, 0);

    fn request(token: &str, amount: i64, currency: &str) -> Request {
        Request { reference: "b/1".into(), amount, currency: currency.into(), token: token.into(), webhook_url: None }
    }

    fn made(token: &str) -> Payment {
        Payment::new("pay_1".into(), request(token, 100, "EUR"), Timestamp::UNIX_EPOCH, DUE).unwrap()
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
            let refused = Payment::new("p".into(), request(token, amount, currency), DUE, DUE);
            assert!(matches!(refused, Err(Refusal::Invalid(_))), "{token} {amount} {currency}");
        }
    }

    #[test]
    fn what_is_processed_ends_by_its_token() {
        for (token, end, reason) in [
            ("tok_async_ok", Status::Authorized, None),
            ("tok_duplicate_webhooks", Status::Authorized, None),
            ("tok_reordered_webhooks", Status::Authorized, None),
            ("tok_async_fail", Status::Declined, Some("card_declined")),
        ] {
            let processing = made(token);
            assert_eq!((processing.status, processing.due_at), (Status::Processing, Some(DUE)), "{token}");
            let ended = processing.after(Change::Finish).unwrap();
            assert_eq!((ended.status, ended.decline_reason.as_deref()), (end, reason), "{token}");
            assert_eq!(ended.due_at, None);
        }
        let captured = made("tok_timeout_captured");
        assert_eq!((captured.status, captured.captured), (Status::Captured, 100));
        let kept = made("tok_capture_refused");
        assert!(matches!(kept.after(Change::Capture(amount(100))), Err(Refusal::Invalid(_))));
        assert_eq!(kept.after(Change::Void).unwrap().status, Status::Voided);
    }

    #[test]
    fn every_change_in_every_state_is_allowed_or_a_conflict() {
        let authorized = made("tok_ok");
        let captured = authorized.after(Change::Capture(amount(100))).unwrap();
        let voided = authorized.after(Change::Void).unwrap();
        let refunded = captured.after(Change::Refund(amount(100))).unwrap();
        let declined = made("tok_declined");
        let processing = made("tok_async_ok");
        let changes = [Change::Capture(amount(100)), Change::Void, Change::Refund(amount(100)), Change::Finish];
        let allowed: Vec<Vec<bool>> = [&authorized, &captured, &voided, &refunded, &declined, &processing]
            .iter()
            .map(|payment| changes.iter().map(|change| payment.after(*change).is_ok()).collect())
            .collect();
        assert_eq!(
            allowed,
            [
                [true, true, false, false],   // authorised
                [false, false, true, false],  // captured
                [false, true, false, false],  // voided
                [false, false, false, false], // refunded
                [false, false, false, false], // declined
                [false, false, false, true],  // processing
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
