//! Goal: never money without seats or seats without money, however the provider behaves. Method: a provider
//! that loses answers on command in front of the real one; in the end tables and ledger must agree.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::support::{Fan, Faults, OPEN, Options, TestApp, path_of, payment, until, value};

/// Deadlines short enough to wait for.
pub(crate) const SHORT: [&str; 3] =
    ["payments.provider_timeout_ms=500", "payments.pending_s=1", "payments.answer_within_ms=3000"];

pub(crate) async fn faulty() -> (TestApp, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let options = Options { set: SHORT.to_vec(), faults: Some(Arc::clone(&faults)), jobs: true, ..Options::default() };
    (TestApp::with(options).await, faults)
}

pub(crate) async fn booked<'a>(app: &'a TestApp, seat: &str) -> (Value, Fan<'a>) {
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &[seat]).await;
    (buyer.book(&hold).await.expect(201), buyer)
}

/// A sale whose capture never reached the provider; nor does another, until the fault is taken back.
pub(crate) async fn sold_and_not_captured<'a>(app: &'a TestApp, faults: &Faults) -> (Value, Fan<'a>) {
    let (booking, buyer) = booked(app, "stalls-C-1").await;
    faults.lose_captures.store(true, Ordering::SeqCst);
    assert_eq!(buyer.pay(&booking, "tok_ok").await.expect(200)["payment"]["state"], "authorized");
    (booking, buyer)
}

/// Waits until a look at the only payment has ended that began after this: the next one has begun then.
pub(crate) async fn looked(app: &TestApp) {
    let checks = || value::<i32>(app.db(), "select checks from payment");
    let before = checks().await;
    until("two looks have begun", || async { (checks().await >= before + 2).then_some(()) }).await;
}

pub(crate) async fn settled(buyer: &Fan<'_>, booking: &Value, state: &str, payment: &str) {
    until(&format!("{state} and {payment}"), || async {
        let now = buyer.get(&path_of(booking)).await.expect(200);
        (now["state"] == state && now["payment"]["state"] == payment).then_some(())
    })
    .await;
}

/// Captured money of the ledger that was not paid back.
pub(crate) async fn taken(app: &TestApp) -> i64 {
    let amount = |p: &Value| p["captured"].as_i64().unwrap() - p["refunded"].as_i64().unwrap();
    app.ledger().await.iter().map(amount).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorisation_whose_answer_was_lost_becomes_the_sale() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorise_answers.store(true, Ordering::SeqCst);
    let path = format!("{}/confirm", path_of(&booking));
    let answer = buyer.post_once("key", &path, &payment("tok_ok")).await;
    assert_eq!(answer.expect(202)["state"], "payment_pending");
    assert_eq!(answer.header("retry-after"), Some("1"));
    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.problem(409, "state-conflict");
    settled(&buyer, &booking, "confirmed", "captured").await;
    // The same request again is answered by what came of it.
    let again = buyer.post_once("key", &path, &payment("tok_ok")).await;
    assert_eq!(again.expect(200)["state"], "confirmed");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!((taken(&app).await, app.ledger().await.len()), (4350, 1));
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decline_whose_answer_was_lost_gives_the_seats_back_to_the_hold() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorise_answers.store(true, Ordering::SeqCst);
    let path = format!("{}/confirm", path_of(&booking));
    buyer.post_once("key", &path, &payment("tok_declined")).await.expect(202);
    settled(&buyer, &booking, "held", "declined").await;
    buyer.post_once("key", &path, &payment("tok_declined")).await.problem(402, "payment-declined");
    faults.lose_authorise_answers.store(false, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(200);
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_was_never_made_is_given_up_after_its_deadline() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorisations.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(202);
    settled(&buyer, &booking, "held", "failed").await;
    faults.lose_authorisations.store(false, Ordering::SeqCst);
    let paid = buyer.pay(&booking, "tok_ok").await.expect(200);
    assert_eq!(paid["payment"]["attempt"], 2);
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_stay_pending_while_nobody_can_be_asked() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorise_answers.store(true, Ordering::SeqCst);
    faults.lose_questions.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(202);
    // Past the deadline, and somebody has looked since: the seats are nobody's to take.
    until("the deadline is past", || async {
        value::<bool>(app.db(), "select deadline < clock_timestamp() from payment").await.then_some(())
    })
    .await;
    looked(&app).await;
    app.stranger().hold(OPEN, json!({ "seats": ["stalls-C-1"] })).await.problem(409, "seats-taken");
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["state"], "payment_pending");
    faults.lose_questions.store(false, Ordering::SeqCst);
    // The reconciler's lease of the last look has to run out first.
    sqlx::query("update payment set check_at = clock_timestamp()").execute(app.db()).await.unwrap();
    settled(&buyer, &booking, "confirmed", "captured").await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_whose_answer_was_lost_is_made_once() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_capture_answers.store(1, Ordering::SeqCst);
    assert_eq!(buyer.pay(&booking, "tok_ok").await.expect(200)["state"], "confirmed");
    sqlx::query("update payment set check_at = clock_timestamp() where check_at is not null")
        .execute(app.db())
        .await
        .unwrap();
    settled(&buyer, &booking, "confirmed", "captured").await;
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_capture_undoes_the_sale() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.refuse_captures.store(true, Ordering::SeqCst);
    // Neither now nor later is anybody told that this was a sale.
    let path = format!("{}/confirm", path_of(&booking));
    let told = buyer.post_once("key", &path, &payment("tok_ok")).await;
    assert!(told.problem(402, "payment-declined")["detail"].as_str().unwrap().contains("nothing was charged"));
    assert_eq!(buyer.post_once("key", &path, &payment("tok_ok")).await.text, told.text);
    // What is left of the authorisation is given back.
    settled(&buyer, &booking, "failed", "voided").await;
    assert_eq!(app.ledger().await[0]["status"], "voided");
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["tickets"], json!([]));
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    assert_eq!(taken(&app).await, 0);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_may_still_turn_is_not_kept_as_the_answer() {
    for (refused, state, payment_state) in [(true, "failed", "voided"), (false, "confirmed", "captured")] {
        let faults = Arc::new(Faults::default());
        // Its deadline is far.
        let set = vec!["payments.provider_timeout_ms=500", "payments.pending_s=60"];
        let options = Options { set, faults: Some(Arc::clone(&faults)), jobs: true, ..Options::default() };
        let app = TestApp::with(options).await;
        let (booking, buyer) = booked(&app, "stalls-C-1").await;
        faults.lose_captures.store(true, Ordering::SeqCst);
        let path = format!("{}/confirm", path_of(&booking));
        let told = buyer.post_once("key", &path, &payment("tok_ok")).await.expect(200);
        assert_eq!((&told["state"], &told["payment"]["state"]), (&json!("confirmed"), &json!("authorized")));
        buyer.post_once("key", &path, &payment("tok_ok")).await.problem(409, "in-flight");
        faults.refuse_captures.store(refused, Ordering::SeqCst);
        faults.lose_captures.store(false, Ordering::SeqCst);
        sqlx::query("update payment set check_at = clock_timestamp()").execute(app.db()).await.unwrap();
        settled(&buyer, &booking, state, payment_state).await;
        let again = buyer.post_once("key", &path, &payment("tok_ok")).await;
        if refused {
            again.problem(402, "payment-declined");
        } else {
            assert_eq!(again.expect(200)["tickets"], told["tickets"]);
        }
        assert_eq!(buyer.post_once("key", &path, &payment("tok_ok")).await.text, again.text);
        assert_eq!(taken(&app).await, if refused { 0 } else { 4350 });
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_began_another_finishes() {
    // A node whose payment task dies right after the authorisation: its answer is lost and it runs no jobs.
    let faults = Arc::new(Faults::default());
    let options = Options { set: SHORT.to_vec(), faults: Some(Arc::clone(&faults)), jobs: false, ..Options::default() };
    let app = TestApp::with(options).await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorise_answers.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(202);
    let (stop, tracker) = (tokio_util::sync::CancellationToken::new(), tokio_util::task::TaskTracker::new());
    booking::jobs::start(&app.services, &tracker, &stop);
    settled(&buyer, &booking, "confirmed", "captured").await;
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    app.check().await;
}
