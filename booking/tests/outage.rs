//! Goal: while the provider is down nobody waits longer than a second, nobody loses their seats within the cap, and
//! nobody is charged twice after. Method: the real provider hangs on command.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::money::{booked, settled, taken};
use crate::support::{Options, TestApp, path_of, until};

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
