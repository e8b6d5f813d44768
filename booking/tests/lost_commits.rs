//! Goal: a node believes a database that has lost commits, as after a failover to a replica that lagged, also when their
//! numbers were given anew to other changes. Method: the last changes are taken out of the tables behind the node's
//! back; then others take their numbers, or none do.

use reqwest::Method;
use serde_json::json;

use crate::support::{OPEN, TestApp, Viewer};

/// The first seat of row C.
const C1: usize = 17;

/// Takes back everything after a version, as if it had never been; all of it were holds of free seats.
async fn forget(app: &TestApp, version: i64) {
    let mut conn = app.db().acquire().await.unwrap();
    let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
    // Neither triggers nor keys have a say.
    sqlx::query("set local session_replication_role = replica").execute(&mut *tx).await.unwrap();
    for (table, change) in [
        ("seat", "update seat set state = 0, hold_id = null, expires_at = null"),
        ("hold_seat", "delete from hold_seat"),
        ("hold", "delete from hold"),
        ("seat_event", "delete from seat_event"),
    ] {
        let lost = "hold_id in (select hold_id from seat_event where event_id = $1 and version > $2)";
        let query = format!("{change} where event_id = $1 and {lost}");
        let done = sqlx::query(sqlx::AssertSqlSafe(query)).bind(OPEN).bind(version).execute(&mut *tx).await.unwrap();
        assert!(done.rows_affected() > 0, "nothing of {table} was lost");
    }
    let query = "update event_version set version = $2 where event_id = $1";
    sqlx::query(query).bind(OPEN).bind(version).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn version(app: &TestApp) -> i64 {
    let query = "select version from event_version where event_id = $1";
    sqlx::query_scalar(query).bind(OPEN).fetch_one(app.db()).await.unwrap()
}

/// The node holds C-1 and C-2, and the database forgets C-2.
async fn with_a_memory_of_what_is_lost() -> TestApp {
    let app = TestApp::start().await;
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    app.stranger().hold_seats(OPEN, &["stalls-C-2"]).await;
    forget(&app, 1).await;
    app
}

/// What the database says, the node says.
async fn believes(app: &TestApp, free: &str, taken: &[&str]) {
    app.stranger().hold_seats(OPEN, &[free]).await;
    for seat in taken {
        app.stranger().hold(OPEN, json!({ "seats": [seat] })).await.problem(409, "seats-taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_is_free() {
    let app = with_a_memory_of_what_is_lost().await;
    believes(&app, "stalls-C-2", &["stalls-C-1", "stalls-C-2"]).await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_ones_own_may_take_the_numbers_of_what_was_lost() {
    let app = with_a_memory_of_what_is_lost().await;
    app.stranger().hold_seats(OPEN, &["stalls-C-3"]).await;
    assert_eq!(version(&app).await, 2, "the number of what was lost is given anew");
    believes(&app, "stalls-C-2", &["stalls-C-1", "stalls-C-3"]).await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_may_take_the_numbers_of_what_was_lost() {
    for more in [&["stalls-C-3"][..], &["stalls-C-3", "stalls-C-4", "stalls-C-5"]] {
        let app = with_a_memory_of_what_is_lost().await;
        let other = app.second_node().await;
        for seat in more {
            app.stranger().at(&other).hold_seats(OPEN, &[seat]).await;
        }
        assert_eq!(version(&app).await, 1 + i64::try_from(more.len()).unwrap());
        believes(&app, "stalls-C-2", &[&["stalls-C-1"], more].concat()).await;
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_best_of_what_was_lost_can_be_had() {
    let app = TestApp::start().await;
    let best = json!({ "best": { "quantity": 2 } });
    let first = app.stranger().hold(OPEN, best.clone()).await.expect(201);
    forget(&app, 0).await;
    // By its memory the node chooses others; then it knows better.
    assert_ne!(app.stranger().hold(OPEN, best.clone()).await.expect(201)["seats"], first["seats"]);
    assert_eq!(app.stranger().hold(OPEN, best).await.expect(201)["seats"], first["seats"]);
    app.check().await;
}

/// Follows until the viewer has been told to start anew, and has.
async fn starts_anew(viewer: &mut Viewer, node: &str) {
    let told = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        loop {
            let told = viewer.next().await.unwrap();
            if told.kind == "reset" {
                return;
            }
            assert!(told.kind == "hello" || told.version <= 2, "a change of another history: {told:?}");
        }
    });
    told.await.expect("a reset within 5 s");
    viewer.load(node).await;
}

/// Follows until a change is news, without another start.
async fn goes_on(viewer: &mut Viewer) {
    let told = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        loop {
            let told = viewer.next().await.unwrap();
            assert_ne!(told.kind, "reset");
            if told.kind == "change" && viewer.apply(&told) {
                return;
            }
        }
    });
    told.await.expect("a change within 5 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_start_anew_and_see_the_truth() {
    for more in [&[][..], &["stalls-C-3"], &["stalls-C-3", "stalls-C-4", "stalls-C-5"]] {
        let app = TestApp::start().await;
        let mut viewer = Viewer::new(&app.client, OPEN);
        app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
        app.stranger().hold_seats(OPEN, &["stalls-C-2"]).await;
        viewer.load(&app.url).await;
        viewer.follow(&app.url, None).await;
        assert_eq!((viewer.version, &viewer.seats[C1..C1 + 3]), (2, &[1, 1, 0][..]));
        forget(&app, 1).await;
        // Through a node that remembers nothing; the bell is not what tells the viewer's node.
        let other = app.second_node().await;
        for seat in more {
            app.stranger().at(&other).hold_seats(OPEN, &[seat]).await;
        }
        starts_anew(&mut viewer, &app.url).await;
        let last = 1 + i64::try_from(more.len()).unwrap();
        let held = |n: usize| u8::from(n == 0 || (2..1 + usize::try_from(last).unwrap()).contains(&n));
        let expected: Vec<u8> = (0..5).map(held).collect();
        assert_eq!((viewer.version, &viewer.seats[C1..C1 + 5]), (last, &expected[..]));
        // The stream goes on from there.
        app.stranger().hold_seats(OPEN, &["stalls-C-2"]).await;
        goes_on(&mut viewer).await;
        assert_eq!(viewer.seats[C1 + 1], 1);
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_with_a_version_of_what_was_lost_starts_anew() {
    let app = TestApp::start().await;
    for seat in ["stalls-C-1", "stalls-C-2", "stalls-C-3"] {
        app.stranger().hold_seats(OPEN, &[seat]).await;
    }
    let mut viewer = Viewer::new(&app.client, OPEN);
    viewer.load(&app.url).await;
    let path = format!("/v1/events/{OPEN}/seats");
    let tag = app.stranger().get(&path).await.header("etag").unwrap().to_owned();
    forget(&app, 1).await;
    let other = app.second_node().await;
    for seat in ["stalls-C-4", "stalls-C-5", "stalls-C-6"] {
        app.stranger().at(&other).hold_seats(OPEN, &[seat]).await;
    }
    // A snapshot of the same version is not the same.
    let request = app.stranger().request(Method::GET, &path).header("if-none-match", &tag);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!((viewer.version, version(&app).await), (3, 4));
    viewer.follow(&app.url, None).await;
    starts_anew(&mut viewer, &app.url).await;
    assert_eq!((viewer.version, &viewer.seats[C1..C1 + 6]), (4, &[1, 0, 0, 1, 1, 1][..]));
    // Above all versions that were told twice nobody needs to.
    viewer.follow(&app.url, None).await;
    app.stranger().hold_seats(OPEN, &["stalls-C-7"]).await;
    goes_on(&mut viewer).await;
    app.check().await;
}
