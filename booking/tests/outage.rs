//! Goal: while the provider is down nobody waits longer than a second, nobody loses their seats within the cap, and
//! nobody is charged twice after. Method: the real provider hangs on command.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection, Executor};

use crate::money::{booked, settled, taken};
use crate::support::{Answer, Fan, Faults, Options, TestApp, path_of, payment, until, value, waiting};

async fn fault(app: &TestApp, fault: Value) {
    let posted = app.client.post(format!("{}/v1/faults", app.psp)).json(&fault).send().await.unwrap();
    assert!(posted.status().is_success(), "{}", posted.text().await.unwrap());
}

async fn mend(app: &TestApp) {
    let cleared = app.client.delete(format!("{}/v1/faults", app.psp)).send().await.unwrap();
    assert!(cleared.status().is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_answered_within_a_second_and_charges_nobody_twice() {
    let set = vec![
        "payments.provider_timeout_ms=700",
        "payments.answer_within_ms=900",
        "payments.pending_s=2",
        "checkout.breaker_failures=3",
        "checkout.breaker_pause_ms=1500",
        "holds.ttl_s=60",
        "holds.max_life_s=600",
        "checkout.retry_s=120",
    ];
    let app = TestApp::with(Options { set, jobs: true, ..Options::default() }).await;
    let mut bookings = Vec::new();
    for n in 1..=8 {
        bookings.push(booked(&app, &format!("stalls-C-{n}")).await);
    }
    // Requests are acted upon, and nobody answers.
    fault(&app, json!({ "kind": "hang", "acts": true, "for_s": 600 })).await;
    let mut told = Vec::new();
    for (booking, buyer) in &bookings {
        let started = Instant::now();
        let answer = buyer.pay(booking, "tok_ok").await;
        assert!(started.elapsed() < Duration::from_millis(1100), "{:?}", started.elapsed());
        assert!([202, 503].contains(&answer.status.as_u16()), "{}", answer.text);
        if answer.status == 503 {
            assert!(answer.header("retry-after").is_some());
            let now = buyer.get(&path_of(booking)).await.expect(200);
            assert_eq!(now["state"], "held", "nothing was begun");
            let expires: jiff::Timestamp = now["expires_at"].as_str().unwrap().parse().unwrap();
            let left = expires.duration_since(jiff::Timestamp::now()).as_secs();
            assert!((100..=121).contains(&left), "prolonged to {left} s");
        }
        told.push(answer.status.as_u16());
    }
    assert!(told.contains(&503), "the breaker opened: {told:?}");
    let bitten: Value = app.client.get(format!("{}/v1/faults", app.psp)).send().await.unwrap().json().await.unwrap();
    assert!(bitten["items"][0]["bitten"].as_u64().unwrap() >= 3, "the fault bit: {bitten}");
    mend(&app).await;
    // Those that were pending are finished by the reconciler; the others pay now, as often as it takes.
    for (booking, buyer) in &bookings {
        until("it is paid", || async {
            let answer = buyer.pay(booking, "tok_ok").await;
            assert!([200, 202, 402, 503].contains(&answer.status.as_u16()), "{}", answer.text);
            (answer.status == 200).then_some(())
        })
        .await;
        settled(buyer, booking, "confirmed", "captured").await;
    }
    until("what was too much is back", || async { (taken(&app).await == 8 * 4350).then_some(()) }).await;
    app.check().await;
}

/// A node that leaves the provider alone after one call without an answer, for so long.
async fn wary(pause: &'static str) -> (TestApp, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let set = vec![
        "payments.provider_timeout_ms=5000",
        "payments.pending_s=20",
        "payments.answer_within_ms=9000",
        "checkout.breaker_failures=1",
        pause,
    ];
    let app = TestApp::with(Options { set, faults: Some(Arc::clone(&faults)), ..Options::default() }).await;
    (app, faults)
}

async fn ask_in_vain(app: &TestApp, faults: &Faults) {
    faults.lose_questions.store(true, Ordering::SeqCst);
    app.services.provider.find("nothing").await.unwrap_err();
    faults.lose_questions.store(false, Ordering::SeqCst);
    assert!(app.services.provider_breaker.is_open(Instant::now()), "it counts as down");
}

/// All pay at the same time, each by the same key as before.
async fn pay_all(bookings: &[(Value, Fan<'_>)]) -> Vec<Answer> {
    join_all(bookings.iter().map(async |(booking, buyer)| {
        buyer.post_once("key", &format!("{}/confirm", path_of(booking)), &payment("tok_ok")).await
    }))
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_pause_one_confirmation_tries_and_nothing_of_the_others_is_begun() {
    let (app, faults) = wary("checkout.breaker_pause_ms=300").await;
    let mut bookings = Vec::new();
    for n in 1..=6 {
        bookings.push(booked(&app, &format!("stalls-C-{n}")).await);
    }
    ask_in_vain(&app, &faults).await;
    // The one that tries takes longer than the pause.
    faults.delay_authorise_ms.store(1500, Ordering::SeqCst);
    until("the pause is over", || async { (!app.services.provider_breaker.is_open(Instant::now())).then_some(()) })
        .await;
    let told: Vec<u16> = pay_all(&bookings).await.iter().map(|told| told.status.as_u16()).collect();
    assert_eq!(told.iter().filter(|status| **status == 200).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|status| **status == 503).count(), 5, "{told:?}");
    assert_eq!(value::<i64>(app.db(), "select count(*) from payment").await, 1, "nothing was begun");
    assert_eq!(value::<i64>(app.db(), "select count(*) from idempotency").await, 1, "nor kept");
    // It answers again: by the same keys all pay.
    faults.delay_authorise_ms.store(0, Ordering::SeqCst);
    for told in pay_all(&bookings).await {
        told.expect(200);
    }
    assert_eq!(taken(&app).await, 6 * 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_begins_while_the_provider_goes_down_is_taken_back() {
    let (app, faults) = wary("checkout.breaker_pause_ms=700").await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    let path = format!("{}/confirm", path_of(&booking));
    let beside = app.beside().await;
    let mut conn = beside.acquire().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    tx.execute("select 1 from seat where seat = 'stalls-C-1' for update").await.unwrap();
    let down = async {
        waiting(&beside, 1).await;
        ask_in_vain(&app, &faults).await;
        tx.rollback().await.unwrap();
    };
    let card = payment("tok_ok");
    let (told, ()) = tokio::join!(buyer.post_once("key", &path, &card), down);
    told.problem(503, "unavailable");
    assert_eq!(value::<String>(app.db(), "select state from payment").await, "failed");
    assert_eq!(value::<i64>(app.db(), "select count(*) from idempotency").await, 0, "nothing is kept");
    let now = buyer.get(&path_of(&booking)).await.expect(200);
    assert_eq!(now["state"], "held");
    assert!(app.ledger().await.is_empty(), "nobody was asked");
    // The same request, until the provider is asked again.
    let paid = until("it is asked again", || async {
        let told = buyer.post_once("key", &path, &payment("tok_ok")).await;
        if told.status == 503 { None } else { Some(told.expect(200)) }
    })
    .await;
    assert_eq!((&paid["state"], &paid["payment"]["attempt"]), (&json!("confirmed"), &json!(2)));
    assert_eq!(taken(&app).await, 4350);
    drop(conn);
    beside.close().await;
    app.check().await;
}
