//! Compares every answer of the tests' nodes with the OpenAPI document: a status that the route does not list is kept, and
//! fails the test at its end. What the document has no operation for, as the shop's pages, is not looked at.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex};

use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(booking::http::openapi()).unwrap());

/// What was answered and is not documented.
#[derive(Clone, Default)]
pub(crate) struct Undocumented(Arc<Mutex<BTreeSet<String>>>);

impl Undocumented {
    /// These routes, listened to.
    pub(crate) fn listen(&self, routes: axum::Router) -> axum::Router {
        let undocumented = self.clone();
        routes.layer(from_fn(move |request: Request, next: Next| {
            let undocumented = undocumented.clone();
            async move {
                let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
                let method = request.method().as_str().to_lowercase();
                let response = next.run(request).await;
                let operation = path.map(|path| (&DOCUMENT["paths"][&path][&method], path));
                if let Some((operation, path)) = operation.filter(|(operation, _)| operation.is_object())
                    && operation["responses"][response.status().as_str()].is_null()
                {
                    let answer = format!("{method} {path} answers {}", response.status().as_u16());
                    undocumented.0.lock().unwrap().insert(answer);
                }
                response
            }
        }))
    }

    /// There was nothing.
    #[track_caller]
    pub(crate) fn check(&self) {
        let found = self.0.lock().unwrap();
        assert!(found.is_empty(), "not in the OpenAPI document: {found:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_documented_is_found() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (undocumented, stop) = (Undocumented::default(), tokio_util::sync::CancellationToken::new());
    let teapot = axum::routing::get(|| async { axum::http::StatusCode::IM_A_TEAPOT });
    let routes = axum::Router::new().route("/v1/bookings", teapot.clone()).route("/events", teapot);
    let url = super::listen(undocumented.listen(routes), &stop).await;
    for path in ["/v1/bookings", "/events"] {
        assert_eq!(reqwest::get(format!("{url}{path}")).await.unwrap().status(), 418);
    }
    let found: Vec<String> = undocumented.0.lock().unwrap().iter().cloned().collect();
    assert_eq!(found, ["get /v1/bookings answers 418"]);
    stop.cancel();
}
