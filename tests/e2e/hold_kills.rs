//! Goal: every hold that was acknowledged is there after a booking node or Postgres was killed in mid-load, and the
//! books are clean. Method: a crowd on two nodes, a kill at a random moment (by a printed seed), the proof that it bit,
//! a restart, and more holds after it; then every acknowledged hold is looked for in the tables.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::hall::Hall;
use crate::world::{text, wait_for};

const CROWD: usize = 24;
const SEATS: usize = 20_000;

/// Small and seeded, so that a failing run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What the crowd was told.
#[derive(Default)]
struct Told {
    /// Seats, and places of the floor, by hold.
    holds: Mutex<HashMap<String, (Vec<String>, i64)>>,
    count: AtomicUsize,
    failures: AtomicUsize,
    next: AtomicUsize,
    stop: AtomicBool,
}

/// One of the crowd: asks for the next seats, the best ones, or the floor; insists by its key on another node when an
/// answer is lost.
async fn fan(hall: Arc<Hall>, told: Arc<Told>, seed: u64) {
    let mut dice = Dice(seed);
    let mut turn = 0;
    while !told.stop.load(Ordering::Relaxed) {
        turn += 1;
        let body = match dice.roll(8) {
            0 => json!({"areas": [{"area": "floor", "quantity": 1}]}),
            1 => json!({"best": {"quantity": 2}}),
            2 => json!({"seats": [hall.seats[dice.roll(SEATS as u64) as usize]]}),
            _ => {
                let first = told.next.fetch_add(2, Ordering::Relaxed) % (SEATS - 2);
                json!({"seats": [hall.seats[first], hall.seats[first + 1]]})
            }
        };
        let key = format!("a-key-that-nobody-guesses-{seed}-{turn}");
        for attempt in 0..40 {
            let node = (dice.roll(2) as usize + attempt) % 2;
            let request = hall.world.client.post(hall.holds(node)).header("idempotency-key", &key).json(&body);
            let answer = match request.timeout(Duration::from_secs(10)).send().await {
                Ok(answer) => (answer.status().as_u16(), answer.json::<Value>().await.ok()),
                Err(_) => (0, None),
            };
            match answer {
                (201, Some(hold)) => {
                    let seats = hold["seats"].as_array().unwrap().iter().map(|seat| text(&seat["seat"])).collect();
                    let places =
                        hold["areas"].as_array().unwrap().iter().map(|area| area["quantity"].as_i64().unwrap());
                    told.holds.lock().unwrap().insert(text(&hold["hold"]), (seats, places.sum()));
                    told.count.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                (409, Some(problem)) if text(&problem["type"]).ends_with("/in-flight") => {}
                (409, Some(_)) => break,
                (0 | 502..=504 | 201, _) => _ = told.failures.fetch_add(1, Ordering::Relaxed),
                (status, document) => panic!("{status}: {document:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20 + dice.roll(80))).await;
            if told.stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

async fn kill_again_and_again(rounds: u64) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed: u64 = seed.unwrap_or(now.subsec_nanos().into());
    println!("SEED={seed}");
    let mut dice = Dice(seed);
    let hall = Arc::new(Hall::open(SEATS, &["database.acquire_timeout_ms=500"]).await);
    let told = Arc::new(Told::default());
    let crowd: Vec<_> =
        (0..CROWD).map(|n| tokio::spawn(fan(hall.clone(), told.clone(), seed ^ (n as u64) << 32))).collect();
    let more = |holds: usize| {
        let (told, from) = (told.clone(), told.count.load(Ordering::Relaxed));
        move || {
            let reached = told.count.load(Ordering::Relaxed) >= from + holds;
            async move { reached }
        }
    };
    for round in 0..rounds {
        wait_for("the crowd is at work", more(50 + dice.roll(200) as usize)).await;
        let failures = told.failures.load(Ordering::Relaxed);
        let (world, victim) = (hall.world.clone(), if round % 2 == 0 { 0 } else { 1 + dice.roll(2) });
        println!("round {round}: {}", ["Postgres", "node 0", "node 1"][victim as usize]);
        let bit = tokio::task::spawn_blocking(move || match victim {
            0 => {
                world.stack.postgres().node().kill9().unwrap();
                world.stack.postgres().up().unwrap()
            }
            n => {
                let node = world.stack.booking(n as usize - 1);
                node.node().kill9().unwrap();
                node.up().unwrap()
            }
        });
        assert!(bit.await.unwrap() > 0);
        // The proof: requests that were under way came to nothing.
        wait_for("the kill bit", || async { told.failures.load(Ordering::Relaxed) > failures }).await;
        goes_on(&hall, more(100)).await;
    }
    told.stop.store(true, Ordering::Relaxed);
    for fan in crowd {
        fan.await.unwrap();
    }
    check(&hall, &told);
}

/// Waits until the crowd has got more holds; tells what the nodes said when it does not.
async fn goes_on<F: Future<Output = bool>>(hall: &Hall, holds: impl FnMut() -> F) {
    let said = |nodes: &Hall| (0..2).map(|node| nodes.world.stack.booking(node).node().tail()).collect::<String>();
    tokio::select! {
        () = wait_for("the crowd goes on", holds) => {}
        () = tokio::time::sleep(Duration::from_secs(28)) => panic!("the crowd is stuck: {}", said(hall)),
    }
}

/// Every acknowledged hold is in the tables as it was told, and the auditor agrees.
fn check(hall: &Hall, told: &Told) {
    let rows = hall.sql(
        "select h.hold_id, coalesce((select string_agg(s.seat, ' ' order by s.seat_no) from hold_seat l
                                     join seat s on s.event_id = l.event_id and s.seat_no = l.seat_no
                                                and s.hold_id = l.hold_id
                                     where l.hold_id = h.hold_id), ''),
                (select coalesce(sum(quantity), 0) from hold_area a where a.hold_id = h.hold_id and a.state = 1)
         from hold h where h.state = 'active'",
    );
    let kept: HashMap<&str, (Vec<&str>, i64)> = rows
        .lines()
        .map(|row| {
            let columns: Vec<&str> = row.split('|').collect();
            (columns[0], (columns[1].split_whitespace().collect(), columns[2].parse().unwrap()))
        })
        .collect();
    let holds = told.holds.lock().unwrap();
    println!("{} acknowledged, {} kept, {} failures", holds.len(), kept.len(), told.failures.load(Ordering::Relaxed));
    for (hold, (seats, places)) in holds.iter() {
        let kept = kept.get(hold.as_str()).unwrap_or_else(|| panic!("{hold} was acknowledged and is gone"));
        assert_eq!(
            (&kept.0.iter().map(|seat| (*seat).to_owned()).collect::<Vec<_>>(), &kept.1),
            (seats, places),
            "{hold}"
        );
    }
    hall.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_killed_and_nothing_lost() {
    kill_again_and_again(2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn twenty_times_killed_and_nothing_lost() {
    kill_again_and_again(20).await;
}
