//! The control port: organisers steer sales, operators look at health and metrics.
//!
//! * [`sales`] – settings and live numbers
//! * [`act`] – pause, resume, close, open
//! * [`live`] – live numbers as a stream
//! * [`log`] – why the rate changed
//! * [`console`] – a page over these routes
//!
//! Everything that tells or changes something about a sale needs the bearer token; health and metrics do not, since
//! the port is not for the public.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use async_trait::async_trait;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use metrics_exporter_prometheus::PrometheusHandle;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::config::Config;
use crate::file_sales::FileSales;
use crate::line::rooms::Rooms;
use crate::problem::{Kind, Problem};
use crate::room::Answer;

pub mod act;
pub mod console;
pub mod live;
pub mod log;
pub mod sales;

/// Between two foldings of the metrics' samples.
const UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);

/// The control port as a service.
pub struct Control {
    listener: Mutex<Option<TcpListener>>,
    desk: Arc<Desk>,
}

/// What the control routes share.
pub struct Desk {
    rooms: Arc<Rooms>,
    files: Arc<FileSales>,
    token: SecretString,
    prometheus: PrometheusHandle,
}

impl Control {
    /// Binds the port and reads the token.
    ///
    /// # Errors
    /// When either cannot be had; an empty or short token refuses to start.
    pub fn bind(
        config: &Config,
        rooms: Arc<Rooms>,
        files: Arc<FileSales>,
        prometheus: PrometheusHandle,
    ) -> Result<Self> {
        let file = &config.control_token_file;
        let token = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let token = token.trim();
        anyhow::ensure!(token.len() >= 16, "{}: the token must have at least 16 characters", file.display());
        let listener = TcpListener::bind(config.control_listen)
            .with_context(|| format!("control_listen {}", config.control_listen))?;
        listener.set_nonblocking(true)?;
        let desk = Arc::new(Desk { rooms, files, token: SecretString::from(token), prometheus });
        Ok(Self { listener: Mutex::new(Some(listener)), desk })
    }
}

#[async_trait]
impl BackgroundService for Control {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let listener = self.listener.lock().ok().and_then(|mut listener| listener.take());
        let Some(listener) = listener.and_then(|listener| tokio::net::TcpListener::from_std(listener).ok()) else {
            tracing::error!("the control port cannot be served");
            return;
        };
        // Histograms keep raw samples until they are folded; nobody may ever ask for the metrics.
        let upkeep = self.desk.prometheus.clone();
        let folding = tokio::spawn(async move {
            let mut times = tokio::time::interval(UPKEEP);
            loop {
                times.tick().await;
                upkeep.run_upkeep();
            }
        });
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let served = axum::serve(listener, routes(self.desk.clone())).with_graceful_shutdown(async move {
            // An error means that the sender is gone, which is a shutdown too.
            let _ = shutdown.changed().await;
        });
        if let Err(error) = served.await {
            tracing::error!(%error, "the control port stopped");
        }
        folding.abort();
    }
}

/// The whole URL map of the control port.
fn routes(desk: Arc<Desk>) -> Router {
    let guarded = Router::new()
        .route("/control/sales", get(sales::list))
        .route("/control/sales/{sale}", get(sales::show).put(sales::put))
        .route("/control/sales/{sale}/{action}", post(act::act))
        .route("/control/sales/{sale}/live", get(live::live))
        .route("/control/sales/{sale}/log", get(log::log))
        .layer(middleware::from_fn_with_state(desk.clone(), authorised));
    Router::new()
        .merge(guarded)
        .route("/", get(console::page))
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/version", get(version))
        .fallback(|| async { refuse(Problem::new(Kind::NotFound, "There is no such route.")) })
        .layer(axum::extract::DefaultBodyLimit::max(64 * 1024))
        .with_state(desk)
}

async fn authorised(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map_or("", |(_, token)| token.trim());
    if bool::from(given.as_bytes().ct_eq(desk.token.expose_secret().as_bytes())) {
        return next.run(request).await;
    }
    let problem = Problem::new(Kind::Unauthorized, "Send it as `Authorization: Bearer TOKEN`.");
    refuse(problem).into_response()
}

async fn metrics(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    desk.prometheus.run_upkeep();
    ([("content-type", "text/plain; version=0.0.4")], desk.prometheus.render())
}

async fn ready(State(desk): State<Arc<Desk>>) -> Response {
    if desk.rooms.line().is_some() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the line's Redis was not reached yet\n").into_response()
}

async fn version() -> impl IntoResponse {
    axum::Json(serde_json::json!({"name": "usher-gateway", "version": env!("CARGO_PKG_VERSION")}))
}

/// A problem as an answer of the control port.
fn refuse(problem: Problem) -> Response {
    into_response(problem.answer("/control", &format!("{:032x}", rand::random::<u128>())))
}

fn into_response(answer: Answer) -> Response {
    let mut response = Response::new(axum::body::Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let Ok(value) = axum::http::HeaderValue::from_str(&value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
