//! Goal: each attempt to pay comes to its own end, told truly, and only the one that sold costs money. Method:
//! attempts that come late, stay open, or are asked for again; in the end tables and ledger must agree.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use booking::payments::{PaymentProvider, ProviderError, Sandbox};
use booking_domain::{Currency, Money};
use reqwest::Method;
use serde_json::{Value, json};

use crate::money::{SHORT, booked, faulty, looked, settled, sold_and_not_captured, taken};
use crate::support::{OPEN, Options, TestApp, path_of, payment, until, value, waiting};

/// The first attempt reaches the provider only now.
pub(crate) async fn arrive_late(app: &TestApp, booking: &Value, captured: bool) {
    let reference = format!("{}/1", booking["booking"].as_str().unwrap());
    let amount = &booking["total"]["amount"];
    let late =
        json!({ "reference": reference, "amount": amount, "currency": "EUR", "token": "tok_ok", "webhook_url": null });
    let post = |path: String, body: Value| {
        app.client
            .post(format!("{}{path}", app.psp))
            .header("idempotency-key", format!("late {reference} {path}"))
            .json(&body)
            .send()
    };
    let made: Value = post("/v1/payments".to_owned(), late).await.unwrap().json().await.unwrap();
    if captured {
        let path = format!("/v1/payments/{}/capture", made["payment"].as_str().unwrap());
        assert_eq!(post(path, json!({ "amount": amount })).await.unwrap().status(), 200);
    }
}

pub(crate) async fn look_now(app: &TestApp, attempt: i32) {
    let due = "update payment set check_at = clock_timestamp() where attempt = $1";
    sqlx::query(due).bind(attempt).execute(app.db()).await.unwrap();
}

pub(crate) async fn reaches(app: &TestApp, attempt: i32, state: &str) {
    until(&format!("attempt {attempt} is {state}"), || async {
        let query = "select state from payment where attempt = $1";
        let now: String = sqlx::query_scalar(query).bind(attempt).fetch_one(app.db()).await.unwrap();
        (now == state).then_some(())
    })
    .await;
}

/// A connection whose open transaction keeps others waiting.
async fn locking(app: &TestApp, lock: &'static str) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
    let mut conn = app.db().acquire().await.unwrap();
    for statement in ["begin", lock] {
        sqlx::query(statement).execute(&mut *conn).await.unwrap();
    }
    conn
}

async fn release(mut busy: sqlx::pool::PoolConnection<sqlx::Postgres>) {
    sqlx::query("rollback").execute(&mut *busy).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_attempt_that_turns_up_after_the_sale_costs_nothing() {
    for captured in [false, true] {
        let (app, faults) = faulty().await;
        let (booking, buyer) = booked(&app, "stalls-C-1").await;
        let path = format!("{}/confirm", path_of(&booking));
        faults.lose_authorisations.store(true, Ordering::SeqCst);
        buyer.post_once("first", &path, &payment("tok_ok")).await.expect(202);
        settled(&buyer, &booking, "held", "failed").await;
        faults.lose_authorisations.store(false, Ordering::SeqCst);
        buyer.pay(&booking, "tok_ok").await.expect(200);
        arrive_late(&app, &booking, captured).await;
        look_now(&app, 1).await;
        reaches(&app, 1, if captured { "refunded" } else { "voided" }).await;
        settled(&buyer, &booking, "confirmed", "captured").await;
        assert_eq!(taken(&app).await, 4350, "charged once");
        // The first request did not pay, although the booking is paid for.
        let told = buyer.post_once("first", &path, &payment("tok_ok")).await.problem(402, "payment-declined");
        assert_eq!(told["detail"], "the payment did not go through; nothing was charged");
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refund_of_an_earlier_attempt_is_not_that_of_the_booking() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorisations.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(202);
    settled(&buyer, &booking, "held", "failed").await;
    faults.lose_authorisations.store(false, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(200);
    arrive_late(&app, &booking, true).await;
    let second = format!("{}/2", booking["booking"].as_str().unwrap());
    *faults.lose_questions_of.lock().unwrap() = Some(second.clone());
    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
    until("its refund came to nothing", || async { (faults.unanswered(&second) > 0).then_some(()) }).await;
    look_now(&app, 1).await;
    reaches(&app, 1, "refunded").await;
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["state"], "cancelled", "its own money is not back");
    *faults.lose_questions_of.lock().unwrap() = None;
    look_now(&app, 2).await;
    settled(&buyer, &booking, "refunded", "refunded").await;
    assert_eq!(taken(&app).await, 0);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_is_followed_up_until_its_money_is_there() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = sold_and_not_captured(&app, &faults).await;
    faults.lose_captures.store(false, Ordering::SeqCst);
    faults.forget_references.store(true, Ordering::SeqCst);
    faults.forget_payments.store(true, Ordering::SeqCst);
    look_now(&app, 1).await;
    looked(&app).await;
    let open: bool = value(app.db(), "select check_at is not null from payment").await;
    assert!(open, "an empty answer does not end the follow-up");
    // The provider's own id finds it.
    faults.forget_payments.store(false, Ordering::SeqCst);
    look_now(&app, 1).await;
    settled(&buyer, &booking, "confirmed", "captured").await;
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_provider_does_not_finish_ends_at_the_deadline() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.report_processing.store(true, Ordering::SeqCst);
    let path = format!("{}/confirm", path_of(&booking));
    buyer.post_once("key", &path, &payment("tok_ok")).await.expect(202);
    settled(&buyer, &booking, "held", "failed").await;
    buyer.post_once("key", &path, &payment("tok_ok")).await.problem(402, "payment-declined");
    // It ends after all, and the seats are still the buyer's to have.
    faults.report_processing.store(false, Ordering::SeqCst);
    settled(&buyer, &booking, "confirmed", "captured").await;
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_of_another_amount_sells_nothing_and_is_shown() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.report_other_amounts.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(202);
    let alarms = || async {
        let alarmed = booking::storage::alarms::list(app.db(), 10).await.unwrap();
        (!alarmed.is_empty()).then_some(alarmed)
    };
    let alarms = until("somebody is called", alarms).await;
    assert_eq!(alarms[0].why, "the provider has 4351 EUR, asked for were 4350 EUR");
    settled(&buyer, &booking, "held", "voided").await;
    assert_eq!(taken(&app).await, 0);
    faults.report_other_amounts.store(false, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(200);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_that_paid_nothing_is_not_answered_as_done() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    // The reconciler gives the payment up while its request is still on the way.
    faults.delay_authorise_ms.store(2000, Ordering::SeqCst);
    faults.lose_authorisations.store(true, Ordering::SeqCst);
    let told = buyer.pay(&booking, "tok_ok").await.problem(402, "payment-declined");
    assert!(told["detail"].as_str().unwrap().starts_with("the payment was not confirmed in time"), "{told}");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_confirmation_of_a_late_voided_payment_paid_nothing() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    let path = format!("{}/confirm", path_of(&booking));
    faults.lose_authorisations.store(true, Ordering::SeqCst);
    buyer.post_once("key", &path, &payment("tok_ok")).await.expect(202);
    settled(&buyer, &booking, "held", "failed").await;
    buyer.delete(&format!("/v1/events/{OPEN}/holds/{}", booking["hold"].as_str().unwrap())).await.expect(204);
    arrive_late(&app, &booking, false).await;
    look_now(&app, 1).await;
    settled(&buyer, &booking, "cancelled", "voided").await;
    buyer.post_once("key", &path, &payment("tok_ok")).await.problem(402, "payment-declined");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_goes_away_still_pays() {
    // No jobs: nobody else would finish it.
    let options = Options { set: SHORT.to_vec(), faults: Some(Arc::default()), jobs: false, ..Options::default() };
    let app = TestApp::with(options).await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    let busy = locking(&app, "select 1 from booking for update").await;
    let request = buyer.request(Method::POST, &format!("{}/confirm", path_of(&booking)));
    let gone = request.json(&payment("tok_ok")).timeout(Duration::from_millis(300)).send().await;
    assert!(gone.unwrap_err().is_timeout());
    release(busy).await;
    // An orderly stop waits for it.
    app.services.tasks.close();
    tokio::time::timeout(Duration::from_secs(10), app.services.tasks.wait()).await.unwrap();
    settled(&buyer, &booking, "confirmed", "captured").await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_lapses_while_it_is_being_paid_still_counts() {
    let set = vec!["holds.ttl_s=1", "holds.max_seats_per_visitor=1", "payments.answer_within_ms=10000"];
    let app = TestApp::with(Options { set, ..Options::default() }).await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    let beside = app.beside().await;
    let busy = locking(&app, "select 1 from seat where seat = 'stalls-C-1' for update").await;
    let another = async {
        // The confirmation has found its hold alive; now the time runs out.
        waiting(&beside, 1).await;
        until("the hold has lapsed", || async {
            value::<bool>(&beside, "select expires_at <= clock_timestamp() from hold").await.then_some(())
        })
        .await;
        let hold = buyer.hold(OPEN, json!({ "seats": ["stalls-C-2"] }));
        let release = async {
            waiting(&beside, 2).await;
            release(busy).await;
        };
        tokio::join!(hold, release).0
    };
    let (paid, held) = tokio::join!(buyer.pay(&booking, "tok_ok"), another);
    paid.expect(200);
    held.problem(422, "limit-exceeded");
    beside.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_refusal_for_good_is_one() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (status, for_good) in [(401, false), (403, false), (404, false), (409, false), (400, true), (422, true)] {
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        let routes = axum::Router::new().fallback(move || async move { status });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let provider = Sandbox::new(&url, reqwest::Client::new(), Duration::from_secs(5));
        let money = Money::new(100, Currency::from_code("EUR").unwrap());
        let error = provider.capture("pay_1", money).await.unwrap_err();
        assert_eq!(matches!(error, ProviderError::Refused { .. }), for_good, "{status}");
        assert_eq!(provider.get("pay_1").await.is_ok_and(|none| none.is_none()), status == 404);
        server.abort();
    }
}
