//! `GET /`: a page for the night of the sale, over the control routes alone.
//!
//! The page asks for the control token, or takes it from the address's fragment, which never leaves the browser.

use axum::response::{Html, IntoResponse, Response};

const PAGE: &str = include_str!("../../templates/console.html");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page. It holds no secret and shows nothing that a token did not open.
pub async fn page() -> Response {
    let headers =
        [("content-security-policy", POLICY), ("cache-control", "no-store"), ("referrer-policy", "no-referrer")];
    (headers, Html(PAGE)).into_response()
}
