//! Goal: one key, one effect, one answer. Method: many repetitions at once of each kind of request.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Answer, CLUB, Fan, GUARDED, OPEN, Options, TestApp, path_of, payment, until};

/// Nobody is told 202 only because the machine has much to do.
async fn patient() -> TestApp {
    TestApp::with(Options { set: vec!["payments.answer_within_ms=10000"], jobs: true, ..Options::default() }).await
}

/// Repeats a request until nobody says that it still runs.
async fn insist(fan: &Fan<'_>, key: &str, path: &str, body: &serde_json::Value) -> Answer {
    until("it runs no more", || async {
        let answer = fan.post_once(key, path, body).await;
        if answer.status != 409 || !answer.text.contains("in-flight") {
            return Some(answer);
        }
        answer.problem(409, "in-flight");
        assert_eq!(answer.header("retry-after"), Some("1"));
        None
    })
    .await
}

/// Sends the same request a hundred times at once; all get one answer, and all but one a replayed one.
async fn hundred(fan: &Fan<'_>, path: &str, body: &serde_json::Value) -> Answer {
    let answers = join_all((0..100).map(|_| insist(fan, "key", path, body))).await;
    let fresh = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
    assert_eq!(fresh, 1, "only one did it");
    for answer in &answers {
        assert_eq!((answer.status, &answer.text), (answers[0].status, &answers[0].text));
        assert_eq!(answer.header("content-type"), answers[0].header("content-type"));
        assert_eq!(answer.header("set-cookie"), answers[0].header("set-cookie"));
    }
    answers[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_repetitions_are_one() {
    let app = patient().await;
    let fan = app.fan();
    let holds = format!("/v1/events/{GUARDED}/holds");
    let hold = hundred(&fan, &holds, &json!({ "seats": ["stalls-C-1"] })).await.expect(201);
    let bookings = format!("/v1/events/{GUARDED}/bookings");
    let body = json!({ "hold": hold["hold"], "buyer": { "name": "Ada", "email": "ada@example.org" } });
    // Another path with the same key is another request.
    fan.post_once("key", &bookings, &body).await.problem(422, "idempotency-mismatch");
    let other = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    other.post_once("key", &holds, &json!({ "seats": ["stalls-C-2"] })).await.problem(401, "pass-required");
    let booking = fan.post_once("key-2", &bookings, &body).await.expect(201);
    let paths = path_of(&booking);
    for (n, (path, body, status)) in [
        (format!("{paths}/confirm"), payment("tok_declined"), 402),
        (format!("{paths}/confirm"), payment("tok_ok"), 200),
        (format!("{paths}/cancel"), json!({}), 200),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("pay-{n}");
        let answers = join_all((0..30).map(|_| insist(&fan, &key, &path, &body))).await;
        for answer in &answers {
            assert_eq!((answer.status.as_u16(), &answer.text), (status, &answers[0].text));
        }
        assert_eq!(answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count(), 1);
    }
    assert_eq!(app.ledger().await.len(), 2, "one declined, one paid");
    let held: i64 = sqlx::query_scalar("select count(*) from hold").fetch_one(app.db()).await.unwrap();
    assert_eq!(held, 1);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_different_visitors_never_meet() {
    let app = TestApp::start().await;
    let path = format!("/v1/events/{GUARDED}/holds");
    let one = app.fan().post_once("key", &path, &json!({ "seats": ["stalls-C-1"] })).await.expect(201);
    let two = app.fan().post_once("key", &path, &json!({ "seats": ["stalls-C-2"] })).await.expect(201);
    assert_ne!(one["hold"], two["hold"]);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_without_a_name_may_repeat_too() {
    let app = TestApp::start().await;
    let (path, body) = (format!("/v1/events/{CLUB}/holds"), json!({ "areas": [{ "area": "club", "quantity": 2 }] }));
    let key = "a-key-that-nobody-guesses-0123456789";
    let first = app.stranger().post_once(key, &path, &body).await;
    let hold = first.expect(201);
    // Without the answer there is no name yet; with it there is one.
    let again = app.stranger().post_once(key, &path, &body).await;
    let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    let named = buyer.post_once(key, &path, &body).await;
    for repeated in [again, named] {
        assert_eq!(
            (repeated.text.as_str(), repeated.header("idempotency-replayed")),
            (first.text.as_str(), Some("true"))
        );
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_can_be_guessed_hands_over_nobody_s_hold() {
    let app = TestApp::start().await;
    let (path, body) = (format!("/v1/events/{CLUB}/holds"), json!({ "areas": [{ "area": "club", "quantity": 2 }] }));
    let first = app.stranger().post_once("1", &path, &body).await;
    let other = app.stranger().post_once("1", &path, &body).await;
    assert_ne!(first.expect(201)["buyer"], other.expect(201)["buyer"]);
    assert_eq!(other.header("idempotency-replayed"), None);
    // By its own name the first repeats what it did.
    let buyer = app.with_authorization(format!("Buyer {}", first.json()["buyer"].as_str().unwrap()));
    assert_eq!(buyer.post_once("1", &path, &body).await.text, first.text);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_answers_too() {
    let app = TestApp::start().await;
    let fan = app.fan();
    let path = format!("/v1/events/{OPEN}/holds");
    let (taken, holder) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let body = json!({ "seats": ["stalls-C-1"] });
    let refused = fan.post_once("key", &path, &body).await;
    refused.problem(409, "seats-taken");
    holder.delete(&crate::support::hold_path(&taken)).await.expect(204);
    let again = fan.post_once("key", &path, &body).await;
    assert_eq!((again.text.as_str(), again.header("idempotency-replayed")), (refused.text.as_str(), Some("true")));
    // Malformed requests are not kept: the same key may be used for what was meant.
    fan.post_once("other", &path, &json!({ "seats": [] })).await.problem(400, "invalid");
    fan.post_once("other", &path, &body).await.expect(201);
    for key in ["x".repeat(256), "ümlaut".to_owned()] {
        fan.post_once(&key, &path, &body).await.problem(400, "invalid");
    }
    fan.post_once(&"x".repeat(255), &path, &body).await.problem(409, "seats-taken");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_confirmations_by_one_key_are_one() {
    let app = patient().await;
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let booking = buyer.book(&hold).await.expect(201);
    let (path, body) = (format!("{}/confirm", path_of(&booking)), payment("tok_ok"));
    let answers = join_all((0..100).map(|_| insist(&buyer, "key", &path, &body))).await;
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), &answer.text), (200, &answers[0].text));
    }
    assert_eq!(app.ledger().await.len(), 1);
    buyer.post_once("key", &path, &payment("tok_declined")).await.problem(422, "idempotency-mismatch");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_no_answer_to_keep() {
    let set = vec!["database.max_connections=2", "database.acquire_timeout_ms=2000"];
    let app = TestApp::with(Options { set, ..Options::default() }).await;
    let fan = app.stranger();
    // Holds and bookings are made over connections of their own; what is cancelled uses those that can be taken away.
    let (hold, fan) = fan.hold_seats(OPEN, &["stalls-C-1"]).await;
    let booking = fan.book(&hold).await.expect(201);
    let (path, body) = (format!("{}/cancel", path_of(&booking)), json!({}));
    let taken = [app.take_connection().await, app.take_connection().await];
    let told = fan.post_once("key", &path, &body).await.problem(503, "unavailable");
    assert!(told["detail"].as_str().unwrap().ends_with("nothing was done"), "{told}");
    drop(taken);
    let answer = fan.post_once("key", &path, &body).await;
    answer.expect(200);
    assert_eq!(answer.header("idempotency-replayed"), None, "it was done now");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_kept_for_thirty_days() {
    let app = TestApp::start().await;
    let fan = app.fan();
    let path = format!("/v1/events/{GUARDED}/holds");
    for (key, seat, age) in [("young", "stalls-C-1", "29 days"), ("old", "stalls-C-2", "31 days")] {
        fan.post_once(key, &path, &json!({ "seats": [seat] })).await.expect(201);
        let aged = "update idempotency set created_at = created_at - $1::text::interval where key = $2";
        sqlx::query(aged).bind(age).bind(key).execute(app.db()).await.unwrap();
    }
    assert_eq!(booking::storage::idempotency::forget(app.db(), 30, 100).await.unwrap(), 1);
    let left: Vec<String> = sqlx::query_scalar("select key from idempotency").fetch_all(app.db()).await.unwrap();
    assert_eq!(left, ["young"]);
    app.check().await;
}
