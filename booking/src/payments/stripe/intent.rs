//! What Stripe's documents mean to us. Pure.

use std::collections::HashMap;

use booking_domain::Money;
use serde::Deserialize;

use crate::payments::{ProviderError, ProviderPayment, ProviderStatus};

/// Currencies whose smallest unit is another one at Stripe than in ISO 4217: an amount would be a hundredfold or a
/// hundredth.
const OTHER_UNITS: [&str; 3] = ["ISK", "MGA", "UGX"];

/// A `PaymentIntent`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    status: String,
    amount: i64,
    currency: String,
    #[serde(default)]
    amount_received: Option<i64>,
    #[serde(default)]
    metadata: HashMap<String, String>,
    #[serde(default)]
    latest_charge: Option<Charge>,
    #[serde(default)]
    last_payment_error: Option<Reason>,
}

/// Its charge: the whole of it where it was asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Charge {
    Whole {
        amount: i64,
        captured: bool,
        #[serde(default)]
        amount_captured: Option<i64>,
        amount_refunded: i64,
    },
    Named(serde::de::IgnoredAny),
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Reason {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
}

/// A page of intents.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<Intent>,
    #[serde(default)]
    pub(super) has_more: bool,
}

/// An error.
#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    error: FailureBody,
}

#[derive(Debug, Deserialize)]
struct FailureBody {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(flatten)]
    reason: Reason,
    #[serde(default)]
    payment_intent: Option<Intent>,
}

/// A refund.
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    id: String,
    status: Option<String>,
}

/// What an event is about.
#[derive(Debug, Deserialize)]
pub(super) struct Subject {
    object: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    payment_intent: Option<serde_json::Value>,
    #[serde(default)]
    metadata: HashMap<String, String>,
}

/// An amount and its currency as Stripe writes them.
pub(super) fn in_stripes_units(amount: Money) -> Result<(String, String), ProviderError> {
    let currency = amount.currency().code();
    if OTHER_UNITS.contains(&currency) {
        return Err(ProviderError::Refused { status: 422, detail: format!("{currency} is not paid through Stripe") });
    }
    Ok((amount.amount().to_string(), currency.to_lowercase()))
}

impl Intent {
    /// Our reference; empty when the intent is not ours.
    pub(super) fn reference(&self) -> &str {
        self.metadata.get("reference").map_or("", String::as_str)
    }

    /// Whether the holder of the card would have to confirm.
    pub(super) fn asks_the_holder(&self) -> bool {
        self.status == "requires_action"
    }

    /// How much there is about it: money that was taken before money that is kept before none.
    pub(super) fn weight(&self) -> u8 {
        match self.status.as_str() {
            "succeeded" => 3,
            "requires_capture" => 2,
            "processing" => 1,
            _ => 0,
        }
    }

    /// What it says of the payment.
    pub(super) fn payment(self) -> Result<ProviderPayment, ProviderError> {
        let (captured, refunded) = self.moved();
        let status = match self.status.as_str() {
            "requires_confirmation" | "processing" => ProviderStatus::Processing,
            "requires_payment_method" | "requires_action" => ProviderStatus::Declined,
            "requires_capture" => ProviderStatus::Authorized,
            "succeeded" if captured > 0 && refunded >= captured => ProviderStatus::Refunded,
            "succeeded" => ProviderStatus::Captured,
            "canceled" => ProviderStatus::Voided,
            other => return Err(ProviderError::Unknown(format!("the payment status {other:?}").into())),
        };
        let reference = self.reference().to_owned();
        let decline_reason = if self.asks_the_holder() {
            Some("authentication_required".to_owned())
        } else {
            self.last_payment_error.and_then(Reason::said)
        };
        let decline_reason = decline_reason.filter(|_| status == ProviderStatus::Declined);
        let (id, amount, currency) = (self.id, self.amount, self.currency.to_uppercase());
        Ok(ProviderPayment { id, reference, status, amount, currency, captured, refunded, decline_reason })
    }

    /// What was taken, and what of it went back.
    fn moved(&self) -> (i64, i64) {
        if self.status != "succeeded" {
            return (0, 0);
        }
        let (by_charge, refunded) = match &self.latest_charge {
            Some(Charge::Whole { amount, captured, amount_captured, amount_refunded }) => {
                let captured = amount_captured.or(captured.then_some(*amount));
                (captured, *amount_refunded)
            }
            Some(Charge::Named(_)) | None => (None, 0),
        };
        let captured = self.amount_received.or(by_charge).unwrap_or(self.amount);
        (captured, refunded.min(captured))
    }
}

impl Reason {
    fn said(self) -> Option<String> {
        self.decline_code.or(self.code)
    }
}

impl Failure {
    pub(super) fn is_about_idempotency(&self) -> bool {
        self.error.kind.as_deref() == Some("idempotency_error")
    }

    /// Why it was declined.
    pub(super) fn reason(&self) -> Option<String> {
        self.error.reason.clone().said()
    }

    /// The intent that it leaves behind.
    pub(super) fn into_intent(self) -> Option<Intent> {
        self.error.payment_intent
    }
}

impl Refund {
    /// Whether money is on its way back.
    pub(super) fn check(&self) -> Result<(), ProviderError> {
        match self.status.as_deref() {
            Some("failed" | "canceled") => {
                let detail = format!("the refund {} came to nothing", self.id);
                Err(ProviderError::Refused { status: 200, detail })
            }
            _ => Ok(()),
        }
    }
}

impl Subject {
    /// The payment that it is or belongs to, and our reference if it says so.
    pub(super) fn named(self) -> (Option<String>, Option<String>) {
        if self.object == "payment_intent" {
            return (self.id, self.metadata.get("reference").cloned());
        }
        let id = match self.payment_intent {
            Some(serde_json::Value::String(id)) => Some(id),
            Some(whole) => whole["id"].as_str().map(str::to_owned),
            None => None,
        };
        (id, None)
    }
}

#[cfg(test)]
mod tests {
    use booking_domain::Currency;
    use serde_json::{Value, json};

    use super::*;

    fn payment(change: &Value) -> Result<ProviderPayment, ProviderError> {
        let mut intent = json!({
            "id": "pi_1", "amount": 4500, "currency": "eur", "metadata": { "reference": "b/1" }, "latest_charge": null,
        });
        intent.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value::<Intent>(intent).unwrap().payment()
    }

    #[test]
    fn every_status_has_its_meaning() {
        let charge = |refunded: i64| {
            json!({ "id": "ch_1", "amount": 4500, "captured": true, "amount_captured": 4500,
                    "amount_refunded": refunded })
        };
        let declined = json!({ "code": "card_declined", "decline_code": "insufficient_funds" });
        for (change, status, captured, refunded, reason) in [
            (json!({ "status": "requires_confirmation" }), ProviderStatus::Processing, 0, 0, None),
            (json!({ "status": "processing" }), ProviderStatus::Processing, 0, 0, None),
            (json!({ "status": "requires_capture", "latest_charge": "ch_1" }), ProviderStatus::Authorized, 0, 0, None),
            (
                json!({ "status": "requires_payment_method", "last_payment_error": declined }),
                ProviderStatus::Declined,
                0,
                0,
                Some("insufficient_funds"),
            ),
            (json!({ "status": "requires_action" }), ProviderStatus::Declined, 0, 0, Some("authentication_required")),
            (json!({ "status": "canceled", "latest_charge": charge(4500) }), ProviderStatus::Voided, 0, 0, None),
            (json!({ "status": "succeeded", "amount_received": 4500 }), ProviderStatus::Captured, 4500, 0, None),
            (json!({ "status": "succeeded", "latest_charge": charge(500) }), ProviderStatus::Captured, 4500, 500, None),
            (
                json!({ "status": "succeeded", "latest_charge": charge(4500) }),
                ProviderStatus::Refunded,
                4500,
                4500,
                None,
            ),
        ] {
            let known = payment(&change).unwrap();
            assert_eq!((known.status, known.captured, known.refunded), (status, captured, refunded), "{change}");
            assert_eq!(known.decline_reason.as_deref(), reason, "{change}");
            assert_eq!((known.reference.as_str(), known.currency.as_str(), known.amount), ("b/1", "EUR", 4500));
        }
        assert!(matches!(payment(&json!({ "status": "dreaming" })), Err(ProviderError::Unknown(_))));
    }

    #[test]
    fn a_currency_with_other_units_is_refused() {
        let money = |code| Money::new(4500, Currency::from_code(code).unwrap());
        assert_eq!(in_stripes_units(money("EUR")).unwrap(), ("4500".to_owned(), "eur".to_owned()));
        assert_eq!(in_stripes_units(money("JPY")).unwrap(), ("4500".to_owned(), "jpy".to_owned()));
        for code in OTHER_UNITS {
            assert!(matches!(in_stripes_units(money(code)), Err(ProviderError::Refused { .. })), "{code}");
        }
    }

    #[test]
    fn an_event_names_its_payment_whatever_it_is_about() {
        for (object, expected) in [
            (json!({ "object": "payment_intent", "id": "pi_1", "metadata": { "reference": "b/1" } }), ("pi_1", "b/1")),
            (json!({ "object": "charge", "id": "ch_1", "payment_intent": "pi_1" }), ("pi_1", "")),
            (json!({ "object": "refund", "id": "re_1", "payment_intent": { "id": "pi_1" } }), ("pi_1", "")),
            (json!({ "object": "balance" }), ("", "")),
        ] {
            let (payment, reference) = serde_json::from_value::<Subject>(object.clone()).unwrap().named();
            let named = (payment.unwrap_or_default(), reference.unwrap_or_default());
            assert_eq!((named.0.as_str(), named.1.as_str()), expected, "{object}");
        }
    }

    #[test]
    fn a_refund_that_failed_is_none() {
        for (status, is_one) in [("succeeded", true), ("pending", true), ("failed", false), ("canceled", false)] {
            let refund = Refund { id: "re_1".into(), status: Some(status.into()) };
            assert_eq!(refund.check().is_ok(), is_one, "{status}");
        }
    }
}
