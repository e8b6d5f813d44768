//! Redis loses everything, twice: emptied in mid-sale, then killed and restarted with nothing on disk. Nobody's place is
//! lost, nobody overtakes anybody, and calling is back within seconds. Each loss proves that it bit.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stack::redis::Aof;
use stack::{Fixture, StackOptions};

use crate::world::{World, text, wait_for};

const FANS: usize = 300;

/// Inline commands in one transaction; the whole answer as text.
pub fn redis(world: &World, commands: &[&str]) -> String {
    let address = world.ready().redis.trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let script = format!("MULTI\r\n{}\r\nEXEC\r\nQUIT\r\n", commands.join("\r\n"));
    stream.write_all(script.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Seconds into the hour of an RFC 3339 time.
fn seconds(time: &str) -> f64 {
    time[14..16].parse::<f64>().unwrap() * 60.0 + time[17..26].parse::<f64>().unwrap()
}

/// A fan that asks when told to until it is inside; answers its last document.
async fn wait_in_line(world: Arc<World>, place: String, inside: Arc<AtomicUsize>) -> Value {
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        assert!(Instant::now() < until, "a fan is still waiting");
        let answer = world.poll_at(0, "lossy", &place).await;
        let (status, document) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{document}");
        match document["state"].as_str().unwrap() {
            "inside" => {
                inside.fetch_add(1, Ordering::Relaxed);
                return document;
            }
            "waiting" | "called" => {}
            other => panic!("the place was lost: {other}: {document}"),
        }
        let poll_s = document["poll_s"].as_u64().unwrap();
        tokio::time::sleep(Duration::from_millis(poll_s * 1000)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_and_order_outlive_a_redis_that_forgets() {
    let options = StackOptions { fixture: Fixture::Empty, redis_aof: Aof::Off, ..StackOptions::default() };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    world.create_sale("lossy", json!({"rate_per_min": 1_200, "burst": 2, "state": "paused"})).await;
    let inside = Arc::new(AtomicUsize::new(0));
    let mut fans = Vec::new();
    for _ in 0..FANS {
        let place = text(&world.join("lossy").await["place"]);
        fans.push(tokio::spawn(wait_in_line(world.clone(), place, inside.clone())));
    }
    world.control(0, reqwest::Method::POST, "/control/sales/lossy/resume").send().await.unwrap();
    let at_least = |n: usize| {
        let inside = inside.clone();
        move || {
            let inside = inside.clone();
            async move { inside.load(Ordering::Relaxed) >= n }
        }
    };
    wait_for("the sale runs", at_least(60)).await;

    // Emptied: the line held many, and then nobody.
    let answer = redis(&world, &["ZCARD {lossy}:line", "FLUSHALL", "ZCARD {lossy}:line"]);
    let cards: Vec<u64> = answer.lines().filter_map(|line| line.strip_prefix(':')?.parse().ok()).collect();
    assert!(cards.len() == 2 && cards[0] > 50 && cards[1] == 0, "the loss did not bite: {answer}");
    let (lost, before) = (Instant::now(), inside.load(Ordering::Relaxed));
    // Those whose turn had come before the loss may still claim; many more means that calling is back.
    wait_for("calling is back", at_least(before + 60)).await;
    assert!(lost.elapsed() < Duration::from_secs(15), "calling came back after {:?}", lost.elapsed());

    // Killed, with nothing on disk.
    let joined = world.numbers("lossy").await["joined_total"].as_u64().unwrap();
    assert_eq!(joined, 0, "what was joined before the loss is not known to the line any more");
    let generation = |answer: &str| answer.lines().rfind(|line| line.len() > 12).map(str::to_owned);
    let old = generation(&redis(&world, &["HGET {lossy}:state gen"]));
    world.stack.redis().node().kill9().unwrap();
    let place = text(&world.join("lossy").await["place"]);
    fans.push(tokio::spawn(wait_in_line(world.clone(), place, inside.clone())));
    let again = world.clone();
    tokio::task::spawn_blocking(move || again.stack.redis().up()).await.unwrap().unwrap();
    wait_for("the sale is back", || async {
        let new = generation(&redis(&world, &["HGET {lossy}:state gen"]));
        new.is_some() && new != old
    })
    .await;

    let mut turns: Vec<(String, u64)> = Vec::new();
    for fan in fans {
        let document = fan.await.unwrap();
        turns.push((text(&document["called_at"]), document["score"].as_u64().unwrap()));
    }
    assert_eq!(turns.len(), FANS + 1, "everybody got in, also who joined while Redis was dead");
    turns.sort();
    // Whoever was called just before a loss and had not claimed yet is called once more after it; so the order is that
    // of each stretch between two losses, which the calm after a loss sets apart.
    let calm_s = |pair: &[(String, u64)]| (seconds(&pair[1].0) - seconds(&pair[0].0)).rem_euclid(3_600.0);
    let stretches = turns.windows(2).filter(|pair| calm_s(pair) > 3.0).count() + 1;
    assert_eq!(stretches, 3, "two losses make three stretches: {turns:?}");
    let overtaken: Vec<_> =
        turns.windows(2).filter(|pair| calm_s(pair) < 3.0 && pair[0].1 > pair[1].1 && pair[0].0 < pair[1].0).collect();
    assert!(overtaken.is_empty(), "somebody was overtaken: {overtaken:?}");
    let distinct: std::collections::HashSet<u64> = turns.iter().map(|turn| turn.1).collect();
    assert_eq!(distinct.len(), turns.len(), "two visitors were given the same spot");
}
