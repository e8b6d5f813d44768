//! Goal: money that comes late buys the same seats, else equal ones if the buyer allowed it, else goes back; once,
//! however many look. Method: attempts that reach the provider after they were given up, with seats that are
//! held, free, or somebody else's by then.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::attempts::{arrive_late, look_now};
use crate::holds::lapse;
use crate::money::{SHORT, booked, faulty, settled, taken};
use crate::support::{Fan, Faults, OPEN, Options, TestApp, path_of, payment, until};

/// A booking whose first attempt was given up; holds live for two seconds, and are not prolonged.
async fn given_up<'a>(app: &'a TestApp, faults: &Faults, seat: &str, accept_equal: bool) -> (Value, Fan<'a>) {
    let (booking, buyer) = booked(app, seat).await;
    faults.lose_authorisations.store(true, Ordering::SeqCst);
    let mut body = payment("tok_ok");
    body["accept_equal"] = json!(accept_equal);
    // On a busy machine the deadline is over before the answer.
    let told = buyer.post(&format!("{}/confirm", path_of(&booking)), body).await;
    assert!([202, 402].contains(&told.status.as_u16()), "{}", told.text);
    settled(&buyer, &booking, "held", "failed").await;
    faults.lose_authorisations.store(false, Ordering::SeqCst);
    (booking, buyer)
}

async fn expired(app: &TestApp, booking: &Value) {
    lapse(app, &json!({ "hold": booking["hold"] })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_money_buys_the_seats_that_are_still_held() {
    for captured in [false, true] {
        let (app, faults) = faulty().await;
        let (booking, buyer) = given_up(&app, &faults, "stalls-C-1", false).await;
        arrive_late(&app, &booking, captured).await;
        look_now(&app, 1).await;
        settled(&buyer, &booking, "confirmed", "captured").await;
        let now = buyer.get(&path_of(&booking)).await.expect(200);
        assert_eq!((now["tickets"].as_array().unwrap().len(), &now["seats"][0]["seat"]), (1, &json!("stalls-C-1")));
        assert_eq!(taken(&app).await, 4350);
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_money_buys_the_same_seats_back_when_nobody_took_them() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = given_up(&app, &faults, "stalls-C-1", false).await;
    expired(&app, &booking).await;
    until("swept", || async { (buyer.get(&path_of(&booking)).await.expect(200)["state"] == "expired").then_some(()) })
        .await;
    arrive_late(&app, &booking, false).await;
    // Several look at once: the reconciler of this node, that of another, a callback.
    look_now(&app, 1).await;
    let services = app.services.background();
    let key: booking::storage::payments::PaymentRow = booking::storage::payments::of_callback(
        app.db(),
        "sandbox",
        Some(&format!("{}/1", booking["booking"].as_str().unwrap())),
        None,
    )
    .await
    .unwrap()
    .unwrap();
    let looks = (0..8).map(|_| booking::app::settle_payment::reconcile(&services, &key));
    for look in futures_util::future::join_all(looks).await {
        look.unwrap();
    }
    settled(&buyer, &booking, "confirmed", "captured").await;
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_money_for_seats_that_are_gone_goes_back() {
    for captured in [false, true] {
        let (app, faults) = faulty().await;
        let (booking, buyer) = given_up(&app, &faults, "stalls-C-1", false).await;
        expired(&app, &booking).await;
        app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
        arrive_late(&app, &booking, captured).await;
        look_now(&app, 1).await;
        settled(&buyer, &booking, "expired", if captured { "refunded" } else { "voided" }).await;
        assert_eq!(taken(&app).await, 0);
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_money_buys_equal_seats_when_the_buyer_allowed_it() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = given_up(&app, &faults, "stalls-C-1", true).await;
    expired(&app, &booking).await;
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    arrive_late(&app, &booking, false).await;
    look_now(&app, 1).await;
    settled(&buyer, &booking, "confirmed", "captured").await;
    let now = buyer.get(&path_of(&booking)).await.expect(200);
    assert_ne!(now["seats"][0]["seat"], "stalls-C-1");
    assert_eq!(now["seats"][0]["price"], booking["seats"][0]["price"]);
    assert_eq!(now["tickets"][0]["seat"], now["seats"][0]["seat"]);
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_money_does_not_pass_the_limit_of_its_buyer() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = given_up(&app, &faults, "stalls-C-1", false).await;
    expired(&app, &booking).await;
    buyer.hold(OPEN, json!({ "areas": [{ "area": "pit", "quantity": 10 }] })).await.expect(201);
    arrive_late(&app, &booking, false).await;
    look_now(&app, 1).await;
    settled(&buyer, &booking, "expired", "voided").await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_payment_near_expiry_leaves_time_to_try_again_under_the_cap() {
    let expiry = |booking: &Value| booking["expires_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    for (cap, least, most) in [("checkout.hold_cap_s=600", 100, 121), ("checkout.hold_cap_s=30", 20, 31)] {
        let set = vec!["holds.ttl_s=20", cap, "checkout.retry_s=120"];
        let app = TestApp::with(Options { set, jobs: true, ..Options::default() }).await;
        let (booking, buyer) = booked(&app, "stalls-C-1").await;
        buyer.pay(&booking, "tok_declined").await.problem(402, "payment-declined");
        let now = buyer.get(&path_of(&booking)).await.expect(200);
        let left = expiry(&now).duration_since(jiff::Timestamp::now()).as_secs();
        assert!((least..=most).contains(&left), "{cap}: {left} s are left");
        buyer.pay(&booking, "tok_ok").await.expect(200);
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_are_not_pending_beyond_the_cap_while_nobody_can_be_asked() {
    let faults = std::sync::Arc::new(Faults::default());
    let mut set = SHORT.to_vec();
    set.push("checkout.pending_cap_s=2");
    let options = Options { set, faults: Some(std::sync::Arc::clone(&faults)), jobs: true, ..Options::default() };
    let app = TestApp::with(options).await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorise_answers.store(true, Ordering::SeqCst);
    faults.lose_questions.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(202);
    settled(&buyer, &booking, "held", "failed").await;
    // The money is not forgotten: it buys the seats as soon as somebody answers.
    faults.lose_questions.store(false, Ordering::SeqCst);
    look_now(&app, 1).await;
    settled(&buyer, &booking, "confirmed", "captured").await;
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}
