//! Goal: callbacks are believed by their signature alone, taken once each, and have one effect in any order and
//! number. Method: the real provider tells them, and this test sends them again, in all orders, late, forged.

use std::sync::atomic::Ordering;

use booking::app::receive_callback::work_off;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::money::{booked, faulty, settled, taken};
use crate::support::{Options, TestApp, path_of, until};

const HOOK: &str = "/v1/payments/sandbox/webhook";

/// Has the provider tell this node everything.
async fn listen(app: &TestApp) {
    let endpoint = json!({ "urls": [format!("{}{HOOK}", app.url)], "events": "all" });
    let put = app.client.put(format!("{}/v1/webhook-endpoint", app.psp)).json(&endpoint);
    assert!(put.send().await.unwrap().status().is_success());
}

fn signed(body: &str, at_s: i64) -> String {
    signed_with("whsec_test", body, at_s)
}

/// The signature of a body by a provider that knows this secret.
pub(crate) fn signed_with(secret: &str, body: &str, at_s: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at_s}.{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at_s},v1={hex}")
}

fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

async fn call(app: &TestApp, body: &str, signature: &str) -> StatusCode {
    let request = app.client.post(format!("{}{HOOK}", app.url)).header("sandbox-signature", signature);
    request.body(body.to_owned()).send().await.unwrap().status()
}

/// A callback as the provider writes it.
fn told(id: &str, kind: &str, payment: &Value) -> String {
    json!({ "id": id, "type": kind, "created": now_s(), "data": { "payment": payment } }).to_string()
}

async fn count(app: &TestApp, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(app.db()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_provider_tells_settles_a_payment_without_asking_again_and_again() {
    // The reconciler looks once an hour: only callbacks can be as quick as this.
    let set = vec!["jobs.reconcile_every_ms=3600000"];
    for (token, state, payment) in [("tok_async_ok", "confirmed", "captured"), ("tok_async_fail", "held", "declined")] {
        let app = TestApp::with(Options { set: set.clone(), jobs: true, ..Options::default() }).await;
        listen(&app).await;
        let (booking, buyer) = booked(&app, "stalls-C-1").await;
        let first = buyer.pay(&booking, token).await;
        assert!([200, 202, 402].contains(&first.status.as_u16()), "{}", first.text);
        settled(&buyer, &booking, state, payment).await;
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubled_and_reordered_callbacks_have_one_effect() {
    for token in ["tok_duplicate_webhooks", "tok_reordered_webhooks"] {
        let app = TestApp::start().await;
        listen(&app).await;
        let (booking, buyer) = booked(&app, "stalls-C-1").await;
        let first = buyer.pay(&booking, token).await;
        assert!([200, 202].contains(&first.status.as_u16()), "{}", first.text);
        settled(&buyer, &booking, "confirmed", "captured").await;
        until("they were told", || async {
            (count(&app, "select count(*) from provider_event where due_at is null").await > 0).then_some(())
        })
        .await;
        assert_eq!(taken(&app).await, 4350);
        assert_eq!(count(&app, "select count(*) from ticket").await, 1);
        assert_eq!(count(&app, "select count(*) from outbox where topic = 'booking.confirmed'").await, 1);
        app.check().await;
    }
}

/// All orders of these.
fn orders(items: &[usize]) -> Vec<Vec<usize>> {
    if items.len() < 2 {
        return vec![items.to_vec()];
    }
    let mut all = Vec::new();
    for at in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(at);
        all.extend(orders(&rest).into_iter().map(|mut order| {
            order.insert(0, first);
            order
        }));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_of_callbacks_ends_the_same() {
    let (app, faults) = faulty().await;
    let seats: Vec<String> =
        (1..=6).flat_map(|n| ["A", "B", "C", "D"].map(|row| format!("stalls-{row}-{n}"))).collect();
    let kinds = ["payment.processing", "payment.authorized", "payment.captured", "payment.declined"];
    faults.lose_authorise_answers.store(true, Ordering::SeqCst);
    for (order, seat) in orders(&[0, 1, 2, 3]).into_iter().zip(&seats) {
        let (booking, buyer) = booked(&app, seat).await;
        buyer.pay(&booking, "tok_ok").await.expect(202);
        let reference = format!("{}/1", booking["booking"].as_str().unwrap());
        for kind in order {
            let payment = json!({ "payment": format!("unknown-{kind}"), "reference": reference, "status": "declined" });
            let body = told(&format!("evt {reference} {kind}"), kinds[kind], &payment);
            // Each of them twice, and each is answered at once.
            for _ in 0..2 {
                assert_eq!(call(&app, &body, &signed(&body, now_s())).await, 200);
            }
        }
        settled(&buyer, &booking, "confirmed", "captured").await;
    }
    let each = "select count(*) from provider_event";
    assert_eq!(count(&app, each).await, 24 * 4, "one row per event of the provider");
    assert_eq!(count(&app, "select count(*) from ticket where state = 'valid'").await, 24);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_altered_stale_and_strange_callbacks_change_nothing() {
    let app = TestApp::with(Options { jobs: false, ..Options::default() }).await;
    let body = told("evt 1", "payment.captured", &json!({ "payment": "pay_1", "reference": "nobody/1" }));
    assert_eq!(call(&app, &body, "t=1,v1=00").await, 400);
    assert_eq!(call(&app, &format!("{body} "), &signed(&body, now_s())).await, 400, "one byte more");
    assert_eq!(call(&app, &body, &signed(&body, now_s() - 3600)).await, 400, "an hour old");
    assert_eq!(call(&app, &body, "").await, 400);
    assert_eq!(count(&app, "select count(*) from provider_event").await, 0);
    // Signed, and about a payment of nobody: taken, and nothing comes of it.
    assert_eq!(call(&app, &body, &signed(&body, now_s())).await, 200);
    assert_eq!(work_off(&app.services).await.unwrap(), 1);
    assert_eq!(work_off(&app.services).await.unwrap(), 0);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_is_answered_while_checkout_has_every_connection() {
    let set = vec!["database.max_connections=2", "database.acquire_timeout_ms=3000"];
    let app = TestApp::with(Options { set, jobs: true, ..Options::default() }).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        busy.push(app.take_connection().await);
    }
    let body = told("evt 1", "payment.captured", &json!({ "payment": "pay_1", "reference": "nobody/1" }));
    let started = std::time::Instant::now();
    assert_eq!(call(&app, &body, &signed(&body, now_s())).await, 200);
    assert!(started.elapsed().as_millis() < 1500, "{:?}", started.elapsed());
    assert_eq!(app.stranger().get("/v1/events").await.status, 503, "requests have none");
    drop(busy);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_a_callback_tells_of_three_days_late_is_not_lost() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorisations.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(202);
    settled(&buyer, &booking, "held", "failed").await;
    faults.lose_authorisations.store(false, Ordering::SeqCst);
    // Long ago, and given up for good.
    let aged =
        "update payment set deadline = deadline - interval '3 days', created_at = created_at - interval '3 days',
                check_at = clock_timestamp()";
    sqlx::query(aged).execute(app.db()).await.unwrap();
    until("nobody looks any more", || async {
        (count(&app, "select count(*) from payment where check_at is null").await == 1).then_some(())
    })
    .await;
    buyer.delete(&format!("/v1/events/open-theatre/holds/{}", booking["hold"].as_str().unwrap())).await.expect(204);
    crate::attempts::arrive_late(&app, &booking, true).await;
    let reference = format!("{}/1", booking["booking"].as_str().unwrap());
    let body = told("evt late", "payment.captured", &json!({ "payment": "pay_x", "reference": reference }));
    assert_eq!(call(&app, &body, &signed(&body, now_s())).await, 200);
    settled(&buyer, &booking, "cancelled", "refunded").await;
    assert_eq!(taken(&app).await, 0);
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["tickets"], json!([]));
    app.check().await;
}
