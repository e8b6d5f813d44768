//! Goal: what viewers see is what is committed. Method: snapshots against holds; streams read from the wire,
//! broken off and resumed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{GUARDED, OPEN, TestApp, hold_path};

async fn states(app: &TestApp, event: &str) -> (i64, Vec<u8>) {
    let snapshot = app.stranger().get(&format!("/v1/events/{event}/seats")).await.expect(200);
    let bytes = STANDARD.decode(snapshot["seats"].as_str().unwrap()).unwrap();
    assert_eq!((snapshot["seat_count"].as_u64(), bytes.len()), (Some(62), 16));
    let states = (0..62).map(|seat_no| (bytes[seat_no / 4] >> (2 * (seat_no % 4))) & 3).collect();
    (snapshot["version"].as_i64().unwrap(), states)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_shows_ones_own_writes_at_once() {
    let app = TestApp::start().await;
    assert_eq!(states(&app, OPEN).await, (0, vec![0; 62]));
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-A-1", "stalls-A-3"]).await;
    let (version, seats) = states(&app, OPEN).await;
    assert_eq!((version, &seats[..4]), (1, &[1, 0, 1, 0][..]));
    let booking = buyer.book(&hold).await.expect(201);
    buyer.pay(&booking, "tok_ok").await.expect(200);
    assert_eq!(&states(&app, OPEN).await.1[..4], [3, 0, 3, 0]);
    // Another event, another version.
    assert_eq!(states(&app, GUARDED).await.0, 0);
    // The event's own document counts the same.
    let event = app.stranger().get(&format!("/v1/events/{OPEN}")).await.expect(200);
    assert_eq!((&event["availability"]["seats"], &event["availability"]["free"]), (&json!(62), &json!(60)));
    app.check().await;
}

/// Reads events of a stream until `enough` of them are `change` or `reset`.
async fn read(
    app: &TestApp,
    event: &str,
    last: Option<String>,
    act: impl AsyncFnOnce(),
    enough: usize,
) -> Vec<(String, i64, Value)> {
    let mut request = app.stranger().request(Method::GET, &format!("/v1/events/{event}/seats/stream"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    act().await;
    let all = async {
        while events.len() < enough {
            text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
            while let Some((one, rest)) = text.split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())) {
                text = rest;
                let field = |name: &str| one.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let (Some(kind), Some(id), Some(data)) = (field("event:"), field("id:"), field("data:")) {
                    events.push((kind.to_owned(), id.parse().unwrap(), serde_json::from_str(data).unwrap()));
                }
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), all).await.expect("events within 5 s");
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_what_changes_and_can_be_resumed() {
    let app = TestApp::start().await;
    let act = async || {
        app.stranger().hold_seats(OPEN, &["stalls-A-1"]).await;
        let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-A-2"]).await;
        buyer.delete(&hold_path(&hold)).await.expect(204);
        app.stranger().hold(OPEN, json!({ "areas": [{ "area": "pit", "quantity": 2 }] })).await.expect(201);
    };
    let mut seen: Vec<(String, i64, Value)> = Vec::new();
    while seen.last().is_none_or(|(_, version, _)| *version < 4) {
        // Changes may come coalesced in one event or in several.
        let last = seen.last().map(|(_, version, _)| version.to_string());
        let first = last.is_none();
        seen.extend(
            read(
                &app,
                OPEN,
                last,
                async || {
                    if first {
                        act().await;
                    }
                },
                1,
            )
            .await,
        );
    }
    assert!(seen.iter().all(|(kind, version, data)| kind == "change" && data["version"] == *version));
    let mut shown = std::collections::BTreeMap::new();
    for pair in seen.iter().flat_map(|(_, _, data)| data["seats"].as_array().unwrap()) {
        shown.insert(pair[0].as_i64().unwrap(), pair[1].as_i64().unwrap());
    }
    assert_eq!(shown.into_iter().collect::<Vec<_>>(), [(0, 1), (1, 0)]);
    let area = seen.last().unwrap().2["areas"][0].clone();
    assert_eq!(area, json!({ "area": "pit", "capacity": 40, "held": 2, "sold": 0 }));

    // Resumed from the middle: what was missed, at once.
    let missed = read(&app, OPEN, Some("1".to_owned()), async || {}, 1).await;
    assert_eq!((missed[0].1, &missed[0].2["seats"]), (4, &json!([[1, 0]])));
    // A version that nobody knows starts anew.
    for odd in ["99", "-1", "x"] {
        let reset = read(&app, OPEN, Some(odd.to_owned()), async || {}, 1).await;
        assert_eq!((reset[0].0.as_str(), reset[0].1), ("reset", 4), "{odd}");
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_frame_says_where_the_stream_begins() {
    let app = TestApp::start().await;
    app.stranger().hold_seats(OPEN, &["stalls-A-1"]).await;
    for (query, id) in [("", 1), ("?since=1", 1)] {
        let request = app.stranger().request(Method::GET, &format!("/v1/events/{OPEN}/seats/stream{query}"));
        let frame = request.send().await.unwrap().chunk().await.unwrap().unwrap();
        let frame = std::str::from_utf8(&frame).unwrap();
        assert!(frame.lines().any(|line| line.replace(' ', "") == format!("id:{id}")), "{frame}");
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_misses_nothing_while_another_begins() {
    let app = TestApp::start().await;
    let feed = app.services.feeds.of(&OPEN.parse().unwrap());
    let mut missed = 0;
    for round in 0..8 {
        let seats = [format!("stalls-C-{}", round % 10 + 1), format!("stalls-D-{}", round % 10 + 1)];
        let write = async {
            for seat in &seats {
                let (hold, buyer) = app.stranger().hold_seats(OPEN, &[seat]).await;
                buyer.delete(&hold_path(&hold)).await.expect(204);
            }
        };
        let follow = async {
            let mut followers = Vec::new();
            for _ in 0..3 {
                let begin = futures_util::future::join_all((0..6).map(|_| feed.follow(app.db(), None)));
                followers.extend(begin.await.into_iter().map(Result::unwrap));
            }
            followers
        };
        let ((), followers) = tokio::join!(write, follow);
        let query = "select version from event_version where event_id = $1";
        let last: i64 = sqlx::query_scalar(query).bind(OPEN).fetch_one(app.db()).await.unwrap();
        for (start, mut receiver) in followers {
            let booking::feed::Start::At(from, None) = start else { panic!("{start:?}") };
            let expected = touched(&app, from).await;
            let (mut version, mut seen) = (from, std::collections::BTreeSet::new());
            while version < last {
                let delta = receiver.recv().await.unwrap();
                version = delta.version.max(version);
                let document: Value = serde_json::from_str(&delta.json).unwrap();
                seen.extend(document["seats"].as_array().unwrap().iter().map(|pair| pair[0].as_i64().unwrap()));
            }
            missed += expected.iter().filter(|seat| !seen.contains(seat)).count();
        }
        // The pump ends when nobody follows.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert_eq!(missed, 0);
    app.check().await;
}

/// The seats that changed after a version.
async fn touched(app: &TestApp, version: i64) -> Vec<i64> {
    let query = "select distinct s::bigint from seat_event, unnest(seats) s where event_id = $1 and version > $2";
    sqlx::query_scalar(query).bind(OPEN).bind(version).fetch_all(app.db()).await.unwrap()
}
