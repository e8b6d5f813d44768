//! `POST /control/sales/{sale}/{pause,resume,close,open}`: one word, acting within a second on every gateway.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use queue::SaleState;
use queue::configure::Expect;

use crate::control::sales::{document, known, store};
use crate::control::{Desk, refuse};
use crate::problem::{Kind, Problem};

/// Another change may come in between; then the action is taken on what it left.
const TRIES: usize = 5;

/// Acts and answers with the sale's document.
pub async fn act(State(desk): State<Arc<Desk>>, Path((sale, action)): Path<(String, String)>) -> Response {
    let state = match action.as_str() {
        "pause" => SaleState::Paused,
        "resume" | "open" => SaleState::Open,
        "close" => SaleState::Closed,
        _ => return refuse(Problem::new(Kind::NotFound, "The actions are pause, resume, open and close.")),
    };
    let mut last = Problem::new(Kind::Unavailable, "The settings keep changing; try again.").retry_after(1);
    for _ in 0..TRIES {
        let (room, view) = match known(&desk, &sale) {
            Ok(known) => known,
            Err(problem) => return refuse(*problem),
        };
        // What this gateway knows may be half a second old.
        if let Err(error) = desk.rooms.refresh(&room.id, 0).await {
            tracing::warn!(%error, "a sale could not be read before an action");
        }
        let view = room.view().unwrap_or(view);
        let mut settings = view.snapshot.settings.clone();
        settings.state = state;
        match store(&desk, &sale, &settings, Expect::Version(view.snapshot.version)).await {
            Ok((room, view)) => return axum::Json(document(&desk, &room, &view)).into_response(),
            Err(problem) if problem.is(Kind::VersionConflict) => last = *problem,
            Err(problem) => return refuse(*problem),
        }
    }
    refuse(last)
}
