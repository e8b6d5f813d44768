//! The shop: pages for people, made by the same use cases as the JSON routes.
//!
//! | page | what |
//! |---|---|
//! | `GET /`, `GET /events` | the list of events |
//! | `GET /events/{event}` | one event: prices, best seats, map, list, standing areas |
//! | `POST /events/{event}/holds` | holds what a form wishes, then shows the hold |
//! | `GET /events/{event}/holds/{hold}` | the hold, its clock, name and card |
//! | `POST …/release`, `POST …/buy` | gives it back; pays for it |
//! | `GET /bookings/{event}/{booking}` | the booking with its tickets |
//!
//! Every page works without its script. A form always ends in a redirect, so that reloading never repeats
//! it, except where a page shows a form with what was wrong in it. A booking's page lies outside `/events`:
//! what lies below a guarded event is behind the waiting room, and a buyer may look at a booking after
//! the pass is gone.

mod assets;
mod booking_page;
mod buy;
mod event_page;
mod events_page;
mod forms;
mod guard;
mod hold_page;
mod holds;
mod notices;
mod pages;
mod picker;
mod words;

use askama::Template;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use crate::error::Error;
use crate::services::Services;

/// Most bytes of a form.
const MAX_FORM: usize = 64 * 1024;

/// The shop's routes.
pub(super) fn router() -> Router<Services> {
    Router::new()
        .route("/", get(events_page::show))
        .route("/events", get(events_page::show))
        .route("/events/{event}", get(event_page::show))
        .route("/events/{event}/holds", post(holds::hold).get(holds::back))
        .route("/events/{event}/holds/{hold}", get(hold_page::show))
        .route("/events/{event}/holds/{hold}/release", post(hold_page::release))
        .route("/events/{event}/holds/{hold}/buy", post(buy::buy).get(buy::back))
        .route("/events/{event}/bookings/{booking}", get(booking_page::moved))
        .route("/bookings/{event}/{booking}", get(booking_page::show))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(middleware::from_fn(guard::layer))
        .route("/assets/{file}", get(assets::serve))
}

/// A page as an answer.
fn page(status: StatusCode, page: &impl Template) -> Result<Response, Error> {
    let html = page.render().map_err(|error| Error::internal("a page could not be made", error))?;
    Ok((status, Html(html)).into_response())
}

/// Sends the browser on; the next request is a GET, whatever this one was.
fn go(address: &str) -> Response {
    Redirect::to(address).into_response()
}
