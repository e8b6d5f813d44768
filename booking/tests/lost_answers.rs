//! Goal: a batch whose answer is lost is neither told as made when it was not, nor as not made when it was. Method: a
//! wire to the database that swallows answers, or requests, and is then cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use sqlx::PgPool;

use crate::support::{Answer, OPEN, Options, TestApp, Wire, hold_path, import, until, value};

/// A node that reaches its database by a wire alone, and connections past it. The writer has a connection that works,
/// and a picture of the hall with one hold in it.
async fn wired() -> (TestApp, Arc<Wire>, PgPool) {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let direct = app.beside().await;
    app.stranger().hold_seats(OPEN, &["stalls-B-1"]).await;
    (app, wire, direct)
}

async fn batch_is_lost(wire: &Wire) {
    until("a batch is lost", || async { (wire.lost() > 0).then_some(()) }).await;
}

/// How many holds are active, and how many released.
async fn fates(direct: &PgPool) -> (i64, i64) {
    let query = "select count(*) filter (where state = 'active'), count(*) filter (where state = 'released') from hold";
    sqlx::query_as(query).fetch_one(direct).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_looked_for() {
    let (app, wire, direct) = wired().await;
    wire.set_deaf(true);
    let fan = app.stranger();
    let hold = fan.hold(OPEN, json!({ "seats": ["stalls-C-1", "stalls-C-2"] }));
    let cut = async {
        until("it is committed, and the answer lost", || async { (fates(&direct).await.0 == 2).then_some(()) }).await;
        wire.cut();
    };
    let (answer, ()) = tokio::join!(hold, cut);
    let hold = answer.expect(201);
    let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    assert_eq!(buyer.get(&hold_path(&hold)).await.expect(200)["seats"], hold["seats"]);
    assert_eq!(fates(&direct).await, (2, 0));
    app.stranger().hold(OPEN, json!({ "seats": ["stalls-C-1"] })).await.problem(409, "seats-taken");
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_arrived_is_not_told_as_made_and_never_will_be() {
    let (app, wire, direct) = wired().await;
    wire.set_mute(true);
    let fan = app.stranger();
    let hold = fan.hold(OPEN, json!({ "seats": ["stalls-C-1"] }));
    let cut = async {
        batch_is_lost(&wire).await;
        wire.cut();
    };
    let (answer, ()) = tokio::join!(hold, cut);
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Its id is used up: should the batch still arrive, it fails.
    assert_eq!(fates(&direct).await, (1, 1));
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_while_the_database_is_away_is_told_to_come_again() {
    let (app, wire, direct) = wired().await;
    wire.set_mute(true);
    let seats: Vec<String> = (1..=8).map(|n| format!("stalls-C-{n}")).collect();
    let holds = join_all(seats.iter().map(|seat| {
        let fan = app.stranger();
        async move { fan.hold(OPEN, json!({ "seats": [seat] })).await }
    }));
    let cut = async {
        batch_is_lost(&wire).await;
        wire.cut();
    };
    let (answers, ()) = tokio::join!(holds, cut);
    for (seat, answer) in seats.iter().zip(answers) {
        if answer.status == 201 {
            app.stranger().hold(OPEN, json!({ "seats": [seat] })).await.problem(409, "seats-taken");
        } else {
            answer.problem(503, "unavailable");
            app.stranger().hold_seats(OPEN, &[seat]).await;
        }
    }
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_impossible_is_not_taken_for_made() {
    let (app, wire, direct) = wired().await;
    // The batch never arrives; the first look makes it impossible, and its answer is lost as well.
    wire.set_mute(true);
    let fan = app.stranger();
    let hold = fan.hold(OPEN, json!({ "seats": ["stalls-C-1"] }));
    let cut = async {
        batch_is_lost(&wire).await;
        wire.deafen_at_next_batch();
        wire.cut();
        until("it can never be made", || async { (fates(&direct).await.1 == 1).then_some(()) }).await;
        wire.cut();
    };
    let (answer, ()) = tokio::join!(hold, cut);
    answer.problem(503, "unavailable");
    assert_eq!(fates(&direct).await, (1, 1));
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    direct.close().await;
    app.check().await;
}

/// Sends a hold whose batch is committed and whose fate cannot be learnt: the database cannot be reached any more
/// when the answer is missed, and only much later again.
async fn lose_for_long(app: &TestApp, wire: &Wire, direct: &PgPool, hold: impl Future<Output = Answer>) {
    let (active, _) = fates(direct).await;
    wire.set_deaf(true);
    let cut = async {
        until("it is committed", || async { (fates(direct).await.0 > active).then_some(()) }).await;
        wire.set_down(true);
        wire.cut();
    };
    let (answer, ()) = tokio::join!(hold, cut);
    answer.problem(503, "unavailable");
    app.stranger().hold(OPEN, json!({ "seats": ["stalls-B-2"] })).await.problem(503, "unavailable");
    wire.set_down(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_nobody_can_know_of_is_released_when_the_database_is_back() {
    let (app, wire, direct) = wired().await;
    let fan = app.stranger();
    lose_for_long(&app, &wire, &direct, fan.hold(OPEN, json!({ "seats": ["stalls-C-1"] }))).await;
    assert_eq!(fates(&direct).await, (2, 0), "it is held for nobody");
    // Whoever comes after that need not wait until it lapses.
    until("it is free", || async {
        let answer = app.stranger().hold(OPEN, json!({ "seats": ["stalls-C-1"] })).await;
        (answer.status == 201).then_some(())
    })
    .await;
    assert_eq!(fates(&direct).await, (2, 1));
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_nobody_can_know_of_is_released_when_nobody_asks() {
    let (app, wire, direct) = wired().await;
    let fan = app.stranger();
    lose_for_long(&app, &wire, &direct, fan.hold(OPEN, json!({ "seats": ["stalls-C-1"] }))).await;
    until("it is released", || async { (fates(&direct).await.1 == 1).then_some(()) }).await;
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_whose_owner_has_a_key_waits_for_the_owner() {
    let (app, wire, direct) = wired().await;
    let (fan, path) = (app.stranger(), format!("/v1/events/{OPEN}/holds"));
    let (key, body) = ("a-key-that-nobody-guesses", json!({ "seats": ["stalls-C-1"] }));
    lose_for_long(&app, &wire, &direct, fan.post_once(key, &path, &body)).await;
    app.stranger().hold(OPEN, body.clone()).await.problem(409, "seats-taken");
    let again = fan.post_once(key, &path, &body).await;
    let hold = again.expect(201);
    assert_eq!((again.header("idempotency-replayed"), &hold["seats"][0]["seat"]), (Some("true"), &json!("stalls-C-1")));
    assert_eq!(fates(&direct).await, (2, 0));
    direct.close().await;
    app.check().await;
}

/// A batch is waited for 7 s, and what became of it asked for 2 s.
const IN_TIME: Duration = Duration::from_secs(11);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_connections_are_mute_the_answer_comes_in_time() {
    let wire = Wire::new();
    let set = vec!["database.acquire_timeout_ms=2000"];
    let app = TestApp::with(Options { set, wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let direct = app.beside().await;
    let halls = ["hall-1", "hall-2", "hall-3", "hall-4", "hall-5"];
    for hall in halls {
        import(&direct, hall).await;
    }
    let hold = |hall: &'static str, seat: &'static str| {
        let fan = app.stranger();
        async move { fan.hold(hall, json!({ "seats": [seat] })).await }
    };
    // Each hall has a writer, and each writer a connection, which is given back when it lies unused.
    for held in join_all(halls.map(|hall| hold(hall, "stalls-B-1"))).await {
        held.expect(201);
    }
    let open = "select count(*) from pg_stat_activity where datname = current_database()
                and query like '%hold_batch(%' and pid <> pg_backend_pid()";
    assert_eq!(value::<i64>(&direct, open).await, 5, "so many would be looked at one by one");
    // The pool looks at what comes back to it, which is a second after its batch.
    let back = "select count(*) from pg_stat_activity where datname = current_database()
                and query like '%hold_batch(%' and state_change > query_start + interval '900 ms'";
    until("all are given back", || async { (value::<i64>(&direct, back).await == 5).then_some(()) }).await;
    hold(halls[0], "stalls-B-2").await.expect(201);

    // Nothing is cut: each connection looks as if its answer were still to come.
    wire.set_mute(true);
    for _ in 0..2 {
        let began = Instant::now();
        hold(halls[0], "stalls-C-1").await.problem(503, "unavailable");
        assert!(began.elapsed() < IN_TIME, "answered after {:?}", began.elapsed());
    }
    wire.cut();
    until("it is held", || async { (hold(halls[0], "stalls-C-1").await.status == 201).then_some(()) }).await;
    direct.close().await;
    app.check().await;
}
