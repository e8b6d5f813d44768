//! A primary that was replaced does not know it: deaf to the sentinels' orders it goes on
//! taking writes from a gateway that still speaks to it, while another gateway has found the next primary. What both
//! call together stays within the rate and what the cut-off one earned after the split; `min-replicas-max-lag` ends it.

#[allow(dead_code, reason = "defects are for the other suites")]
mod model;
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, UNIX_EPOCH};

use queue::configure::Expect;
use queue::{Clock, Line, LineOptions, Settings, Standing};
use queue_token::{SaleId, Score, VisitorId};
use stack::RedisLayout;
use stack::redis::{Redis, Servers};
use support::operations::visitor_id;
use support::server;
use tokio::time::sleep;

const RATE_MILLI: u64 = 3_000_000;
const BURST: u64 = 5;
/// For how long the old primary takes writes after the split: what `min-replicas-max-lag` is set to where links fall
/// silent. Here its links to the replicas are closed, which it would notice at once, so its bound is lifted and put back.
const LAG: Duration = Duration::from_secs(3);

fn sale() -> SaleId {
    "split".parse().expect("a sale id")
}

/// Replaces a primary that does not hear of it: it is deaf to the order to become a replica. Answers its successor,
/// which has a replica of its own and so takes writes.
async fn replace<'a>(servers: &'a Servers, first: &Redis) -> &'a Redis {
    first.command(&["ACL", "SETUSER", "default", "-slaveof", "-replicaof"]).expect("deaf");
    first.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).expect("lifted");
    servers.sentinels()[0].command(&["SENTINEL", "FAILOVER", "usher"]).expect("begun");
    let until = Instant::now() + Duration::from_secs(25);
    loop {
        let next = servers.servers().iter().filter(|server| server.url() != first.url()).find(|server| {
            let facts = server.command(&["INFO", "replication"]).expect("facts");
            let has = |fact: &str| facts.iter().any(|known| known == fact);
            has("role:master") && !has("min_slaves_good_slaves:0")
        });
        if let Some(next) = next {
            return next;
        }
        assert!(Instant::now() < until, "no other primary");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A call as it was told: when, in microseconds, and to whom.
type Call = (u64, VisitorId);

/// A gateway that ticks and carries the polls of these visitors until told to stop; the calls it heard of, and when it
/// was last answered.
async fn work(
    line: Line,
    mut polling: Vec<(VisitorId, Score)>,
    stop: tokio::sync::watch::Receiver<bool>,
) -> (BTreeSet<Call>, Instant) {
    let (mut calls, mut answered) = (BTreeSet::new(), Instant::now());
    while !*stop.borrow() {
        if line.admit(&sale(), Clock::Server).await.is_ok() {
            answered = Instant::now();
        }
        let asked: Vec<_> = polling.iter().take(200).copied().collect();
        if let Ok(standings) = line.seen(&sale(), &asked, Clock::Server).await {
            for (&(visitor, _), standing) in asked.iter().zip(standings) {
                if let Standing::Called { turn, .. } = standing {
                    calls.insert((turn.called_us, visitor));
                    polling.retain(|&(polls, _)| polls != visitor);
                }
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
    (calls, answered)
}

/// A direct line to one server, which stays with it whatever the sentinels say.
async fn straight_to(server: &Redis) -> Line {
    Line::connect(&server.url(), &LineOptions::default()).await.expect("a line to one server")
}

async fn join(line: &Line, visitors: u32) -> Vec<(VisitorId, Score)> {
    let visitors: Vec<VisitorId> = (0..visitors).map(visitor_id).collect();
    let mut places = Vec::new();
    for batch in visitors.chunks(200) {
        let standings = line.join(&sale(), Score::default(), batch, Clock::Server).await.expect("joined");
        places.extend(batch.iter().zip(standings).filter_map(|(&visitor, standing)| match standing {
            Standing::Waiting { score, .. } => Some((visitor, score)),
            _ => None,
        }));
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn two_primaries_call_no_more_than_the_bound() {
    let servers = server::servers(RedisLayout::Sentinel);
    let settings = format!(r#"{{"rate_per_min": {}, "burst": {BURST}, "max_inside": 100000}}"#, RATE_MILLI / 1000);
    let settings: Settings = serde_json::from_str(&settings).expect("settings");
    let first = servers.primary("").expect("a primary");
    let old = straight_to(first).await;
    old.configure(&sale(), &settings, None, Expect::Absent, Clock::Server).await.expect("configured");
    let places = join(&old, 2_000).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let on_old = tokio::spawn(work(old, places.clone(), stopped.clone()));
    sleep(Duration::from_secs(1)).await;

    let began = Instant::now();
    let next = replace(&servers, first).await;
    let (split, split_us) = (Instant::now(), UNIX_EPOCH.elapsed().expect("after 1970").as_micros());
    println!("another primary takes writes {:?} after the order", began.elapsed());
    let on_new = tokio::spawn(work(straight_to(next).await, places, stopped));
    sleep(LAG).await;
    first.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).expect("put back");
    sleep(Duration::from_secs(6)).await;
    stop.send_replace(true);
    let (by_old, last_of_old) = on_old.await.expect("worked");
    let (by_new, _) = on_new.await.expect("worked");

    let beyond = by_old.iter().filter(|call| u128::from(call.0) > split_us).count();
    let lasted = last_of_old.saturating_duration_since(split);
    let twice = by_new.iter().filter(|new| by_old.iter().any(|old| old.1 == new.1 && old.0 != new.0)).count();
    println!(
        "the old primary went on for {lasted:?} and called {beyond}; {} calls heard of the new one, {twice} of them to visitors that the old one had called",
        by_new.len()
    );
    assert!(beyond > 0, "the fault did not bite: the old primary called nobody after it was replaced");
    assert!(lasted <= LAG + Duration::from_secs(1), "the old primary took writes for {lasted:?}");
    assert!(by_new.iter().any(|call| u128::from(call.0) > split_us), "the new primary calls");
    // Every window of both together: burst and rate, and once more what the old one could call after the split.
    let more = BURST as f64 + lasted.as_micros() as f64 * RATE_MILLI as f64 / 60e9;
    let all: BTreeSet<Call> = by_old.union(&by_new).copied().collect();
    let (mut lowest, start) = (f64::MAX, all.first().expect("some").0);
    for (index, (at, _)) in all.iter().enumerate() {
        let level = index as f64 - (at - start) as f64 * RATE_MILLI as f64 / 60e9;
        lowest = lowest.min(level);
        assert!(level - lowest + 1.0 <= BURST as f64 + more + 1e-3, "call {index} is beyond the bound");
    }
}
