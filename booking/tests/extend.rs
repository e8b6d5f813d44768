//! Goal: a hold is prolonged once, within its cap, for its holder only, and lapses then. Method: clocks pushed in the
//! table, and the same hold extended in parallel.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::holds::lapse;
use crate::support::{CLUB, GUARDED, Options, TestApp, hold_path};

fn until(hold: &Value) -> jiff::Timestamp {
    hold["expires_at"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_and_within_the_cap() {
    let app = TestApp::with(Options { set: vec!["holds.max_life_s=700"], ..Options::default() }).await;
    let (hold, buyer) = app.fan().hold_seats(GUARDED, &["stalls-C-1", "stalls-C-2"]).await;
    let path = format!("{}/extend", hold_path(&hold));
    app.fan().post(&path, json!({})).await.problem(404, "not-found");

    // As if it had been made 300 seconds ago: 600 more would be 900.
    let id: uuid::Uuid = hold["hold"].as_str().unwrap().parse().unwrap();
    sqlx::query(
        "update hold set created_at = created_at - interval '300 s', expires_at = expires_at - interval '300 s'
         where hold_id = $1",
    )
    .bind(id)
    .execute(app.db())
    .await
    .unwrap();
    let nothing = json!({});
    let answers = join_all((0..8).map(|_| buyer.post_once("once", &path, &nothing))).await;
    let extended = answers.iter().find(|answer| answer.status == 200).expect("one of them").json();
    // It was to end 600 s after the test began, now 700 s after its making.
    assert_eq!(until(&extended).duration_since(until(&hold)).as_secs(), -200);
    for answer in &answers {
        if answer.status == 200 {
            assert_eq!(answer.json(), extended);
        } else {
            answer.problem(409, "in-flight");
        }
    }
    assert_eq!(buyer.post_once("once", &path, &json!({})).await.expect(200), extended);
    buyer.post(&path, json!({})).await.problem(409, "state-conflict");

    // The seats go with it: nobody gets them before, anybody after.
    app.fan().hold(GUARDED, json!({ "seats": ["stalls-C-1"] })).await.problem(409, "seats-taken");
    let agree: bool = sqlx::query_scalar(
        "select bool_and(s.expires_at = h.expires_at) from seat s join hold h using (event_id, hold_id)",
    )
    .fetch_one(app.db())
    .await
    .unwrap();
    assert!(agree);
    lapse(&app, &hold).await;
    buyer.post(&path, json!({})).await.problem(410, "hold-expired");
    app.fan().hold_seats(GUARDED, &["stalls-C-1"]).await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_of_areas_too_and_never_what_is_sold() {
    let app = TestApp::start().await;
    let hold = app
        .stranger()
        .hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 50 }] }))
        .await
        .problem(422, "limit-exceeded");
    assert_eq!(hold["limit"], 10);
    let hold = app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 10 }] })).await.expect(201);
    let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    let extended = buyer.post(&format!("{}/extend", hold_path(&hold)), json!({})).await.expect(200);
    assert!(until(&extended) > until(&hold));
    let agree: bool = sqlx::query_scalar(
        "select bool_and(a.expires_at = h.expires_at) from hold_area a join hold h using (event_id, hold_id)",
    )
    .fetch_one(app.db())
    .await
    .unwrap();
    assert!(agree);
    let booking = buyer.book(&extended).await.expect(201);
    assert_eq!(buyer.pay(&booking, "tok_ok").await.expect(200)["state"], "confirmed");
    buyer.post(&format!("{}/extend", hold_path(&hold)), json!({})).await.problem(409, "state-conflict");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_hold_is_told_as_it_was_made() {
    let app = TestApp::start().await;
    let fan = app.fan();
    let path = format!("/v1/events/{GUARDED}/holds");
    let body = json!({ "seats": ["stalls-C-1"] });
    let first = fan.post_once("key", &path, &body).await;
    let hold = first.expect(201);
    fan.post(&format!("{}/extend", hold_path(&hold)), json!({})).await.expect(200);
    let again = fan.post_once("key", &path, &body).await;
    assert_eq!((again.text.as_str(), again.header("idempotency-replayed")), (first.text.as_str(), Some("true")));
    fan.delete(&hold_path(&hold)).await.expect(204);
    assert_eq!(fan.post_once("key", &path, &body).await.text, first.text);
    app.check().await;
}
