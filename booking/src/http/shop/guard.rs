//! Around every page: headers that confine it, forms from elsewhere refused, problems in words.

use std::sync::Arc;

use askama::Template;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use super::assets::ASSETS;
use super::pages::ProblemPage;
use crate::error::Refusal;
use crate::http::problem::Problem;
use crate::http::request::RequestFacts;

/// Our own style sheet and script, our own streams, no frames, nothing from anywhere else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The layer around all pages.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let facts = request.extensions().get::<Arc<RequestFacts>>().cloned();
    let path = request.uri().path().to_owned();
    let mut response = if request.method() == Method::POST && is_from_elsewhere(request.headers()) {
        let detail = "this form was sent from another site".to_owned();
        Refusal::Forbidden { detail }.into_response()
    } else {
        next.run(request).await
    };
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        response = in_words(problem.status, &path, facts.as_deref());
    } else if response.status().is_client_error() && !is_page(&response) {
        // A form that is none: the framework's own answer is plain text.
        response = in_words(response.status(), &path, facts.as_deref());
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn is_page(response: &Response) -> bool {
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media_type.is_some_and(|media_type| media_type.starts_with("text/html"))
}

/// Whether a browser says that another site sent the form. Cookies are `SameSite=Lax` besides.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

fn in_words(status: StatusCode, path: &str, facts: Option<&RequestFacts>) -> Response {
    let (title, words) = match status {
        StatusCode::UNAUTHORIZED => (
            "Your turn is needed for this",
            "This event lets people in one after the other. Your turn is over or has not come yet; nothing was \
             held and nothing was charged by this request. Go to the event's page to take your place in the line.",
        ),
        StatusCode::FORBIDDEN => ("That did not come from this shop", "Please start again on the event's own page."),
        StatusCode::NOT_FOUND => (
            "We cannot find that",
            "There is no such page, or it belongs to somebody else. Holds and bookings open only in the browser \
             that made them.",
        ),
        StatusCode::CONFLICT => (
            "Still working on it",
            "The same request is being worked on, or things have moved on meanwhile. Nothing was done twice.",
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            "A short breakdown on our side",
            "The shop cannot be reached for a moment. Nothing was done by halves: please try again in a few \
             seconds. What you already hold stays yours until its clock runs out.",
        ),
        status if status.is_client_error() => {
            ("That did not work", "The request could not be understood. Please go back and try again.")
        }
        _ => ("Something went wrong on our side", "It has been noted. Please try again in a moment."),
    };
    let event = path.strip_prefix("/events/").and_then(|rest| rest.split('/').next()).filter(|event| is_slug(event));
    let (link, link_words) = match event {
        Some(event) if status != StatusCode::NOT_FOUND => (format!("/events/{event}"), "To the event"),
        _ => ("/events".to_owned(), "See all events"),
    };
    let page = ProblemPage {
        assets: &ASSETS,
        title: title.into(),
        words: words.into(),
        link,
        link_words: link_words.into(),
        request_id: facts.map(|facts| facts.id.clone()),
    };
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(_) => (status, title).into_response(),
    }
}

fn is_slug(text: &str) -> bool {
    text.parse::<booking_domain::EventId>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    #[test]
    fn only_this_site_may_send_forms() {
        for (site, elsewhere) in [
            (None, false),
            (Some("same-origin"), false),
            (Some("none"), false),
            (Some("same-site"), true),
            (Some("cross-site"), true),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(site) = site {
                headers.insert("sec-fetch-site", site.parse().expect("a value"));
            }
            assert_eq!(super::is_from_elsewhere(&headers), elsewhere, "{site:?}");
        }
    }
}
