//! Goal: what viewers see is what is committed. Method: snapshots against holds; streams read from the wire,
//! broken off and resumed; two nodes on one database.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{GUARDED, OPEN, Options, TestApp, Told, Viewer, hold_path, until};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_known_is_not_sent_again() {
    let app = TestApp::start().await;
    let path = format!("/v1/events/{OPEN}/seats");
    let first = app.stranger().get(&path).await;
    let etag = first.header("etag").unwrap().to_owned();
    assert_eq!((etag.as_str(), first.header("cache-control")), ("\"0-0\"", Some("no-cache")));
    let again =
        async || app.stranger().request(Method::GET, &path).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(again().await.status(), 304);
    app.stranger().hold_seats(OPEN, &["stalls-A-1"]).await;
    let changed = again().await;
    let changed_tag = changed.headers()["etag"].to_str().unwrap();
    assert!(changed.status() == 200 && changed_tag.starts_with("\"1-"), "{changed_tag}");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_through_another_node_are_in_the_next_snapshot() {
    let app = TestApp::start().await;
    let other = app.second_node().await;
    let mut viewer = Viewer::new(&app.client, OPEN);
    for (round, seat) in ["stalls-A-1", "stalls-A-2", "stalls-A-3", "stalls-A-4"].iter().enumerate() {
        app.stranger().hold_seats(OPEN, &[seat]).await;
        viewer.load(&other).await;
        assert_eq!((viewer.version, viewer.seats[round]), (i64::try_from(round).unwrap() + 1, 1));
    }
    app.check().await;
}

async fn within_5_s<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), what).await.expect("within 5 s")
}

/// In the middle, changes of another node are seen within this. The bell takes 250 ms at most: 50 until it may ring again,
/// 200 while changes are gathered. The rest is for what lies around it on a busy machine: the answer to who made the change,
/// the bell's way through Postgres, one read, one frame. The poll, which must not be taken for the bell, comes once a second.
const HEARD: Duration = Duration::from_millis(400);

/// Follows until a version is seen; what was told on the way.
async fn see(viewer: &mut Viewer, version: i64) -> Vec<Told> {
    let mut all = Vec::new();
    within_5_s(async {
        while viewer.version < version {
            let told = viewer.next().await.unwrap();
            if told.kind == "change" && viewer.apply(&told) {
                all.push(told);
            }
        }
    })
    .await;
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_what_changes_and_can_be_resumed() {
    let app = TestApp::start().await;
    let mut viewer = Viewer::new(&app.client, OPEN);
    viewer.load(&app.url).await;
    viewer.follow(&app.url, None).await;
    app.stranger().hold_seats(OPEN, &["stalls-A-1"]).await;
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-A-2"]).await;
    buyer.delete(&hold_path(&hold)).await.expect(204);
    app.stranger().hold(OPEN, json!({ "areas": [{ "area": "pit", "quantity": 2 }] })).await.expect(201);
    see(&mut viewer, 4).await;
    assert_eq!((&viewer.seats[..3], viewer.version), (&[1, 0, 0][..], 4));
    let pit = json!({ "area": "pit", "capacity": 40, "held": 2, "sold": 0 });
    assert_eq!(viewer.areas["pit"], pit);

    // Resumed from the middle, here and on a node that saw nothing of it: what was missed, at once.
    let other = app.second_node().await;
    for node in [&app.url, &other] {
        let mut late = Viewer::new(&app.client, OPEN);
        (late.version, late.seats) = (1, vec![0; 62]);
        late.seats[0] = 1;
        late.follow(node, None).await;
        see(&mut late, 4).await;
        assert_eq!((&late.seats, &late.areas["pit"]), (&viewer.seats, &pit));
    }
    // A version that nobody knows starts anew.
    for odd in ["99", "-1", "x"] {
        viewer.follow(&app.url, Some(odd)).await;
        let mut told = viewer.next().await.unwrap();
        if told.kind == "hello" {
            told = viewer.next().await.unwrap();
        }
        assert_eq!((told.kind.as_str(), told.version, told.data), ("reset", 4, json!({ "version": 4 })), "{odd}");
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
        assert!(frame.lines().any(|line| line.starts_with("retry: ")), "{frame}");
    }
    app.check().await;
}

/// The bell between nodes: without it a change would be seen by the poll, half a second late in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_another_node_and_of_the_sweeper_come_by_the_bell() {
    let app = TestApp::with(Options { jobs: true, set: vec!["jobs.sweep_every_ms=20"], ..Options::default() }).await;
    let other = app.second_node().await;
    let mut viewer = Viewer::new(&app.client, OPEN);
    viewer.load(&other).await;
    viewer.follow(&other, None).await;
    let mut delays = Vec::new();
    for round in 1..=5 {
        let seat = format!("stalls-C-{round}");
        let (hold, _) = app.stranger().hold_seats(OPEN, &[&seat]).await;
        let held = Instant::now();
        see(&mut viewer, 3 * round - 2).await;
        delays.push(held.elapsed());
        crate::holds::lapse(&app, &hold).await;
        let lapsed = Instant::now();
        see(&mut viewer, 3 * round).await;
        delays.push(lapsed.elapsed());
    }
    delays.sort();
    assert!(delays[5] < HEARD, "{delays:?}");
    app.check().await;
}

/// The bell's connections are cut: what was missed is found, and the bell is heard again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bell_comes_back_after_its_connections_were_lost() {
    let app = TestApp::with(Options::default()).await;
    let other = app.second_node().await;
    let mut viewer = Viewer::new(&app.client, OPEN);
    viewer.load(&other).await;
    viewer.follow(&other, None).await;
    app.stranger().hold_seats(OPEN, &["stalls-B-1"]).await;
    see(&mut viewer, 1).await;
    let bells = "from pg_stat_activity where datname = current_database() and application_name = 'usher-booking-bell'";
    let cut = format!("select count(pg_terminate_backend(pid)) {bells}");
    let cut: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(cut)).fetch_one(app.db()).await.unwrap();
    assert!(cut >= 2, "{cut} connections were cut");
    app.stranger().hold_seats(OPEN, &["stalls-B-2"]).await;
    see(&mut viewer, 2).await;
    // Both nodes listen again; then delays are those of the bell, not of the poll.
    until("two listen", || async {
        let listening = format!("select count(*) {bells} and query ilike 'listen%'");
        let listening: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(listening)).fetch_one(app.db()).await.unwrap();
        (listening >= 2).then_some(())
    })
    .await;
    let mut delays = Vec::new();
    for round in 3..=9 {
        let seat = format!("stalls-B-{round}");
        app.stranger().hold_seats(OPEN, &[&seat]).await;
        let held = Instant::now();
        see(&mut viewer, round).await;
        delays.push(held.elapsed());
    }
    delays.sort();
    assert!(delays[3] < HEARD, "{delays:?}");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_beyond_the_limit_are_told_to_come_again() {
    let app = TestApp::with(Options { set: vec!["live.max_viewers=2"], ..Options::default() }).await;
    let follow = || app.stranger().request(Method::GET, &format!("/v1/events/{OPEN}/seats/stream")).send();
    let (first, _second) = (follow().await.unwrap(), follow().await.unwrap());
    let path = format!("/v1/events/{OPEN}/seats/stream");
    let full = app.stranger().get(&path).await;
    full.problem(503, "unavailable");
    assert_eq!(full.header("retry-after"), Some("1"));
    drop(first);
    until("there is room again", || async {
        let response = follow().await.unwrap();
        (response.status() == 200).then_some(())
    })
    .await;
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
            let booking::feed::Start::At(from, missed_frames) = start else { panic!("{start:?}") };
            assert!(missed_frames.is_empty());
            let expected = touched(&app, from).await;
            let (mut version, mut seen) = (from, std::collections::BTreeSet::new());
            while version < last {
                let frame = within_5_s(receiver.recv()).await.unwrap();
                version = frame.version.max(version);
                let text = String::from_utf8(frame.bytes.to_vec()).unwrap();
                let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
                let document: Value = serde_json::from_str(data).unwrap();
                seen.extend(document["seats"].as_array().unwrap().iter().map(|pair| pair[0].as_i64().unwrap()));
            }
            missed += expected.iter().filter(|seat| !seen.contains(seat)).count();
        }
    }
    assert_eq!(missed, 0);
    app.check().await;
}

/// The seats that changed after a version.
async fn touched(app: &TestApp, version: i64) -> Vec<i64> {
    let query = "select distinct s::bigint from seat_event, unnest(seats) s where event_id = $1 and version > $2";
    sqlx::query_scalar(query).bind(OPEN).bind(version).fetch_all(app.db()).await.unwrap()
}
