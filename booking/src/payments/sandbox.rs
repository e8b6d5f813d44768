//! The sandbox provider: a real HTTP server of ours, with its own ledger.

use std::time::Duration;

use async_trait::async_trait;
use booking_domain::Money;
use http::HeaderMap;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::exchange::{self, Nonsense};
use super::signature;
use super::{Authorise, PaymentProvider, ProviderError, ProviderPayment, ProviderStatus, WebhookError, WebhookEvent};

/// The header that signs its callbacks.
const SIGNATURE: &str = "sandbox-signature";

/// Client of the sandbox provider.
#[derive(Debug, Clone)]
pub struct Sandbox {
    base: String,
    client: Client,
    timeout: Duration,
    webhook_secret: Option<SecretString>,
}

#[derive(Debug, Deserialize)]
struct Payment {
    payment: String,
    reference: String,
    status: String,
    amount: i64,
    currency: String,
    captured: i64,
    refunded: i64,
    #[serde(default)]
    decline_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Payment>,
}

#[derive(Debug, Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    payment: Named,
}

#[derive(Debug, Deserialize)]
struct Named {
    payment: String,
    reference: String,
}

impl Sandbox {
    /// A client of the server at `base`.
    #[must_use]
    pub fn new(base: &str, client: Client, timeout: Duration) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), client, timeout, webhook_secret: None }
    }

    /// The same, which takes callbacks that are signed with this secret.
    #[must_use]
    pub fn with_webhook_secret(self, secret: SecretString) -> Self {
        Self { webhook_secret: Some(secret), ..self }
    }

    async fn post(&self, path: &str, key: &str, body: &serde_json::Value) -> Result<ProviderPayment, ProviderError> {
        let request = self.client.post(format!("{}{path}", self.base)).header("Idempotency-Key", key).json(body);
        let payment: Payment = self.send(request).await?;
        payment.try_into()
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ProviderError> {
        exchange::send(request, self.timeout).await?.document()
    }
}

fn is_not_found(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    source.downcast_ref::<Nonsense>().is_some_and(|answer| answer.status == StatusCode::NOT_FOUND)
}

impl TryFrom<Payment> for ProviderPayment {
    type Error = ProviderError;

    fn try_from(payment: Payment) -> Result<Self, ProviderError> {
        let status = match payment.status.as_str() {
            "processing" => ProviderStatus::Processing,
            "authorized" => ProviderStatus::Authorized,
            "declined" => ProviderStatus::Declined,
            "captured" => ProviderStatus::Captured,
            "voided" => ProviderStatus::Voided,
            "refunded" => ProviderStatus::Refunded,
            other => {
                let what = format!("the payment status {other:?}");
                return Err(ProviderError::Unknown(Nonsense { status: StatusCode::OK, what }.into()));
            }
        };
        let Payment { payment: id, reference, amount, currency, captured, refunded, decline_reason, .. } = payment;
        Ok(Self { id, reference, status, amount, currency, captured, refunded, decline_reason })
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

    fn parse_webhook(&self, raw: &[u8], headers: &HeaderMap, now_s: i64) -> Result<WebhookEvent, WebhookError> {
        let secret = self.webhook_secret.as_ref().ok_or(WebhookError::NoSecret)?;
        signature::check_header(headers, SIGNATURE, raw, secret, now_s)?;
        let Event { id, kind, data } =
            serde_json::from_slice(raw).map_err(|problem| WebhookError::Malformed(problem.into()))?;
        let Named { payment, reference } = data.payment;
        Ok(WebhookEvent { id, kind, payment: Some(payment), reference: Some(reference) })
    }
}
