//! `GET /control/sales/{sale}/live`: the live numbers once a second, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;

use crate::control::sales::{document, known};
use crate::control::{Desk, refuse};

/// Streams until the client goes away.
pub async fn live(State(desk): State<Arc<Desk>>, Path(sale): Path<String>) -> Response {
    if let Err(problem) = known(&desk, &sale) {
        return refuse(*problem);
    }
    let seconds = IntervalStream::new(tokio::time::interval(Duration::from_secs(1)));
    let events = seconds.filter_map(move |_| {
        let (room, view) = known(&desk, &sale).ok()?;
        let event = Event::default()
            .event("numbers")
            .id(view.snapshot.at_us.to_string())
            .data(document(&desk, &room, &view).to_string());
        Some(Ok::<_, Infallible>(event))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
