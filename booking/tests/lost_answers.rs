//! Goal: a batch whose answer is lost is neither told as made when it was not, nor as not made when it was. Method: a
//! wire to the database that swallows answers, or requests, and is then cut.

use std::sync::Arc;

use serde_json::json;
use sqlx::PgPool;

use crate::support::{Answer, OPEN, Options, TestApp, Wire, hold_path, until};

async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

const ACTIVE: &str = "select count(*) from hold where state = 'active'";
const RELEASED: &str = "select count(*) from hold where state = 'released'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_looked_for() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let direct = app.beside().await;
    // The writer has a connection that works, and a picture of the hall.
    app.stranger().hold_seats(OPEN, &["stalls-B-1"]).await;

    wire.set_deaf(true);
    let fan = app.stranger();
    let hold = fan.hold(OPEN, json!({ "seats": ["stalls-C-1", "stalls-C-2"] }));
    let cut = async {
        until("it is committed, and the answer lost", || async { (count(&direct, ACTIVE).await == 2).then_some(()) })
            .await;
        wire.cut();
    };
    let (answer, ()) = tokio::join!(hold, cut);
    let hold = answer.expect(201);
    let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    assert_eq!(buyer.get(&hold_path(&hold)).await.expect(200)["seats"], hold["seats"]);
    assert_eq!(count(&direct, RELEASED).await, 0);
    app.stranger().hold(OPEN, json!({ "seats": ["stalls-C-1"] })).await.problem(409, "seats-taken");
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_arrived_is_not_told_as_made_and_never_will_be() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let direct = app.beside().await;
    app.stranger().hold_seats(OPEN, &["stalls-B-1"]).await;

    wire.set_mute(true);
    let fan = app.stranger();
    let hold = fan.hold(OPEN, json!({ "seats": ["stalls-C-1"] }));
    let cut = async {
        until("the batch is lost", || async { (wire.lost() > 0).then_some(()) }).await;
        wire.cut();
    };
    let (answer, ()) = tokio::join!(hold, cut);
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Its id is used up: should the batch still arrive, it fails.
    assert_eq!(count(&direct, RELEASED).await, 1);
    assert_eq!(count(&direct, ACTIVE).await, 1);
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_while_the_database_is_away_is_told_to_come_again() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    app.stranger().hold_seats(OPEN, &["stalls-B-1"]).await;
    wire.set_mute(true);
    let seats: Vec<String> = (1..=8).map(|n| format!("stalls-C-{n}")).collect();
    let holds = futures_util::future::join_all(seats.iter().map(|seat| {
        let fan = app.stranger();
        async move { fan.hold(OPEN, json!({ "seats": [seat] })).await }
    }));
    let cut = async {
        until("something is lost", || async { (wire.lost() > 0).then_some(()) }).await;
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
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_impossible_is_not_taken_for_made() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let direct = app.beside().await;
    app.stranger().hold_seats(OPEN, &["stalls-B-1"]).await;

    // The batch never arrives; the first look makes it impossible, and its answer is lost as well.
    wire.set_mute(true);
    let fan = app.stranger();
    let hold = fan.hold(OPEN, json!({ "seats": ["stalls-C-1"] }));
    let cut = async {
        until("the batch is lost", || async { (wire.lost() > 0).then_some(()) }).await;
        wire.deafen_at_next_batch();
        wire.cut();
        until("it can never be made", || async { (count(&direct, RELEASED).await == 1).then_some(()) }).await;
        wire.cut();
    };
    let (answer, ()) = tokio::join!(hold, cut);
    answer.problem(503, "unavailable");
    assert_eq!((count(&direct, ACTIVE).await, count(&direct, RELEASED).await), (1, 1));
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    direct.close().await;
    app.check().await;
}

/// Sends a hold whose batch is committed and whose fate cannot be learnt: the database cannot be reached any more
/// when the answer is missed, and only much later again.
async fn lose_for_long(app: &TestApp, wire: &Wire, direct: &PgPool, hold: impl Future<Output = Answer>) {
    let active = count(direct, ACTIVE).await;
    wire.set_deaf(true);
    let cut = async {
        until("it is committed", || async { (count(direct, ACTIVE).await > active).then_some(()) }).await;
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
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let direct = app.beside().await;
    app.stranger().hold_seats(OPEN, &["stalls-B-1"]).await;

    let fan = app.stranger();
    lose_for_long(&app, &wire, &direct, fan.hold(OPEN, json!({ "seats": ["stalls-C-1"] }))).await;
    assert_eq!((count(&direct, ACTIVE).await, count(&direct, RELEASED).await), (2, 0), "it is held for nobody");
    // Whoever comes after that need not wait until it lapses.
    until("it is free", || async {
        let answer = app.stranger().hold(OPEN, json!({ "seats": ["stalls-C-1"] })).await;
        (answer.status == 201).then_some(())
    })
    .await;
    assert_eq!((count(&direct, ACTIVE).await, count(&direct, RELEASED).await), (2, 1));
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_nobody_can_know_of_is_released_when_nobody_asks() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let direct = app.beside().await;
    app.stranger().hold_seats(OPEN, &["stalls-B-1"]).await;
    let fan = app.stranger();
    lose_for_long(&app, &wire, &direct, fan.hold(OPEN, json!({ "seats": ["stalls-C-1"] }))).await;
    until("it is released", || async { (count(&direct, RELEASED).await == 1).then_some(()) }).await;
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_whose_owner_has_a_key_waits_for_the_owner() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let direct = app.beside().await;
    app.stranger().hold_seats(OPEN, &["stalls-B-1"]).await;

    let (fan, path) = (app.stranger(), format!("/v1/events/{OPEN}/holds"));
    let (key, body) = ("a-key-that-nobody-guesses", json!({ "seats": ["stalls-C-1"] }));
    lose_for_long(&app, &wire, &direct, fan.post_once(key, &path, &body)).await;
    app.stranger().hold(OPEN, body.clone()).await.problem(409, "seats-taken");
    let again = fan.post_once(key, &path, &body).await;
    let hold = again.expect(201);
    assert_eq!((again.header("idempotency-replayed"), &hold["seats"][0]["seat"]), (Some("true"), &json!("stalls-C-1")));
    assert_eq!((count(&direct, ACTIVE).await, count(&direct, RELEASED).await), (2, 0));
    direct.close().await;
    app.check().await;
}
