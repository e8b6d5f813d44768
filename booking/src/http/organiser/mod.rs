//! The organisers' routes, on the port of operators, for whoever has the organisers' token
//! (`Authorization: Bearer TOKEN`).
//!
//! | route | what |
//! |---|---|
//! | `POST /v1/organiser/events/{event}/seats/block`, `…/unblock` | takes free seats out of the sale, puts them back |
//! | `PUT /v1/organiser/events/{event}/categories/{category}/price` | another price for unsold seats |
//! | `POST /v1/organiser/events/{event}/areas/{area}/capacity` | more places |
//! | `GET /v1/organiser/events/{event}/changes` | who did what, and when |

mod capacity;
mod changes;
mod prices;
mod seats;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use crate::error::{Error, Refusal};
use crate::services::Services;

/// The routes, behind the token.
pub(super) fn router(services: Services) -> Router<Services> {
    Router::new()
        .route("/v1/organiser/events/{event}/seats/block", post(seats::block))
        .route("/v1/organiser/events/{event}/seats/unblock", post(seats::unblock))
        .route("/v1/organiser/events/{event}/categories/{category}/price", put(prices::set))
        .route("/v1/organiser/events/{event}/areas/{area}/capacity", post(capacity::extend))
        .route("/v1/organiser/events/{event}/changes", get(changes::list))
        .route_layer(middleware::from_fn_with_state(services, check))
}

async fn check(State(services): State<Services>, request: Request, next: Next) -> Response {
    if bearer(request.headers()).is_some_and(|token| services.organisers.is(token)) {
        return next.run(request).await;
    }
    let refusal = Refusal::Forbidden { detail: "these routes need the organisers' token".to_owned() };
    let mut response = Error::from(refusal).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
