//! A gateway, then a booking node, is killed in mid-sale with two of each running: fans go on through the other, and
//! nothing is sold twice or half. The proof that the fault bit: the killed process is gone and its port refuses.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stack::{Fixture, Pace, Setting, StackOptions};

use crate::world::{World, text, wait_for};

/// One fan that goes on until it has bought, trying the other gateway when one fails.
async fn buy(
    world: &World,
    fan: usize,
    seats: &[String],
    bought: &AtomicUsize,
    stop: &AtomicBool,
) -> Result<Value, String> {
    let gateways = world.ready().gateway.clone();
    let mut tries = fan;
    let mut place: Option<String> = None;
    let mut pass: Option<String> = None;
    let mut hold: Option<Value> = None;
    let mut booking: Option<String> = None;
    let mut payments = 0;
    let mut pending = false;
    let mut last = String::new();
    while !stop.load(Ordering::Relaxed) {
        tries += 1;
        let gateway = &gateways[tries % 2];
        let request = match (&place, &pass, &hold, &booking) {
            (None, ..) => world.client.post(format!("{gateway}/_usher/sales/demo/join")),
            (Some(place), None, ..) => world
                .client
                .get(format!("{gateway}/_usher/sales/demo/place"))
                .header("authorization", format!("Place {place}")),
            (_, Some(pass), None, _) => world
                .client
                .post(format!("{gateway}/v1/events/demo-arena/holds"))
                .header("authorization", format!("Pass {pass}"))
                .header("idempotency-key", format!("hold-{fan}"))
                .json(&json!({"seats": &seats[fan * 2..fan * 2 + 2]})),
            (_, Some(pass), Some(hold), None) => world
                .client
                .post(format!("{gateway}/v1/events/demo-arena/bookings"))
                .header("authorization", format!("Pass {pass}"))
                .header("idempotency-key", format!("book-{fan}"))
                .json(&json!({"hold": hold["hold"], "buyer": {"name": "Fan", "email": "fan@example.org"}})),
            (_, Some(pass), _, Some(booking)) if pending => world
                .client
                .get(format!("{gateway}/v1/events/demo-arena/bookings/{booking}"))
                .header("authorization", format!("Pass {pass}")),
            (_, Some(pass), _, Some(booking)) => world
                .client
                .post(format!("{gateway}/v1/events/demo-arena/bookings/{booking}/confirm"))
                .header("authorization", format!("Pass {pass}"))
                .header("idempotency-key", format!("pay-{fan}-{payments}"))
                .json(&json!({"payment": {"method": "sandbox", "token": "tok_ok"}})),
        };
        let Ok(answer) = request.timeout(Duration::from_secs(8)).send().await else { continue };
        let status = answer.status().as_u16();
        let Ok(document) = answer.json::<Value>().await else { continue };
        last = format!("fan {fan}, booking {booking:?}, payment {payments}: {status} {document}");
        match (status, &pass, &hold, &booking) {
            (200 | 201, None, ..) => {
                place = Some(text(&document["place"]));
                pass = document["pass"].as_str().map(str::to_owned);
            }
            (201, Some(_), None, _) => hold = Some(document),
            (201, Some(_), Some(_), None) => booking = Some(text(&document["booking"])),
            (200, Some(_), Some(_), Some(_)) if document["state"] == "confirmed" => {
                bought.fetch_add(1, Ordering::Relaxed);
                return Ok(document);
            }
            (200, Some(_), Some(_), Some(_)) if document["state"] == "payment_pending" => {}
            // The payment came to nothing and nothing was charged: the buyer pays again.
            (200, Some(_), Some(_), Some(_)) if pending && document["state"] == "held" => {
                (pending, payments) = (false, payments + 1);
            }
            // The outcome is not known yet: the booking will tell.
            (202, Some(_), Some(_), Some(_)) => pending = true,
            // The node died before it had asked the provider: nothing was charged, and the buyer pays again.
            (402, Some(_), Some(_), Some(_)) => payments += 1,
            (409 | 429 | 500..=599, ..) => {}
            (status, ..) => panic!("fan {fan}: {status} {}: {}", document["type"], document["detail"]),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(last)
}

#[tokio::test(flavor = "multi_thread")]
async fn fans_go_on_when_nodes_are_killed() {
    let pace = Pace { rate_per_min: 2_400.0, burst: 5, max_inside: 500 };
    // A payment whose node is gone is looked after within seconds, so that the test need not wait a minute.
    let settings = ["payments.provider_timeout_ms=3000", "payments.pending_s=5"];
    let settings = settings.map(|setting| Setting::Booking(setting.to_owned())).to_vec();
    let options =
        StackOptions { gateways: 2, bookings: 2, fixture: Fixture::Demo, pace, settings, ..StackOptions::default() };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    let seats = Arc::new(world.arena_seats().await);
    let (bought, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let fans: Vec<_> = (0..200)
        .map(|fan| {
            let (world, seats, bought, stop) = (world.clone(), seats.clone(), bought.clone(), stop.clone());
            tokio::spawn(async move { buy(&world, fan, &seats, &bought, &stop).await })
        })
        .collect();
    let at_least = |n: usize| {
        let bought = bought.clone();
        move || {
            let bought = bought.clone();
            async move { bought.load(Ordering::Relaxed) >= n }
        }
    };

    wait_for("the sale runs", at_least(20)).await;
    world.stack.gateway(1).node().kill9().unwrap();
    assert!(world.client.get(&world.ready().gateway[1]).send().await.is_err(), "the gateway is gone");
    let before = bought.load(Ordering::Relaxed);
    wait_for("fans go on without the gateway", at_least(before + 20)).await;

    world.stack.booking(0).node().kill9().unwrap();
    assert!(world.client.get(&world.ready().booking[0]).send().await.is_err(), "the booking node is gone");
    let before = bought.load(Ordering::Relaxed);
    wait_for("fans go on without the booking node", at_least(before + 20)).await;

    let patience = tokio::time::timeout(Duration::from_secs(120), async {
        while bought.load(Ordering::Relaxed) < 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let finished = patience.await.is_ok();
    stop.store(true, Ordering::Relaxed);
    let mut seats = HashSet::new();
    let mut total = 0;
    for fan in fans {
        let booking = match fan.await.unwrap() {
            Ok(booking) => booking,
            Err(last) => {
                eprintln!("has not bought: {last}");
                continue;
            }
        };
        total += booking["total"]["amount"].as_i64().unwrap();
        for seat in booking["seats"].as_array().unwrap() {
            assert!(seats.insert(text(&seat["seat"])), "seat sold twice: {seat}");
        }
    }
    assert!(finished, "only {} of 200 fans have bought", bought.load(Ordering::Relaxed));
    assert_eq!(seats.len(), 400);

    // The provider captured exactly what was confirmed.
    wait_for("the ledger agrees", || async {
        let ledger = world.client.get(format!("{}/v1/ledger", world.ready().psp)).send().await.unwrap();
        let ledger: Value = ledger.json().await.unwrap();
        let captured: i64 =
            ledger["items"].as_array().unwrap().iter().map(|item| item["captured"].as_i64().unwrap()).sum();
        captured == total
    })
    .await;
}
