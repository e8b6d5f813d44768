//! Callbacks of payment providers.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use jiff::Timestamp;

use super::body::{BODY_TIMEOUT, MAX_BODY};
use super::problem::ProblemDocument;
use crate::app::receive_callback::receive_callback;
use crate::error::{Error, Refusal};
use crate::passes::chain;
use crate::payments::WebhookError;
use crate::services::Services;
use crate::storage::callbacks::Callback;

/// Takes a provider's callback: believed by its signature over the bytes as they came, written down, answered. What it
/// says is asked of the provider afterwards.
#[utoipa::path(post, path = "/v1/payments/{provider}/webhook", tag = "payments",
    params(("provider" = String, Path)),
    responses((status = 200), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 413, body = ProblemDocument), (status = 503, body = ProblemDocument)))]
pub(super) async fn webhook(
    State(services): State<Services>,
    Path(provider): Path<String>,
    request: Request,
) -> Result<StatusCode, Error> {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY)).await;
    let Ok(Ok(raw)) = read else { return Err(Refusal::TooLarge { limit: MAX_BODY }.into()) };
    if provider != services.provider.name() {
        return Err(Refusal::NotFound { what: "provider with callbacks" }.into());
    }
    let event = match services.provider.parse_webhook(&raw, &parts.headers, Timestamp::now().as_second()) {
        Ok(event) => event,
        Err(WebhookError::NoSecret) => return Err(Refusal::NotFound { what: "provider with callbacks" }.into()),
        Err(error) => {
            tracing::warn!(provider, error = %chain(&error), "a callback is not taken");
            metrics::counter!("usher_booking_callbacks_total", "kind" => "refused").increment(1);
            return Err(Refusal::invalid("", "this callback is not believed").into());
        }
    };
    if event.payment.is_none() && event.reference.is_none() {
        return Ok(StatusCode::OK);
    }
    let callback = Callback { event: event.id, reference: event.reference, provider_payment: event.payment };
    receive_callback(&services, callback).await?;
    Ok(StatusCode::OK)
}
