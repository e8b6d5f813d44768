//! Payment providers behind one trait.
//!
//! A provider authorises, captures, voids and refunds; it is asked about a payment by the reference we gave
//! it. Every call is idempotent by its key, so it may be repeated after any failure. No call is made while a
//! transaction is open. What a provider calls back is checked here ([`signature`]) and says no more than which payment
//! to ask about.

pub mod breaker;
mod choice;
mod exchange;
mod sandbox;
pub mod signature;
mod stripe;

use async_trait::async_trait;
use booking_domain::Money;
pub use choice::configured;
use http::HeaderMap;
pub use sandbox::Sandbox;
pub use stripe::Stripe;

use self::signature::SignatureError;

/// What a provider knows of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderPayment {
    /// The provider's id of it.
    pub id: String,
    /// Its stage there.
    pub status: ProviderStatus,
    /// The reference we gave it.
    pub reference: String,
    /// How much it is for.
    pub amount: i64,
    /// ISO 4217 code, in capitals.
    pub currency: String,
    /// How much was taken.
    pub captured: i64,
    /// How much of that went back.
    pub refunded: i64,
    /// Why it was declined.
    pub decline_reason: Option<String>,
}

/// The stages of a payment at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderStatus {
    /// The provider is at it; the outcome comes later.
    Processing,
    /// The money is kept for us.
    Authorized,
    /// No.
    Declined,
    /// The money is ours, or what is left of it after refunds.
    Captured,
    /// The authorisation was given back.
    Voided,
    /// All the money went back.
    Refunded,
}

/// Why a provider gave no answer that settles anything.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It refuses the request as such and for good; repeating it will not help. What only says that our
    /// credentials or our picture of the payment are wrong is [`ProviderError::Unknown`].
    #[error("the provider refused the request: {detail}")]
    Refused {
        /// Its status.
        status: u16,
        /// Its words, for the log.
        detail: String,
    },
    /// It may or may not have acted: a timeout, a broken connection, an answer that makes no sense.
    #[error("the provider's answer is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It was not asked at all, since it counts as down: it has not acted.
    #[error("the provider counts as down and was not asked")]
    NotAsked,
}

/// What a provider called us about. It is a hint and no more: the payment itself is asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEvent {
    /// The provider's id of the event; the same when it is sent again.
    pub id: String,
    /// What happened, in the provider's words.
    pub kind: String,
    /// The provider's id of the payment; `None` when the event is about something else.
    pub payment: Option<String>,
    /// Our name of the payment, when the provider says it.
    pub reference: Option<String>,
}

/// Why a callback is not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No secret is configured to check it with.
    #[error("callbacks of this provider are not configured")]
    NoSecret,
    /// It is not by the provider, or too old.
    #[error("the callback is not believed")]
    Signature(#[from] SignatureError),
    /// It is by the provider, and makes no sense to us.
    #[error("the callback is malformed")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A request to be paid.
#[derive(Debug, Clone)]
pub struct Authorise {
    /// Our name of the payment, and its idempotency key.
    pub reference: String,
    /// How much.
    pub amount: Money,
    /// What the buyer's browser got from the provider.
    pub token: String,
}

/// A payment provider.
#[async_trait]
pub trait PaymentProvider: Send + Sync + std::fmt::Debug {
    /// Its name in tables and routes.
    fn name(&self) -> &'static str;

    /// Asks for the money to be kept for us.
    async fn authorise(&self, request: &Authorise) -> Result<ProviderPayment, ProviderError>;

    /// What became of the payment with our reference; `None` when the provider never heard of it.
    async fn find(&self, reference: &str) -> Result<Option<ProviderPayment>, ProviderError>;

    /// What became of the payment with the provider's own id; `None` when the provider does not know it.
    async fn get(&self, payment: &str) -> Result<Option<ProviderPayment>, ProviderError>;

    /// Takes the money that is kept for us. [`ProviderError::Refused`] means that it can never be taken.
    async fn capture(&self, payment: &str, amount: Money) -> Result<ProviderPayment, ProviderError>;

    /// Gives the authorisation back.
    async fn void(&self, payment: &str) -> Result<ProviderPayment, ProviderError>;

    /// Pays some or all of what was taken back, once per `key`.
    async fn refund(&self, payment: &str, amount: Money, key: &str) -> Result<ProviderPayment, ProviderError>;

    /// Whether a callback is the provider's, at the time `now_s` in Unix seconds, and what it is about. `raw` are the
    /// bytes of its body as they came.
    ///
    /// # Errors
    /// When it is not to be believed, or cannot be understood.
    fn parse_webhook(&self, raw: &[u8], headers: &HeaderMap, now_s: i64) -> Result<WebhookEvent, WebhookError>;
}
