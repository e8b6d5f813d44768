//! What only a real Redis shows: the function library comes back where it is missing, keys keep to one slot, large
//! numbers stay exact, a tick is quick however many wait, and many gateways at once keep to rate and room.

#[path = "support/server.rs"]
mod server;

use std::time::{Duration, Instant};

use queue::configure::Expect;
use queue::{Clock, Line, Settings, Standing, keys};
use queue_token::{Device, SaleId, Score, Taker, VisitorId};
use redis::aio::MultiplexedConnection;
use server::Server;

const START_US: u64 = 1_760_000_000_000_000;

fn sale() -> SaleId {
    "real".parse().expect("a sale id")
}

fn settings(json: &str) -> Settings {
    serde_json::from_str(json).expect("settings")
}

fn visitors(numbers: std::ops::Range<u32>) -> Vec<VisitorId> {
    numbers.map(|n| VisitorId::from_bytes(u128::from(n).to_le_bytes())).collect()
}

async fn open(line: &Line, settings: &Settings, clock: Clock) {
    line.configure(&sale(), settings, None, Expect::Absent, clock).await.expect("configured");
}

#[test]
fn a_missing_library_is_loaded_again() {
    let server = Server::start();
    let (line, mut raw) = (server.line.clone(), server.raw.clone());
    server.runtime.block_on(async {
        let clock = Clock::Micros(START_US);
        open(&line, &settings(r#"{"rate_per_min": 60, "max_inside": 5}"#), clock).await;
        redis::cmd("FUNCTION").arg("FLUSH").query_async::<()>(&mut raw).await.expect("functions are gone");
        let joined = line.join(&sale(), Score::default(), &visitors(0..2), clock).await.expect("joined all the same");
        assert!(matches!(joined[..], [Standing::Called { .. }, Standing::Waiting { ahead: 0, .. }]), "{joined:?}");
    });
}

#[test]
fn a_server_that_restarts_empty_is_used_again() {
    let server = Server::start();
    let line = server.line.clone();
    let settings = settings(r#"{"rate_per_min": 60, "max_inside": 5}"#);
    let clock = Clock::Micros(START_US);
    server.runtime.block_on(open(&line, &settings, clock));
    server.redis().node().kill9().expect("killed");
    server.redis().up().expect("up again, empty");
    server.runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs(10);
        let restored = loop {
            match line.configure(&sale(), &settings, None, Expect::Lost(7), clock).await {
                Err(error) if error.is_outage() && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => break other.expect("an outage at most"),
            }
        };
        assert_eq!(restored, 7);
        // What was earned is lost too: nobody is called at once.
        let joined = line.join(&sale(), Score::default(), &visitors(0..1), clock).await.expect("joined");
        assert!(matches!(joined[..], [Standing::Waiting { .. }]), "{joined:?}");
    });
}

#[test]
fn who_is_gone_from_the_front_of_a_restored_line_holds_up_nobody() {
    let server = Server::start();
    let (line, mut raw, sale) = (server.line.clone(), server.raw.clone(), sale());
    server.runtime.block_on(async {
        let at = |s: u64| Clock::Micros(START_US + s * 1_000_000);
        let paused = settings(r#"{"rate_per_min": 600, "burst": 5, "max_inside": 9, "state": "paused"}"#);
        open(&line, &paused, at(0)).await;
        let all = visitors(0..3);
        let joined = line.join(&sale, Score::default(), &all, at(0)).await.expect("joined");
        let Standing::Waiting { score, .. } = joined[2] else { panic!("{joined:?}") };
        // The horizon was published once, when the line was written down; then another process goes on from that.
        line.snapshot(&sale, 0, at(1)).await.expect("asked").expect("known");
        let open = Settings { state: queue::SaleState::Open, ..paused };
        line.configure(&sale, &open, None, Expect::Any, at(1)).await.expect("opened");
        redis::cmd("HSET")
            .arg(&keys::of(&sale)[5])
            .arg(&["run_id", "another"])
            .query_async::<()>(&mut raw)
            .await
            .expect("set");
        let tick = line.admit(&sale, at(20)).await.expect("a tick");
        assert_eq!((tick.called, tick.set_aside), (0, 0), "calling rests");
        // Only the last of them still asks.
        line.seen(&sale, &[(all[2], score)], at(24)).await.expect("seen");
        for s in 20..=25 {
            line.snapshot(&sale, 0, at(s)).await.expect("asked").expect("known");
        }
        // A fan of a gateway that learnt late that Redis is back may still be on its way.
        let tick = line.admit(&sale, Clock::Micros(START_US + 25_900_000)).await.expect("a tick");
        assert_eq!((tick.called, tick.set_aside), (0, 0), "nobody is overtaken");
        let tick = line.admit(&sale, at(26)).await.expect("a tick");
        assert_eq!((tick.called, tick.set_aside), (1, 2));
    });
}

#[test]
fn all_keys_of_a_sale_are_under_its_hash_tag() {
    let server = Server::start();
    let (line, mut raw, sale) = (server.line.clone(), server.raw.clone(), sale());
    server.runtime.block_on(async {
        let at = |s: u64| Clock::Micros(START_US + s * 1_000_000);
        open(&line, &settings(r#"{"rate_per_min": 60, "max_inside": 9, "claim_window_s": 5}"#), at(0)).await;
        let (all, floor) = (visitors(0..9), Score::default());
        line.join(&sale, floor, &all, at(0)).await.expect("joined");
        line.claim(&sale, all[0], Device::FIRST, at(1)).await.expect("claimed");
        line.renew(&sale, &[(all[0], 0)], at(1)).await.expect("renewed");
        line.admit(&sale, at(2)).await.expect("a tick");
        for s in [6, 12] {
            // The horizon has to stand for a while before silence below it counts.
            line.snapshot(&sale, 0, at(s)).await.expect("a snapshot");
        }
        line.admit(&sale, at(20)).await.expect("a tick that sets aside");
        line.depart(&sale, all[8], None, at(21)).await.expect("departed");
        let late = line.join(&sale, floor, &visitors(9..11), at(21)).await.expect("joined");
        assert!(matches!(late[..], [Standing::Called { .. }, Standing::Waiting { .. }]), "{late:?}");
        line.snapshot(&sale, 0, at(21)).await.expect("a snapshot");
        let code = queue::Code::from_bits(1);
        let Standing::Waiting { score, .. } = late[1] else { panic!("{late:?}") };
        for visitor in [all[7], all[6]] {
            line.offer(&sale, (visitor, score).into(), code, at(21)).await.expect("offered");
            line.offer(&sale, (visitor, score).into(), queue::Code::from_bits(2), at(21)).await.expect("offered");
            line.take(&sale, code, Taker::from_bytes([1; 16]), at(21)).await.expect("taken");
        }
        let own: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut raw).await.expect("keys");
        let (mut own, mut expected) = (own, keys::of(&sale).to_vec());
        own.sort();
        expected.sort();
        assert_eq!(own, expected);
    });
}

#[test]
fn numbers_beyond_a_thousand_million_million_survive() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    // Near the end of what is exact: the year 2255.
    let now_us = Score::MAX.get() - 400_000_000;
    server.runtime.block_on(async {
        let clock = Clock::Micros(now_us);
        open(&line, &settings(r#"{"rate_per_min": 1, "max_inside": 9}"#), clock).await;
        let all = visitors(0..1500);
        let floor = Score::new(now_us + 5).expect("a score");
        let mut scores = Vec::new();
        for batch in all.chunks(queue::join::BATCH_MAX) {
            for standing in line.join(&sale, floor, batch, clock).await.expect("joined") {
                scores.push(match standing {
                    Standing::Waiting { score, .. } => score.get(),
                    Standing::Called { turn, .. } => turn.score.get(),
                    other => panic!("{other:?}"),
                });
            }
        }
        assert_eq!(scores, (now_us + 6..now_us + 1506).collect::<Vec<_>>());
        let Standing::Inside { turn, expires_ms } =
            line.claim(&sale, all[0], Device::FIRST, clock).await.expect("claimed")
        else {
            panic!("the first was called at once");
        };
        assert_eq!((turn.score.get(), turn.called_us, expires_ms), (scores[0], now_us, now_us / 1000 + 600_000));
        let snapshot = line.snapshot(&sale, 0, clock).await.expect("asked").expect("known");
        assert_eq!((snapshot.at_us, snapshot.last_score.get()), (now_us, scores[1499]));
        assert_eq!(snapshot.horizon.map(Score::get), Some(scores[101]));
        for (ahead, &score) in scores[1..].iter().enumerate() {
            assert_eq!(snapshot.ranks.ahead_of(Score::new(score).expect("a score")), ahead as u64);
        }
    });
}

#[test]
fn a_tick_is_quick_however_many_wait() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    server.runtime.block_on(async {
        let clock = Clock::Micros(START_US);
        let paused = settings(r#"{"rate_per_min": 600000, "burst": 9000, "max_inside": 9000, "state": "paused"}"#);
        open(&line, &paused, clock).await;
        for batch in visitors(0..100_000).chunks(queue::join::BATCH_MAX) {
            line.join(&sale, Score::default(), batch, clock).await.expect("joined");
        }
        let open = Settings { state: queue::SaleState::Open, ..paused };
        line.configure(&sale, &open, None, Expect::Any, clock).await.expect("opened");
        let mut took = Vec::new();
        for _ in 0..9 {
            let began = Instant::now();
            let tick = line.admit(&sale, clock).await.expect("a tick");
            took.push(began.elapsed());
            assert_eq!((tick.called, tick.set_aside), (500, 0));
        }
        took.sort();
        println!("calling 500 of 100,000 takes {:?} to {:?}, usually {:?}", took[0], took[8], took[4]);
    });
}

/// Two gateways' worth of tasks tick, join, claim and depart as fast as they can, on the server's own clock.
#[test]
fn gateways_at_once_keep_to_rate_and_room() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut raw = server::raw(server.redis(), "").await;
        let gateways = [server::connect(server.redis()).await, server::connect(server.redis()).await];
        let rules = settings(r#"{"rate_per_min": 12000, "burst": 7, "max_inside": 40}"#);
        open(&gateways[0], &rules, Clock::Server).await;
        let until = Instant::now() + Duration::from_millis(1500);
        let mut tasks = Vec::new();
        for task in 0..8u32 {
            let line = gateways[task as usize % 2].clone();
            tasks.push(tokio::spawn(busy_gateway(line, task, until)));
        }
        while Instant::now() < until {
            assert!(occupied(&mut raw).await <= rules.max_inside);
        }
        let mut called_us = Vec::new();
        for task in tasks {
            called_us.extend(task.await.expect("a task that ends well"));
        }
        called_us.sort_unstable();
        called_us.dedup_by_key(|(seq, _)| *seq);
        within_rate(&called_us, &rules);
        println!("{} called in {:?}", called_us.len(), Duration::from_millis(1500));
    });
}

/// What one task does; answers number and time of every turn it saw.
async fn busy_gateway(line: Line, task: u32, until: Instant) -> Vec<(u64, u64)> {
    let (sale, clock, mut turns) = (sale(), Clock::Server, Vec::new());
    let mut newcomers = task * 1_000_000..(task + 1) * 1_000_000;
    let mut polling: Vec<(VisitorId, Score)> = Vec::new();
    while Instant::now() < until {
        let batch: Vec<VisitorId> = visitors(newcomers.start..newcomers.start + 4);
        newcomers.start += 4;
        let joined = line.join(&sale, Score::default(), &batch, clock).await.expect("joined");
        polling.extend(batch.iter().map(|&visitor| (visitor, Score::default())));
        assert_eq!(joined.len(), 4);
        line.admit(&sale, clock).await.expect("a tick");
        let some: Vec<_> = polling.iter().take(queue::seen::BATCH_MAX).copied().collect();
        for (&(visitor, _), standing) in some.iter().zip(line.seen(&sale, &some, clock).await.expect("seen")) {
            if let Standing::Called { turn, .. } = standing {
                turns.push((turn.seq, turn.called_us));
                line.claim(&sale, visitor, Device::FIRST, clock).await.expect("claimed");
                line.depart(&sale, visitor, None, clock).await.expect("departed");
                polling.retain(|&(polls, _)| polls != visitor);
            }
        }
    }
    turns
}

async fn occupied(raw: &mut MultiplexedConnection) -> u64 {
    let [_, _, _, called, inside, ..] = keys::of(&sale());
    let mut both = redis::pipe();
    both.atomic().cmd("ZCARD").arg(called).cmd("ZCARD").arg(inside);
    let (called, inside): (u64, u64) = both.query_async(raw).await.expect("counted");
    called + inside
}

/// Every window, by hand: at most the burst and what the time between earns.
fn within_rate(called: &[(u64, u64)], rules: &Settings) {
    assert!(called.len() as u64 > 10 * rules.burst(), "too few called to tell: {}", called.len());
    for (i, &(first_seq, from_us)) in called.iter().enumerate() {
        for &(last_seq, to_us) in &called[i..] {
            let earned = to_us.saturating_sub(from_us) * rules.rate_milli() / 60_000_000_000;
            let in_window = last_seq - first_seq + 1;
            assert!(in_window <= rules.burst() + earned, "{in_window} called from {from_us} to {to_us}");
        }
    }
}
