//! Goal: what a policy promises goes back, to the cent and once; never more than was taken. Method: cancelling under
//! each tier, many refunds at once, an event that does not take place, with a provider that loses answers.

use std::sync::atomic::Ordering;

use booking::app::cancel_event::{cancel_batch, cancel_event};
use booking::app::refund_booking::{RefundRequest, refund_booking};
use booking::app::settle_payment::reconcile;
use booking::error::{Error, Refusal};
use booking::storage::refunds::Decided;
use booking::storage::{alarms, payments};
use serde_json::{Value, json};

use crate::money::{booked, faulty, settled, taken};
use crate::support::{CLUB, Fan, OPEN, Options, TestApp, path_of, until};

/// Tells the event's policy to new bookings of this test's database, before the first request.
async fn policy(app: &TestApp, tiers: Value) {
    let sql = "update event set refund_policy = $1 where event_id = $2";
    sqlx::query(sql).bind(tiers).bind(OPEN).execute(app.db()).await.unwrap();
}

/// A policy whose present tier gives this much back: the event is years away.
fn tier(percent: u8) -> Value {
    json!([{ "until_s": 0, "percent": percent }])
}

async fn paid<'a>(app: &'a TestApp, seat: &str) -> (Value, Fan<'a>) {
    let (booking, buyer) = booked(app, seat).await;
    buyer.pay(&booking, "tok_ok").await.expect(200);
    (booking, buyer)
}

fn request(booking: &Value, amount: i64, request: &str) -> RefundRequest {
    RefundRequest {
        event: OPEN.parse().unwrap(),
        booking: booking["booking"].as_str().unwrap().parse().unwrap(),
        amount,
        reason: "goodwill".to_owned(),
        request: request.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_half_or_nothing_comes_back_by_the_policy_of_the_day_of_booking() {
    for (percent, back, state, payment) in
        [(100, 4350, "refunded", "refunded"), (50, 2175, "refunded", "captured"), (0, 0, "cancelled", "captured")]
    {
        let app = TestApp::start().await;
        policy(&app, tier(percent)).await;
        let (booking, buyer) = paid(&app, "stalls-C-1").await;
        // What the organiser changes later takes nothing from anybody.
        policy(&app, tier(1)).await;
        let told = buyer.get(&path_of(&booking)).await.expect(200);
        assert_eq!(told["refund_policy"][0]["percent"], percent);
        buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
        settled(&buyer, &booking, state, payment).await;
        let now = buyer.get(&path_of(&booking)).await.expect(200);
        assert_eq!(now["payment"]["refund"]["amount"], back);
        assert_eq!(now["payment"]["refunded"]["amount"], back);
        assert_eq!(now["tickets"], json!([]));
        assert_eq!(taken(&app).await, 4350 - back);
        // The seat is free at once.
        app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_late_is_refused() {
    let app = TestApp::start().await;
    policy(&app, json!([{ "until_s": 100 * 365 * 86_400_i64, "percent": 100 }])).await;
    let (booking, buyer) = paid(&app, "stalls-C-1").await;
    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.problem(403, "forbidden");
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_event_that_does_not_take_place_all_comes_back_whoever_cancels_first() {
    let too_late = json!([{ "until_s": 100 * 365 * 86_400_i64, "percent": 100 }]);
    for tiers in [tier(0), tier(50), too_late] {
        // No jobs: nobody is faster than the buyer.
        let app = TestApp::with(Options::default()).await;
        policy(&app, tiers).await;
        let (booking, buyer) = paid(&app, "stalls-C-1").await;
        let (held, its_buyer) = booked(&app, "stalls-C-2").await;
        let event = OPEN.parse().unwrap();
        assert!(cancel_event(&app.services, &event, "the singer is ill").await.unwrap());
        for (booking, buyer) in [(&booking, &buyer), (&held, &its_buyer)] {
            for _ in 0..2 {
                buyer.post(&format!("{}/cancel", path_of(booking)), json!({})).await.expect(200);
            }
        }
        settled(&buyer, &booking, "refunded", "refunded").await;
        assert_eq!(taken(&app).await, 0);
        let progress = cancel_batch(&app.services, &event).await.unwrap();
        assert_eq!((progress.cancelled, progress.open, progress.finished), (2, 0, true), "each is counted once");
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_whose_money_went_back_before_ends_when_it_is_cancelled() {
    for (percent, by_organiser, payment) in [(100, false, "refunded"), (50, false, "captured"), (0, true, "refunded")] {
        let app = TestApp::start().await;
        policy(&app, tier(percent)).await;
        let (booking, buyer) = paid(&app, "stalls-C-1").await;
        let back = if payment == "refunded" { 4350 } else { 2175 };
        for (amount, name) in [(1000, "one"), (back - 1000, "two")] {
            refund_booking(&app.services, request(&booking, amount, name)).await.unwrap();
        }
        until("it went back", || async {
            let now = buyer.get(&path_of(&booking)).await.expect(200);
            (now["payment"]["refunded"]["amount"] == back).then_some(())
        })
        .await;
        settled(&buyer, &booking, "confirmed", payment).await;
        if by_organiser {
            assert!(cancel_event(&app.services, &OPEN.parse().unwrap(), "the singer is ill").await.unwrap());
        } else {
            buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
        }
        settled(&buyer, &booking, "refunded", payment).await;
        let topics: Vec<String> =
            sqlx::query_scalar("select topic from outbox order by seq").fetch_all(app.db()).await.unwrap();
        assert_eq!(topics, ["booking.confirmed", "booking.cancelled", "booking.refunded"]);
        assert_eq!(taken(&app).await, 4350 - back);
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_refund_before_the_capture_is_noted_is_paid_after_it() {
    let (app, faults) = faulty().await;
    policy(&app, tier(40)).await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_captures.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(200);
    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
    faults.lose_captures.store(false, Ordering::SeqCst);
    settled(&buyer, &booking, "refunded", "captured").await;
    assert_eq!(taken(&app).await, 4350 - 1740);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refunds_at_once_never_exceed_the_capture() {
    let app = TestApp::start().await;
    let (booking, buyer) = paid(&app, "stalls-C-1").await;
    let names: Vec<String> = (0..20).map(|n| format!("request {n}")).collect();
    let asked = names.iter().map(|name| refund_booking(&app.services, request(&booking, 1000, name)));
    let done = futures_util::future::join_all(asked).await;
    let granted = done.iter().filter(|one| matches!(one, Ok(Decided::New))).count();
    let refused = done.iter().filter(|one| matches!(one, Err(Error::Refused(Refusal::Conflict { .. })))).count();
    assert_eq!((granted, refused), (4, 16), "{done:?}");
    until("all four went back", || async { (taken(&app).await == 350).then_some(()) }).await;
    settled(&buyer, &booking, "confirmed", "captured").await;
    // The same request again is the same refund.
    let again = refund_booking(&app.services, request(&booking, 1000, "request 3")).await;
    assert!(matches!(again, Ok(Decided::Before) | Err(Error::Refused(_))), "{again:?}");
    // Cancelling gives back what is left, no more.
    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
    settled(&buyer, &booking, "refunded", "refunded").await;
    assert_eq!(taken(&app).await, 0);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_refunds_that_many_look_after_go_back_each_once() {
    let app = TestApp::with(Options { jobs: false, ..Options::default() }).await;
    let (booking, _) = paid(&app, "stalls-C-1").await;
    for n in 0..6 {
        refund_booking(&app.services, request(&booking, 500 + n, &format!("request {n}"))).await.unwrap();
    }
    let reference = format!("{}/1", booking["booking"].as_str().unwrap());
    for _ in 0..4 {
        let payment = payments::of_callback(app.db(), "sandbox", Some(&reference), None).await.unwrap().unwrap();
        let looks = (0..10).map(|_| reconcile(&app.services, &payment));
        for look in futures_util::future::join_all(looks).await {
            look.unwrap();
        }
    }
    assert_eq!(taken(&app).await, 4350 - 6 * 500 - 15);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_comes_back_is_shown() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = paid(&app, "stalls-C-1").await;
    refund_booking(&app.services, request(&booking, 1000, "request")).await.unwrap();
    until("it went back", || async {
        let now = buyer.get(&path_of(&booking)).await.expect(200);
        (now["payment"]["refunded"]["amount"] == 1000).then_some(())
    })
    .await;
    let reference = format!("{}/1", booking["booking"].as_str().unwrap());
    // An old picture is looked at twice; what shows twice is so.
    for (old_answers, shown) in [(1, 0), (2, 1)] {
        let payment = payments::of_callback(app.db(), "sandbox", Some(&reference), None).await.unwrap().unwrap();
        faults.old_answers.store(old_answers, Ordering::SeqCst);
        reconcile(&app.services, &payment).await.unwrap();
        assert_eq!(faults.old_answers.load(Ordering::SeqCst), 0);
        assert_eq!(alarms::list(app.db(), 10).await.unwrap().len(), shown);
    }
    let why = alarms::list(app.db(), 10).await.unwrap().remove(0).why;
    assert_eq!(why, "1000 of the 1000 that were paid back did not stay paid");
    assert_eq!(taken(&app).await, 3350);
    app.check().await;
}

fn holds_of(event: &str) -> String {
    format!("/v1/events/{event}/holds")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_event_that_does_not_take_place_no_node_holds_anything() {
    let app = TestApp::with(Options::default()).await;
    let other = app.second_node().await;
    // Both nodes have the event and its seats in memory.
    for (node, seat) in [(&app.url, "stalls-C-1"), (&other, "stalls-C-2")] {
        app.stranger().at(node).hold_seats(OPEN, &[seat]).await;
    }
    let key = "a key that nobody guesses";
    let wish = json!({ "seats": ["stalls-D-1"] });
    assert!(cancel_event(&app.services, &OPEN.parse().unwrap(), "the singer is ill").await.unwrap());
    for node in [&app.url, &other] {
        let stranger = app.stranger().at(node);
        let refused = stranger.hold(OPEN, wish.clone()).await.problem(409, "state-conflict");
        assert_eq!(refused["detail"], "the event does not take place");
        let best = json!({ "best": { "quantity": 2 } });
        stranger.hold(OPEN, best).await.problem(409, "state-conflict");
        stranger
            .hold(OPEN, json!({ "areas": [{ "area": "pit", "quantity": 1 }] }))
            .await
            .problem(409, "state-conflict");
        // The same request again has the same answer.
        let first = stranger.post_once(key, &holds_of(OPEN), &wish).await;
        first.expect(409);
        assert_eq!(stranger.post_once(key, &holds_of(OPEN), &wish).await.text, first.text);
        // Another event is as ever.
        stranger.hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 1 }] })).await.expect(201);
    }
    let holds: i64 = sqlx::query_scalar("select count(*) from hold where event_id = $1")
        .bind(OPEN)
        .fetch_one(app.db())
        .await
        .unwrap();
    let held: i64 = sqlx::query_scalar("select count(*) from seat where event_id = $1 and state <> 0")
        .bind(OPEN)
        .fetch_one(app.db())
        .await
        .unwrap();
    assert_eq!((holds, held), (2, 2), "nothing was taken");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_does_not_take_place_is_paid_back_in_batches() {
    let (app, faults) = faulty().await;
    let mut bookings = Vec::new();
    for _ in 0..12 {
        let hold = app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 2 }] })).await.expect(201);
        let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
        bookings.push((buyer.book(&hold).await.expect(201), buyer));
    }
    for (booking, buyer) in bookings.iter().take(10) {
        buyer.pay(booking, "tok_ok").await.expect(200);
    }
    // One is being paid while the event is cancelled, one is only held.
    let (pending, its_buyer) = &bookings[10];
    let place = json!({ "areas": [{ "area": "club", "quantity": 1 }] });
    let early = app.stranger().post_once("early-early-early-early", &holds_of(CLUB), &place).await;
    faults.lose_authorise_answers.store(true, Ordering::SeqCst);
    faults.lose_questions.store(true, Ordering::SeqCst);
    its_buyer.pay(pending, "tok_ok").await.expect(202);
    let event = CLUB.parse().unwrap();
    assert!(cancel_event(&app.services, &event, "the singer is ill").await.unwrap());
    assert!(!cancel_event(&app.services, &event, "again").await.unwrap());
    until("all but one are cancelled", || async {
        let progress = cancel_batch(&app.services, &event).await.unwrap();
        assert!(!progress.finished, "one is still being paid");
        (progress.open == 1).then_some(())
    })
    .await;
    // Nothing new is booked or paid.
    let (held, buyer) = &bookings[11];
    assert_eq!(buyer.get(&path_of(held)).await.expect(200)["state"], "cancelled");
    let hold = early.expect(201);
    let late = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    late.book(&hold).await.problem(409, "state-conflict");
    // Nor held; what was held before is still told.
    app.stranger().hold(CLUB, place.clone()).await.problem(409, "state-conflict");
    let again = app.stranger().post_once("early-early-early-early", &holds_of(CLUB), &place).await;
    assert_eq!((again.expect(201), again.header("idempotency-replayed")), (hold, Some("true")));
    faults.lose_authorise_answers.store(false, Ordering::SeqCst);
    faults.lose_questions.store(false, Ordering::SeqCst);
    sqlx::query("update payment set check_at = clock_timestamp() where check_at is not null")
        .execute(app.db())
        .await
        .unwrap();
    // The job of any node goes on with it.
    until("it is finished", || async {
        let sql = "select finished_at is not null from event_cancellation";
        let finished: bool = sqlx::query_scalar(sql).fetch_one(app.db()).await.unwrap();
        finished.then_some(())
    })
    .await;
    for (booking, buyer) in bookings.iter().take(11) {
        settled(buyer, booking, "refunded", "refunded").await;
    }
    assert_eq!(taken(&app).await, 0);
    app.check().await;
}
