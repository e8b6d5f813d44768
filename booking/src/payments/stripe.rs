//! Stripe, over its HTTP API: one `PaymentIntent` per payment, captured by hand.
//!
//! Our reference is in the intent's metadata and is the idempotency key of its creation, so that asking twice makes
//! one. Cards that ask their holder to confirm are declined: no page of ours could show the bank's question.
//! What documents mean is in [`intent`]; this file only sends.

mod intent;

use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use booking_domain::Money;
use http::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::intent::{Failure, Intent, Page, Refund};
use super::exchange::{self, Answer};
use super::signature;
use super::{Authorise, PaymentProvider, ProviderError, ProviderPayment, ProviderStatus, WebhookError, WebhookEvent};

/// The version of the API whose documents we read.
const VERSION: &str = "2024-06-20";
/// The header that signs its callbacks.
const SIGNATURE: &str = "stripe-signature";
const INTENTS: &str = "/v1/payment_intents";
/// Where there is no search, so many of the newest intents are looked through.
const PAGE: &str = "100";
const MOST_PAGES: usize = 5;

/// Client of Stripe.
#[derive(Debug, Clone)]
pub struct Stripe {
    base: String,
    client: Client,
    timeout: Duration,
    secret_key: SecretString,
    webhook_secret: SecretString,
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
    object: intent::Subject,
}

/// The parameters of a request.
type Form<'a> = Vec<(&'static str, &'a str)>;

impl Stripe {
    /// A client of the API at `base`.
    ///
    /// # Errors
    /// When the secret key would travel in the clear: plain HTTP is for this machine alone.
    pub fn new(
        base: &str,
        client: Client,
        timeout: Duration,
        secret_key: SecretString,
        webhook_secret: SecretString,
    ) -> anyhow::Result<Self> {
        let url = reqwest::Url::parse(base)?;
        let is_here = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        ensure!(url.scheme() == "https" || is_here, "the address of Stripe must begin with https://");
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client, timeout, secret_key, webhook_secret })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(self.secret_key.expose_secret())
            .header("Stripe-Version", VERSION)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, ProviderError> {
        exchange::send(request, self.timeout).await
    }

    async fn post(&self, path: &str, key: &str, form: &Form<'_>) -> Result<Answer, ProviderError> {
        self.send(self.request(Method::POST, path).header("Idempotency-Key", key).form(form)).await
    }

    async fn ask(&self, path: &str, query: &Form<'_>) -> Result<Answer, ProviderError> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    /// Changes an intent; what comes back is the intent.
    async fn change(&self, payment: &str, step: &str, key: &str, form: Form<'_>) -> Result<Intent, ProviderError> {
        let form = [form, vec![("expand[]", "latest_charge")]].concat();
        document(self.post(&format!("{}/{step}", path_of(payment)?), key, &form).await?)
    }

    /// A call of several requests is bounded as one.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        let late = |elapsed: tokio::time::error::Elapsed| Err(ProviderError::Unknown(elapsed.into()));
        tokio::time::timeout(self.timeout, call).await.unwrap_or_else(late)
    }

    /// Makes an intent, or says what became of one that was made before.
    async fn make(&self, request: &Authorise) -> Result<ProviderPayment, ProviderError> {
        let (amount, currency) = intent::in_stripes_units(request.amount)?;
        let form = vec![
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("payment_method", &request.token),
            ("payment_method_types[]", "card"),
            ("capture_method", "manual"),
            ("confirm", "true"),
            ("metadata[reference]", &request.reference),
            ("expand[]", "latest_charge"),
        ];
        let answer = self.post(INTENTS, &request.reference, &form).await?;
        if answer.status == StatusCode::PAYMENT_REQUIRED {
            return self.declined(&answer, &request.reference).await;
        }
        let intent: Intent = document(answer)?;
        if intent.asks_the_holder() {
            // Nobody will answer. Should this get lost, the intent stays open and takes no money.
            if let Err(error) = self.void(&intent.id).await {
                tracing::warn!(payment = intent.id, %error, "a payment that nobody can go on with stays open");
            }
        }
        intent.payment()
    }

    /// What a declined creation left behind.
    async fn declined(&self, answer: &Answer, reference: &str) -> Result<ProviderPayment, ProviderError> {
        let failure: Failure = answer.read()?;
        let reason = failure.reason();
        let found = match failure.into_intent() {
            Some(intent) => Some(intent.payment()?),
            None => self.found(reference).await?,
        };
        // An answer that names no payment settles nothing unless there is one.
        let payment = found.ok_or_else(|| answer.nonsense())?;
        let decline_reason = reason.or(payment.decline_reason);
        Ok(ProviderPayment { status: ProviderStatus::Declined, decline_reason, ..payment })
    }

    /// The intent with our reference, read whole.
    async fn found(&self, reference: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        let found = match self.search(reference).await? {
            Some(found) => found,
            None => self.look_through(reference).await?,
        };
        // More than one is more than the idempotency key allows within its day; the one with money counts.
        if found.len() > 1 {
            tracing::error!(reference, count = found.len(), "the provider has several payments with one reference");
        }
        match found.iter().max_by_key(|intent| intent.weight()) {
            // Lists do not say what was refunded.
            Some(intent) => self.get(&intent.id).await,
            None => Ok(None),
        }
    }

    /// All intents with our reference; `None` where there is no search.
    async fn search(&self, reference: &str) -> Result<Option<Vec<Intent>>, ProviderError> {
        let query = format!("metadata['reference']:'{reference}'");
        let answer = self.ask(&format!("{INTENTS}/search"), &vec![("query", &query), ("limit", PAGE)]).await?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) {
            return Ok(None);
        }
        Ok(Some(document::<Page>(answer)?.data))
    }

    /// Those among the newest.
    async fn look_through(&self, reference: &str) -> Result<Vec<Intent>, ProviderError> {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        for _ in 0..MOST_PAGES {
            let mut query = vec![("limit", PAGE)];
            query.extend(after.as_deref().map(|last| ("starting_after", last)));
            let page: Page = document(self.ask(INTENTS, &query).await?)?;
            after = page.data.last().map(|last| last.id.clone());
            let has_more = page.has_more;
            found.extend(page.data.into_iter().filter(|intent| intent.reference() == reference));
            if !has_more || !found.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}

/// The path of an intent. Ids come from Stripe; one of another form names nothing there.
fn path_of(payment: &str) -> Result<String, ProviderError> {
    let is_id = !payment.is_empty() && payment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_id {
        return Ok(format!("{INTENTS}/{payment}"));
    }
    Err(ProviderError::Unknown(format!("{payment:?} is no id of a payment").into()))
}

/// The document of a success, or what its error means.
fn document<T: DeserializeOwned>(answer: Answer) -> Result<T, ProviderError> {
    // A key that is used for something else says that our picture is wrong, not that the payment is.
    let is_about_the_key = answer.status == StatusCode::BAD_REQUEST
        && answer.read::<Failure>().is_ok_and(|failure| failure.is_about_idempotency());
    if is_about_the_key { Err(answer.nonsense()) } else { answer.document() }
}

#[async_trait]
impl PaymentProvider for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    async fn authorise(&self, request: &Authorise) -> Result<ProviderPayment, ProviderError> {
        self.in_time(self.make(request)).await
    }

    async fn find(&self, reference: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        self.in_time(self.found(reference)).await
    }

    async fn get(&self, payment: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        let answer = self.ask(&path_of(payment)?, &vec![("expand[]", "latest_charge")]).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        document::<Intent>(answer)?.payment().map(Some)
    }

    async fn capture(&self, payment: &str, amount: Money) -> Result<ProviderPayment, ProviderError> {
        let (amount, _) = intent::in_stripes_units(amount)?;
        let form = vec![("amount_to_capture", amount.as_str())];
        self.change(payment, "capture", &format!("{payment}/capture"), form).await?.payment()
    }

    async fn void(&self, payment: &str) -> Result<ProviderPayment, ProviderError> {
        self.change(payment, "cancel", &format!("{payment}/void"), Vec::new()).await?.payment()
    }

    async fn refund(&self, payment: &str, amount: Money, key: &str) -> Result<ProviderPayment, ProviderError> {
        let (amount, _) = intent::in_stripes_units(amount)?;
        let form = vec![("payment_intent", payment), ("amount", &amount)];
        let refunded = async {
            let refund: Refund = document(self.post("/v1/refunds", key, &form).await?)?;
            refund.check()?;
            let lost = || ProviderError::Unknown(format!("the refunded payment {payment} is not found").into());
            self.get(payment).await?.ok_or_else(lost)
        };
        self.in_time(refunded).await
    }

    fn parse_webhook(&self, raw: &[u8], headers: &HeaderMap, now_s: i64) -> Result<WebhookEvent, WebhookError> {
        signature::check_header(headers, SIGNATURE, raw, &self.webhook_secret, now_s)?;
        let Event { id, kind, data } =
            serde_json::from_slice(raw).map_err(|problem| WebhookError::Malformed(problem.into()))?;
        let (payment, reference) = data.object.named();
        Ok(WebhookEvent { id, kind, payment, reference })
    }
}
