//! Redis is slow, then answers nobody for longer than the gateway is patient, under a crowd that joins and asks at one
//! gateway. Everybody is answered in time, by a place or by a 503 that says when to come again; the gateway's memory stays
//! within a bound; and once Redis goes on, everybody gets in, each from a spot of its own. The proof that the faults bit: slow
//! joins took as long as Redis was made to take, and its process was seen to be stopped before and after the rest.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use stack::redis::Aof;
use stack::{Fixture, StackOptions};

use crate::slow_clients::resident_bytes;
use crate::world::{World, header, problem, text, wait_for};

/// How long a slow Redis lets everybody wait.
const SLOW_MS: u64 = 300;
/// The gateway waits at most three seconds for the line, and a busy machine a little longer.
const ANSWERED: Duration = Duration::from_secs(5);
/// Longer than that: whoever waited for Redis itself would be seen to.
const FROZEN: Duration = Duration::from_secs(6);
const WAITING: usize = 50;
const COMERS: usize = 250;
/// What the gateway may grow by while Redis is frozen.
const GROWN_MAX_BYTES: u64 = 64 << 20;

/// Whether the process is stopped, as the kernel tells it.
fn is_frozen(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit(')').next().unwrap().starts_with(" T")
}

/// Sends it, and says how long the answer took.
async fn timed(request: reqwest::RequestBuilder) -> (Response, Duration) {
    let began = Instant::now();
    let answer = request.send().await.unwrap();
    (answer, began.elapsed())
}

/// So many join at the same moment; their documents, and how long the slowest waited.
async fn join_at_once(world: &World, sale: &str, count: usize) -> (Vec<Value>, Duration) {
    let url = world.gateway(&format!("/_usher/sales/{sale}/join"));
    let mut slowest = Duration::ZERO;
    let mut places = Vec::new();
    for (answer, took) in join_all((0..count).map(|_| timed(world.client.post(&url)))).await {
        assert_eq!(answer.status(), 201);
        slowest = slowest.max(took);
        places.push(answer.json::<Value>().await.unwrap());
    }
    (places, slowest)
}

/// All ask at the same moment where they stand; how long the slowest waited.
async fn ask_at_once(world: &World, sale: &str, places: &[Value]) -> Duration {
    let url = world.gateway(&format!("/_usher/sales/{sale}/place"));
    let asked = places
        .iter()
        .map(|place| timed(world.client.get(&url).header("authorization", format!("Place {}", text(&place["place"])))));
    let mut slowest = Duration::ZERO;
    for ((answer, took), place) in join_all(asked).await.into_iter().zip(places) {
        assert_eq!(answer.status(), 200);
        let told: Value = answer.json().await.unwrap();
        assert_eq!((&told["state"], &told["visitor"]), (&json!("waiting"), &place["visitor"]), "{told}");
        slowest = slowest.max(took);
    }
    slowest
}

/// So many join at once where the policy is to turn away; how long the slowest waited to hear so.
async fn be_turned_away(world: &World, sale: &str, count: usize) -> Duration {
    let url = world.gateway(&format!("/_usher/sales/{sale}/join"));
    let mut slowest = Duration::ZERO;
    for (answer, took) in join_all((0..count).map(|_| timed(world.client.post(&url)))).await {
        assert!(header(&answer, "retry-after").parse::<u64>().is_ok_and(|s| (1..=60).contains(&s)));
        problem(answer, 503, "unavailable").await;
        slowest = slowest.max(took);
    }
    slowest
}

/// Joins go on while every answer of Redis takes its time: all of them through the line.
async fn joins_are_late_while_redis_is_slow(world: &Arc<World>) -> Vec<Value> {
    let stop = Arc::new(AtomicBool::new(false));
    let slowing = tokio::task::spawn_blocking({
        let (world, stop) = (world.clone(), stop.clone());
        move || {
            // Each waits for the pause before it, like everybody else's commands.
            while !stop.load(Ordering::Relaxed) {
                world.stack.redis().servers()[0].command(&["CLIENT", "PAUSE", &SLOW_MS.to_string(), "ALL"]).unwrap();
            }
        }
    });
    let (mut places, mut slowest) = (Vec::new(), Duration::ZERO);
    for _ in 0..5 {
        let (joined, took) = join_at_once(world, "slow", WAITING / 5).await;
        assert!(took < ANSWERED, "a join took {took:?}");
        (slowest, places) = (slowest.max(took), [places, joined].concat());
    }
    stop.store(true, Ordering::Relaxed);
    slowing.await.unwrap();
    println!("the slowest of {WAITING} joins took {slowest:?} while each answer of Redis took up to {SLOW_MS} ms");
    assert!(slowest > Duration::from_millis(SLOW_MS / 2), "Redis was not slow: {slowest:?}");
    wait_for("all are in the line", || async { line(world).len() == WAITING }).await;
    places
}

/// Who is in the line, and at which score, as Redis has it.
fn line(world: &World) -> HashMap<String, u64> {
    let line = world.stack.redis().servers()[0].command(&["ZRANGE", "{slow}:line", "0", "-1", "WITHSCORES"]).unwrap();
    line.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].parse().unwrap())).collect()
}

/// Newcomers and those who wait go on asking while Redis is stopped; those who came.
async fn nobody_waits_for_a_frozen_redis(world: &World, waiting: &[Value]) -> Vec<Value> {
    let gateway = world.stack.gateway(0).node().pid().unwrap();
    let (redis, before) = (world.stack.redis().node(), resident_bytes(gateway));
    let pid = redis.pid().unwrap();
    redis.pause().unwrap();
    let began = Instant::now();
    wait_for("Redis is frozen", || async { is_frozen(pid) }).await;
    // The first find out; the others are answered at once, or hear that there is too much to do.
    let ((mut came, first), asked, away) = tokio::join!(
        join_at_once(world, "slow", COMERS / 2),
        ask_at_once(world, "slow", waiting),
        be_turned_away(world, "shut", 20)
    );
    let (later, then) = join_at_once(world, "slow", COMERS - COMERS / 2).await;
    came.extend(later);
    let mut slowest = first.max(asked).max(away).max(then);
    let mut grown = resident_bytes(gateway).saturating_sub(before);
    while began.elapsed() < FROZEN {
        slowest = slowest.max(ask_at_once(world, "slow", waiting).await).max(be_turned_away(world, "shut", 5).await);
        grown = grown.max(resident_bytes(gateway).saturating_sub(before));
        // More often than they are told to.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(is_frozen(pid), "Redis went on by itself");
    redis.resume().unwrap();
    println!(
        "frozen: joins took up to {first:?}, then {then:?}; polls {asked:?}; refusals {away:?}; grown by {grown} bytes"
    );
    assert!(slowest < ANSWERED, "somebody waited for {slowest:?}");
    assert!(grown < GROWN_MAX_BYTES, "the gateway grew by {grown} bytes");
    came
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_redis_makes_fans_wait_and_nothing_pile_up() {
    let options = StackOptions { fixture: Fixture::Empty, redis_aof: Aof::Off, ..StackOptions::default() };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    world.create_sale("slow", json!({"max_inside": 1})).await;
    world.create_sale("shut", json!({"max_inside": 1, "outage": "closed"})).await;
    world.enter("slow").await;

    let mut places = joins_are_late_while_redis_is_slow(&world).await;
    places.extend(nobody_waits_for_a_frozen_redis(&world, &places).await);

    // Redis goes on. Those who came meanwhile bring their places; a join that Redis hears of late counts from the spot
    // that its visitor was given.
    let (visitor, score) = (|place: &Value| text(&place["visitor"]), |place: &Value| place["score"].as_u64().unwrap());
    let signed: HashMap<String, u64> = places.iter().map(|place| (visitor(place), score(place))).collect();
    assert_eq!(signed.len(), WAITING + COMERS);
    wait_for("everybody is in the line, where the place says, and nobody else", || async {
        ask_at_once(&world, "slow", &places).await;
        line(&world) == signed
    })
    .await;
    let last = world.join("slow").await;
    assert_eq!(last["position"], WAITING + COMERS + 1);
    places.push(last);
    world.create_sale("slow", json!({"max_inside": 1_000})).await;
    let asked = places.iter().map(|place| world.until_inside(0, "slow", place["place"].as_str().unwrap()));
    let told = join_all(asked).await;
    let mut turns: Vec<_> = told.iter().map(|told| (told["called_seq"].as_u64().unwrap(), score(told))).collect();
    turns.sort_unstable();
    assert!(turns.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "not each in turn: {turns:?}");
    wait_for("each has one slot", || async {
        let numbers = world.numbers("slow").await;
        (&numbers["inside"], &numbers["waiting"], &numbers["away"]) == (&json!(places.len() + 1), &json!(0), &json!(0))
    })
    .await;
}
