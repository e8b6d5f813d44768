//! Which provider the configuration asks for.

use std::sync::Arc;

use anyhow::Context;
use reqwest::Client;

use super::{PaymentProvider, Sandbox, Stripe};
use crate::config::{self, Payments, ProviderName};

/// The provider that takes this node's payments.
///
/// # Errors
/// When what it needs is not configured, or a secret cannot be read.
pub fn configured(config: &Payments, client: Client) -> anyhow::Result<Arc<dyn PaymentProvider>> {
    let timeout = config.provider_timeout();
    match config.provider {
        ProviderName::Sandbox => {
            let sandbox = Sandbox::new(&config.sandbox_url, client, timeout);
            Ok(Arc::new(match &config.sandbox_webhook_secret_file {
                Some(file) => sandbox.with_webhook_secret(config::read_secret(file)?),
                None => sandbox,
            }))
        }
        ProviderName::Stripe => {
            let stripe = config.stripe.as_ref().context("payments.stripe is needed by the provider stripe")?;
            let secret_key = config::read_secret(&stripe.secret_key_file)?;
            let webhook_secret = config::read_secret(&stripe.webhook_secret_file)?;
            Ok(Arc::new(Stripe::new(&stripe.api_url, client, timeout, secret_key, webhook_secret)?))
        }
    }
}
