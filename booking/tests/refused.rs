//! Goal: what cannot buy anything costs little, and never stands for a sale. Method: a provider that refuses requests, a
//! booking that is paid for again and again, places that are gone from the lists.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use booking::app::cancel_event::cancel_event;
use serde_json::Value;

use crate::attempts::look_now;
use crate::money::{SHORT, booked, faulty, settled, taken};
use crate::support::{Faults, OPEN, Options, TestApp, path_of, until, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_is_looked_for_once() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.refuse_authorisations.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.problem(400, "invalid");
    let later = "select extract(epoch from check_at - clock_timestamp())::float8 from payment";
    let later_s: f64 = value(app.db(), later).await;
    assert!((250.0..=300.0).contains(&later_s), "looked for in {later_s} s");
    look_now(&app, 1).await;
    until("nothing is open", || async {
        value::<bool>(app.db(), "select check_at is null from payment").await.then_some(())
    })
    .await;
    faults.refuse_authorisations.store(false, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(200);
    settled(&buyer, &booking, "confirmed", "captured").await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_to_pay_end() {
    let app = TestApp::start().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    for _ in 0..20 {
        buyer.pay(&booking, "tok_declined").await.problem(402, "payment-declined");
    }
    buyer.pay(&booking, "tok_ok").await.problem(402, "payment-declined");
    assert_eq!((app.ledger().await.len(), taken(&app).await), (20, 0), "the provider was asked no more");
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["state"], "held");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_costs_nothing_needs_no_provider() {
    let faults = Arc::new(Faults::default());
    let mut set = SHORT.to_vec();
    set.extend(["checkout.breaker_failures=1", "checkout.breaker_pause_ms=60000"]);
    let app = TestApp::with(Options { set, faults: Some(Arc::clone(&faults)), ..Options::default() }).await;
    let (paid, payer) = booked(&app, "stalls-C-1").await;
    let (free, guest) = booked(&app, "stalls-C-2").await;
    let id: uuid::Uuid = free["booking"].as_str().unwrap().parse().unwrap();
    let free_of_charge = "update booking set fee = 0, tax = 0, total = 0 where booking_id = $1";
    sqlx::query(free_of_charge).bind(id).execute(app.db()).await.unwrap();
    faults.lose_authorisations.store(true, Ordering::SeqCst);
    payer.pay(&paid, "tok_ok").await.expect(202);
    assert!(app.services.provider_breaker.is_open(std::time::Instant::now()), "the fault bit");
    let sold: Value = guest.pay(&free, "tok_ok").await.expect(200);
    assert_eq!((&sold["state"], sold["tickets"].as_array().unwrap().len()), (&"confirmed".into(), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_booking_is_confirmed_for_less_than_its_places() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorise_answers.store(true, Ordering::SeqCst);
    faults.lose_questions.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(202);
    sqlx::query("delete from hold_seat").execute(app.db()).await.unwrap();
    faults.lose_questions.store(false, Ordering::SeqCst);
    let before: i32 = value(app.db(), "select failures from payment").await;
    look_now(&app, 1).await;
    until("a look has come to nothing", || async {
        (value::<i32>(app.db(), "select failures from payment").await > before).then_some(())
    })
    .await;
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["state"], "payment_pending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_that_shows_after_the_end_of_a_cancellation_is_cancelled() {
    let app = TestApp::with(Options { jobs: true, ..Options::default() }).await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    buyer.pay(&booking, "tok_ok").await.expect(200);
    // As if all had been over before it was sold.
    let finished = "insert into event_cancellation (event_id, reason, finished_at) values ($1, '', clock_timestamp())";
    sqlx::query(finished).bind(OPEN).execute(app.db()).await.unwrap();
    assert!(!cancel_event(&app.services, &OPEN.parse().unwrap(), "again").await.unwrap());
    settled(&buyer, &booking, "refunded", "refunded").await;
    assert_eq!(taken(&app).await, 0);
    app.check().await;
}
