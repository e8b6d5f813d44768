//! Callbacks of payment providers.

use axum::extract::Path;

use super::problem::ProblemDocument;
use crate::error::Refusal;

/// Takes a provider's callback. No provider sends any yet: what is open is asked for instead.
#[utoipa::path(post, path = "/v1/payments/{provider}/webhook", tag = "payments",
    params(("provider" = String, Path)), responses((status = 404, body = ProblemDocument)))]
pub(super) async fn webhook(Path(_provider): Path<String>) -> Refusal {
    Refusal::NotFound { what: "provider with callbacks" }
}
