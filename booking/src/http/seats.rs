//! Live states of seats and areas: a snapshot, and a stream of what changes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use booking_domain::EventId;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::answer;
use super::body::{Ids, Params, param};
use super::problem::ProblemDocument;
use crate::error::Error;
use crate::feed::{AreaStock, Feed, Followed, Frame, Kind, Snapshot, Start};
use crate::services::Services;

/// How long a browser whose stream broke off waits before it comes back: somewhere between these, in milliseconds, so
/// that those who lost one node do not come to the next at the same moment.
const RETRY_MS: std::ops::Range<u32> = 1000..5000;

/// All states of an event at one version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeatsSnapshot)]
pub(super) struct SnapshotDocument<'a> {
    event: &'a str,
    version: i64,
    /// Base64 of two bits per seat in `seat_no` order: 0 free, 1 held, 2 pending, 3 sold or blocked; seat 0 in the
    /// lowest bits of the first byte.
    seats: String,
    /// How many seats that is.
    seat_count: usize,
    areas: &'a [AreaStock],
}

/// Reads the states of all seats and areas.
#[utoipa::path(get, path = "/v1/events/{event}/seats", tag = "seats",
    params(("event" = String, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = SnapshotDocument<'static>), (status = 304),
        (status = 404, body = ProblemDocument), (status = 503, body = ProblemDocument)))]
pub(super) async fn snapshot(
    State(services): State<Services>,
    Ids(event): Ids<EventId>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    services.events.get(&services.db, &event).await?;
    let stock = services.feeds.of(&event).snapshot(&services.db).await?;
    let etag = stock.tag();
    let fixed = [(ETAG, etag.as_str()), (CACHE_CONTROL, "no-cache")];
    if answer::is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    let bytes = stock.encoded(|stock| encode(&event, stock));
    Ok((fixed, [(CONTENT_TYPE, "application/json")], bytes).into_response())
}

fn encode(event: &EventId, stock: &Snapshot) -> Bytes {
    let document = SnapshotDocument {
        event: event.as_str(),
        version: stock.version,
        seats: STANDARD.encode(stock.seats.bytes()),
        seat_count: stock.seats.len(),
        areas: &stock.areas,
    };
    serde_json::to_vec(&document).expect("numbers and text always serialise").into()
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
    responses((status = 200, description = "`change`: `{version, seats: [[seat_no, state]…], areas: […]}`, with \
        `prices_changed: true` when the event's prices must be read anew; a change whose version is not above that of \
        the snapshot at hand is ignored. `reset`: the snapshot must be loaded again",
        content_type = "text/event-stream"),
        (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
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
    let room = services.feeds.admit_viewer()?;
    let feed = services.feeds.of(&event);
    let followed = feed.follow(&services.db, after).await?;
    let headers = [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")];
    Ok((headers, Body::from_stream(frames(Viewer::new(room, feed), followed, services.feeds.closed()))).into_response())
}

/// Somebody who follows, as long as it is there.
struct Viewer {
    _room: OwnedSemaphorePermit,
    /// Keeps the feed alive.
    _feed: Arc<Feed>,
}

impl Viewer {
    fn new(room: OwnedSemaphorePermit, feed: Arc<Feed>) -> Self {
        metrics::gauge!("usher_booking_viewers").increment(1.0);
        Self { _room: room, _feed: feed }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        metrics::gauge!("usher_booking_viewers").decrement(1.0);
    }
}

struct Follower {
    _viewer: Viewer,
    receiver: broadcast::Receiver<Frame>,
    ready: VecDeque<Bytes>,
    version: i64,
    closed: CancellationToken,
}

/// The bytes for one follower. They are asked for only when the connection can take them: who is slow falls behind in
/// the feed's backlog, which is the same for all, and is then told to start anew.
fn frames(
    viewer: Viewer,
    (start, receiver): Followed,
    closed: CancellationToken,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let (version, missed) = match start {
        Start::At(version, missed) => (version, missed),
        Start::Reset(version) => (version, vec![Frame::reset(version)]),
    };
    // The first frame has an id in any case, so that a stream that breaks off at once is resumed from there. Of missed
    // frames each has its own.
    let retry_ms = rand::random_range(RETRY_MS);
    let id = if missed.is_empty() { format!("id: {version}\n") } else { String::new() };
    let hello = Bytes::from(format!(": seats\nretry: {retry_ms}\n{id}\n"));
    let ready = std::iter::once(hello).chain(missed.into_iter().map(|frame| frame.bytes)).collect();
    let follower = Follower { _viewer: viewer, receiver, ready, version, closed };
    stream::unfold(follower, |mut follower| async move {
        if follower.ready.capacity() > 0 && follower.ready.is_empty() {
            follower.ready = VecDeque::new();
        }
        loop {
            if let Some(bytes) = follower.ready.pop_front() {
                return Some((Ok(bytes), follower));
            }
            let received = tokio::select! {
                received = follower.receiver.recv() => received,
                () = follower.closed.cancelled() => return None,
            };
            match received {
                // What was told already, out of the past that was read at the start.
                Ok(frame) if frame.kind == Kind::Change && frame.version <= follower.version => {}
                Ok(frame) => {
                    // After a reset it may be lower: a database that lost commits counts them anew.
                    follower.version = frame.version;
                    return Some((Ok(frame.bytes), follower));
                }
                Err(RecvError::Lagged(_)) => {
                    metrics::counter!("usher_booking_viewers_reset_total").increment(1);
                    // What is still in the backlog is older than the snapshot that the reset asks for.
                    follower.receiver = follower.receiver.resubscribe();
                    return Some((Ok(Frame::reset(follower.version).bytes), follower));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::feed::{BACKLOG, Feeds};

    fn change(version: i64) -> Frame {
        Frame { version, kind: Kind::Change, bytes: version.to_string().into() }
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_to_start_anew_and_goes_on_from_there() {
        let feeds = Feeds::new(1);
        let viewer = || Viewer::new(feeds.admit_viewer().unwrap(), feeds.of(&"e".parse().unwrap()));
        let (sender, receiver) = broadcast::channel(BACKLOG);
        let follower = frames(viewer(), (Start::At(2, vec![change(2)]), receiver), feeds.closed());
        let mut follower = std::pin::pin!(follower.map(|bytes| String::from_utf8(bytes.unwrap().to_vec()).unwrap()));
        assert!(follower.next().await.unwrap().starts_with(": seats\nretry: "));
        assert_eq!(follower.next().await.unwrap(), "2");
        // What was in the past already is not told twice.
        for version in 2..5 {
            sender.send(change(version)).unwrap();
        }
        assert_eq!((follower.next().await.unwrap(), follower.next().await.unwrap()), ("3".into(), "4".into()));
        for version in 5..i64::try_from(5 + 2 * BACKLOG).unwrap() {
            sender.send(change(version)).unwrap();
        }
        let reset = follower.next().await.unwrap();
        assert!(reset.starts_with("event: reset\nid: 4\n"), "{reset}");
        sender.send(change(1000)).unwrap();
        assert_eq!(follower.next().await.unwrap(), "1000", "what was missed is not sent after the reset");
        // A database that lost its last commits: what it counts anew is not taken for told.
        sender.send(Frame::reset(900)).unwrap();
        sender.send(change(901)).unwrap();
        assert!(follower.next().await.unwrap().starts_with("event: reset\nid: 900\n"));
        assert_eq!(follower.next().await.unwrap(), "901");
        feeds.close();
        assert_eq!(follower.next().await, None, "the node stops");
    }
}
