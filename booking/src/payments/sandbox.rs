//! The sandbox provider: a real HTTP server of ours, with its own ledger.

use std::time::Duration;

use async_trait::async_trait;
use booking_domain::Money;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Authorise, PaymentProvider, ProviderError, ProviderPayment, ProviderStatus};

/// Refusals that say nothing about the payment: our credentials, a gateway in between, a conflict with a
/// request in flight or with what has happened since, throttling.
const SAYS_NOTHING: [StatusCode; 6] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::CONFLICT,
    StatusCode::TOO_MANY_REQUESTS,
];

/// Client of the sandbox provider.
#[derive(Debug, Clone)]
pub struct Sandbox {
    base: String,
    client: Client,
    timeout: Duration,
}

#[derive(Debug, Deserialize)]
struct Payment {
    payment: String,
    reference: String,
    status: String,
    amount: i64,
    currency: String,
    #[serde(default)]
    captured: i64,
    #[serde(default)]
    refunded: i64,
    #[serde(default)]
    decline_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Payment>,
}

#[derive(Debug, thiserror::Error)]
#[error("the provider answered {status} with {what}")]
struct Nonsense {
    status: StatusCode,
    what: String,
}

impl Sandbox {
    /// A client of the server at `base`.
    #[must_use]
    pub fn new(base: &str, client: Client, timeout: Duration) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), client, timeout }
    }

    async fn post(&self, path: &str, key: &str, body: &serde_json::Value) -> Result<ProviderPayment, ProviderError> {
        let request = self.client.post(format!("{}{path}", self.base)).header("Idempotency-Key", key).json(body);
        let payment: Payment = self.send(request).await?;
        payment.try_into()
    }

    async fn send<T: serde::de::DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ProviderError> {
        let unknown = |error: reqwest::Error| ProviderError::Unknown(error.into());
        let answer = request.timeout(self.timeout).send().await.map_err(unknown)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unknown)?;
        let words = || String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|_| ProviderError::Unknown(Nonsense { status, what: words() }.into()));
        }
        if status.is_client_error() && !SAYS_NOTHING.contains(&status) {
            return Err(ProviderError::Refused { status: status.as_u16(), detail: words() });
        }
        Err(ProviderError::Unknown(Nonsense { status, what: words() }.into()))
    }
}

fn is_not_found(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    source.downcast_ref::<Nonsense>().is_some_and(|answer| answer.status == StatusCode::NOT_FOUND)
}

impl TryFrom<Payment> for ProviderPayment {
    type Error = ProviderError;

    fn try_from(payment: Payment) -> Result<Self, ProviderError> {
        let status = match payment.status.as_str() {
            "processing" | "pending" | "created" => ProviderStatus::Processing,
            "authorized" => ProviderStatus::Authorized,
            "declined" | "failed" => ProviderStatus::Declined,
            "captured" => ProviderStatus::Captured,
            "voided" => ProviderStatus::Voided,
            "refunded" => ProviderStatus::Refunded,
            other => {
                let what = format!("the payment status {other:?}");
                return Err(ProviderError::Unknown(Nonsense { status: StatusCode::OK, what }.into()));
            }
        };
        let Payment { payment, reference, amount, currency, captured, refunded, decline_reason, .. } = payment;
        Ok(Self { id: payment, status, reference, amount, currency, captured, refunded, decline_reason })
    }
}

#[async_trait]
impl PaymentProvider for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    async fn authorise(&self, request: &Authorise) -> Result<ProviderPayment, ProviderError> {
        let body = json!({
            "reference": request.reference,
            "amount": request.amount.amount(),
            "currency": request.amount.currency().code(),
            "token": request.token,
            "webhook_url": null,
        });
        self.post("/v1/payments", &request.reference, &body).await
    }

    async fn find(&self, reference: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        // A reference of ours is a UUID, a slash and a number: nothing to escape in a query.
        let request = self.client.get(format!("{}/v1/payments?reference={reference}", self.base));
        let page: Page = self.send(request).await?;
        page.items.into_iter().next().map(ProviderPayment::try_from).transpose()
    }

    async fn get(&self, payment: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        let request = self.client.get(format!("{}/v1/payments/{payment}", self.base));
        match self.send::<Payment>(request).await {
            Ok(known) => known.try_into().map(Some),
            Err(ProviderError::Unknown(source)) if is_not_found(&*source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn capture(&self, payment: &str, amount: Money) -> Result<ProviderPayment, ProviderError> {
        let body = json!({ "amount": amount.amount() });
        self.post(&format!("/v1/payments/{payment}/capture"), &format!("{payment}/capture"), &body).await
    }

    async fn void(&self, payment: &str) -> Result<ProviderPayment, ProviderError> {
        self.post(&format!("/v1/payments/{payment}/void"), &format!("{payment}/void"), &json!({})).await
    }

    async fn refund(&self, payment: &str, amount: Money, key: &str) -> Result<ProviderPayment, ProviderError> {
        let body = json!({ "amount": amount.amount() });
        self.post(&format!("/v1/payments/{payment}/refunds"), key, &body).await
    }
}
