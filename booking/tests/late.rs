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
pub(crate) async fn given_up<'a>(
    app: &'a TestApp,
    faults: &Faults,
    seat: &str,
    accept_equal: bool,
) -> (Value, Fan<'a>) {
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

pub(crate) async fn expired(app: &TestApp, booking: &Value) {
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

/// Pays a part of the first attempt back by another hand than ours.
async fn pay_back_by_hand(app: &TestApp, amount: i64) {
    let path = format!("{}/v1/payments/{}/refunds", app.psp, app.ledger().await[0]["payment"].as_str().unwrap());
    let request = app.client.post(path).header("idempotency-key", "by hand").json(&json!({ "amount": amount }));
    assert_eq!(request.send().await.unwrap().status(), 200);
}

/// Has every alarm written down from now on, also those that are over soon.
async fn note_alarms(app: &TestApp) {
    for statement in [
        "create table noted (alarm text)",
        "create function note_alarm() returns trigger language plpgsql as
         'begin insert into noted values (new.alarm); return null; end'",
        "create trigger note_alarm after update on payment for each row when (new.alarm is not null)
         execute function note_alarm()",
    ] {
        sqlx::query(statement).execute(app.db()).await.unwrap();
    }
}

async fn alarms(app: &TestApp) -> Vec<String> {
    sqlx::query_scalar("select alarm from noted").fetch_all(app.db()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_money_that_shows_bit_by_bit_goes_back_bit_by_bit() {
    let (app, faults) = faulty().await;
    note_alarms(&app).await;
    let (booking, buyer) = given_up(&app, &faults, "stalls-C-1", false).await;
    expired(&app, &booking).await;
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    // At first it seems that less was taken; what else was taken is another refund.
    faults.report_captured.store(1000, Ordering::SeqCst);
    arrive_late(&app, &booking, true).await;
    look_now(&app, 1).await;
    settled(&buyer, &booking, "expired", "refunded").await;
    let refunded = &app.ledger().await[0]["refunded"];
    assert_eq!((taken(&app).await, refunded, alarms(&app).await), (0, &json!(4350), vec![]));
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_money_of_which_a_part_went_back_buys_nothing() {
    let (app, faults) = faulty().await;
    note_alarms(&app).await;
    let (booking, buyer) = given_up(&app, &faults, "stalls-C-1", false).await;
    arrive_late(&app, &booking, true).await;
    pay_back_by_hand(&app, 1000).await;
    look_now(&app, 1).await;
    settled(&buyer, &booking, "held", "refunded").await;
    assert_eq!((taken(&app).await, alarms(&app).await), (0, vec![]));
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_by_an_old_picture_is_made_by_a_new_one() {
    let (app, faults) = faulty().await;
    note_alarms(&app).await;
    let (booking, buyer) = given_up(&app, &faults, "stalls-C-1", false).await;
    expired(&app, &booking).await;
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    arrive_late(&app, &booking, true).await;
    pay_back_by_hand(&app, 1000).await;
    // More is asked for than is left, which is refused; a person need not look.
    faults.refuse_refunds.store(true, Ordering::SeqCst);
    faults.old_answers.store(1, Ordering::SeqCst);
    look_now(&app, 1).await;
    settled(&buyer, &booking, "expired", "refunded").await;
    assert_eq!((faults.old_answers.load(Ordering::SeqCst), taken(&app).await), (0, 0));
    assert_eq!(alarms(&app).await, Vec::<String>::new());
    app.check().await;
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
    for (cap, least, most) in [("holds.max_life_s=600", 100, 121), ("holds.max_life_s=30", 20, 31)] {
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

/// Waits until the clock of the database has passed this.
async fn passed(app: &TestApp, moment: &Value) {
    let moment: jiff::Timestamp = moment.as_str().unwrap().parse().unwrap();
    until("its first end has passed", || async {
        let query = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
        let now_us: i64 = sqlx::query_scalar(query).fetch_one(app.db()).await.unwrap();
        (now_us > moment.as_microsecond()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_that_is_prolonged_is_nobody_else_s_at_its_first_end() {
    for is_down in [false, true] {
        let faults = std::sync::Arc::new(Faults::default());
        let set = vec![
            "holds.ttl_s=4",
            "holds.max_life_s=600",
            "checkout.retry_s=120",
            "checkout.breaker_failures=1",
            "checkout.breaker_pause_ms=600000",
        ];
        let options = Options { set, faults: Some(std::sync::Arc::clone(&faults)), ..Options::default() };
        let app = TestApp::with(options).await;
        let other = app.second_node().await;
        let hold = app.stranger().hold(OPEN, json!({ "best": { "quantity": 1 } })).await.expect(201);
        let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
        let booking = buyer.book(&hold).await.expect(201);
        // Both nodes know the hold as it was made.
        let taken = json!({ "seats": [hold["seats"][0]["seat"]] });
        app.stranger().at(&other).hold(OPEN, taken.clone()).await.problem(409, "seats-taken");
        if is_down {
            faults.lose_questions.store(true, Ordering::SeqCst);
            assert!(app.services.provider.find("nobody").await.is_err());
            buyer.pay(&booking, "tok_ok").await.problem(503, "unavailable");
        } else {
            buyer.pay(&booking, "tok_declined").await.problem(402, "payment-declined");
        }
        passed(&app, &hold["expires_at"]).await;
        for node in [&app.url, &other] {
            let stranger = app.stranger().at(node);
            stranger.hold(OPEN, taken.clone()).await.problem(409, "seats-taken");
            // Nor is it chosen as the best, again and again.
            let best = stranger.hold(OPEN, json!({ "best": { "quantity": 1 } })).await.expect(201);
            assert_ne!(best["seats"][0]["seat"], hold["seats"][0]["seat"]);
        }
        assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["state"], "held");
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
