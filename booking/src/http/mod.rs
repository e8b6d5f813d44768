//! The whole URL map.
//!
//! Handlers parse, call a use case, and render. Everything malformed is refused here; whatever passes is
//! valid further in.

mod admission;
mod answer;
mod body;
mod bookings;
mod caller;
mod cookies;
mod documents;
mod events;
mod health;
mod holds;
mod organiser;
mod payments;
mod plan;
mod problem;
mod request;
mod seats;
mod shop;

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{Error, Refusal};
use crate::services::Services;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Usher booking core",
        description = "Atomic seat holds and checkout. Holds and bookings of a guarded event need a live pass of its \
            sale (`Authorization: Pass TOKEN`, or through the gateway); one's own holds and bookings are opened by \
            the buyer token that comes with the first hold (`Authorization: Buyer TOKEN`, or its cookie). Errors \
            are RFC 9457 problem documents.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "catalogue", description = "Events and plans"),
        (name = "seats", description = "Live states"),
        (name = "holds", description = "Seats and places reserved for a short time"),
        (name = "bookings", description = "Orders, payments, tickets"),
        (name = "payments", description = "Callbacks of payment providers")
    ),
    components(schemas(problem::ProblemDocument))
)]
struct Api;

fn api() -> OpenApiRouter<Services> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(events::list))
        .routes(routes!(events::read))
        .routes(routes!(plan::document))
        .routes(routes!(plan::packed))
        .routes(routes!(seats::snapshot))
        .routes(routes!(seats::follow))
        .routes(routes!(holds::create))
        .routes(routes!(holds::read, holds::release))
        .routes(routes!(holds::extend))
        .routes(routes!(bookings::create))
        .routes(routes!(bookings::read))
        .routes(routes!(bookings::confirm))
        .routes(routes!(bookings::cancel))
        .routes(routes!(bookings::list))
        .routes(routes!(payments::webhook))
}

/// The OpenAPI document of the public routes.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().split_for_parts().1
}

/// The public routes.
pub fn public(services: Services) -> Router {
    let (routes, document) = api().split_for_parts();
    let document = document.to_json().expect("the document is made of text");
    let document = bytes::Bytes::from(document);
    let openapi = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
    let routes = routes
        .route("/openapi.json", get(openapi))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .merge(shop::router());
    let routes = routes.route("/admission/health", get(admission::health)).layer(Extension(admission::Meter::new()));
    finish(routes, services)
}

/// The routes of operators.
pub fn admin(services: Services, metrics: PrometheusHandle) -> Router {
    let render = move || async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()) };
    let routes = Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/version", get(health::version))
        .route("/metrics", get(render))
        .merge(organiser::router(services.clone()));
    finish(routes, services)
}

fn finish(routes: Router<Services>, services: Services) -> Router {
    routes
        .fallback(|request: Request| async {
            read_to_the_end(request).await;
            Refusal::NotFound { what: "route" }
        })
        .method_not_allowed_fallback(|request: Request| async {
            read_to_the_end(request).await;
            Refusal::Method
        })
        .layer(CatchPanicLayer::custom(|_| Error::defect("a handler panicked").into_response()))
        .layer(axum::middleware::from_fn(request::layer))
        .with_state(services)
}

/// A connection whose request was not read to the end is closed after the answer, which the gateway would take for an
/// origin that broke off. So what nobody asked for is read too, within the bounds of any body.
async fn read_to_the_end(request: Request) {
    let read = axum::body::to_bytes(request.into_body(), body::MAX_BODY);
    // Too much or too slow: then the connection does close.
    let _ = tokio::time::timeout(body::BODY_TIMEOUT, read).await;
}
