//! Live states of seats and areas: a snapshot, and a stream of what changes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use booking_domain::EventId;
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use utoipa::{IntoParams, ToSchema};

use super::answer;
use super::body::{Ids, Params, param};
use super::problem::ProblemDocument;
use crate::error::Error;
use crate::feed::{AreaStock, Delta, Feed, Start};
use crate::services::Services;

/// How often an idle stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// All states of an event at one version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeatsSnapshot)]
pub(super) struct SnapshotDocument {
    event: String,
    version: i64,
    /// Base64 of two bits per seat in `seat_no` order: 0 free, 1 held, 2 pending, 3 sold; seat 0 in the lowest
    /// bits of the first byte.
    seats: String,
    /// How many seats that is.
    seat_count: usize,
    areas: Vec<AreaStock>,
}

/// Reads the states of all seats and areas.
#[utoipa::path(get, path = "/v1/events/{event}/seats", tag = "seats", params(("event" = String, Path)),
    responses((status = 200, body = SnapshotDocument), (status = 404, body = ProblemDocument)))]
pub(super) async fn snapshot(State(services): State<Services>, Ids(event): Ids<EventId>) -> Result<Response, Error> {
    services.events.get(&services.db, &event).await?;
    let stock = services.feeds.of(&event).snapshot(&services.db).await?;
    let document = SnapshotDocument {
        event: event.to_string(),
        version: stock.version,
        seats: STANDARD.encode(stock.seats.bytes()),
        seat_count: stock.seats.len(),
        areas: stock.areas,
    };
    Ok(answer::response(answer::json(StatusCode::OK, &document)))
}

/// Where to begin, for those who cannot send `Last-Event-ID`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamParams {
    /// The version of the snapshot at hand.
    since: Option<String>,
}

/// Follows what changes: server-sent events `change` and `reset`, with the version as their id.
#[utoipa::path(get, path = "/v1/events/{event}/seats/stream", tag = "seats",
    params(("event" = String, Path), StreamParams, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, description = "`change`: `{version, seats: [[seat_no, state]…], areas: […]}`; \
        `reset`: the snapshot must be loaded again", content_type = "text/event-stream"),
        (status = 404, body = ProblemDocument)))]
pub(super) async fn follow(
    State(services): State<Services>,
    Ids(event): Ids<EventId>,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    services.events.get(&services.db, &event).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    // An id that is no version is as good as one that is too old.
    let after = match last {
        Some(last) => Some(last.trim().parse().ok().filter(|version| *version >= 0).unwrap_or(i64::MAX)),
        None => param::<i64>("since", params.since.as_deref(), "a version")?,
    };
    let feed = services.feeds.of(&event);
    let (start, receiver) = feed.follow(&services.db, after).await?;
    let sse = Sse::new(events(feed, start, receiver)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([("cache-control", "no-store"), ("x-accel-buffering", "no")], sse).into_response())
}

struct Follower {
    /// Keeps the feed alive as long as somebody follows.
    _feed: Arc<Feed>,
    receiver: broadcast::Receiver<Delta>,
    ready: VecDeque<Event>,
    version: i64,
}

fn events(
    feed: Arc<Feed>,
    start: Start,
    receiver: broadcast::Receiver<Delta>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    // The first frame has an id in any case, so that a stream that breaks off at once is resumed from there.
    let hello = Event::default().comment("seats");
    let (ready, version) = match start {
        Start::At(version, None) => (VecDeque::from([hello.id(version.to_string())]), version),
        Start::At(version, Some(missed)) => (VecDeque::from([hello, change(&missed)]), version),
        Start::Reset(version) => (VecDeque::from([hello, reset(version)]), version),
    };
    let follower = Follower { _feed: feed, receiver, ready, version };
    stream::unfold(follower, |mut follower| async move {
        loop {
            if let Some(event) = follower.ready.pop_front() {
                return Some((Ok(event), follower));
            }
            match follower.receiver.recv().await {
                // What was told already, out of the past that was read at the start.
                Ok(delta) if delta.version <= follower.version => {}
                Ok(delta) => {
                    follower.version = delta.version;
                    follower.ready.push_back(change(&delta));
                }
                Err(RecvError::Lagged(_)) => {
                    let version = follower.version;
                    follower.ready.push_back(reset(version));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

fn change(delta: &Delta) -> Event {
    Event::default().event("change").id(delta.version.to_string()).data(&*delta.json)
}

fn reset(version: i64) -> Event {
    Event::default().event("reset").id(version.to_string()).data(format!("{{\"version\":{version}}}"))
}
