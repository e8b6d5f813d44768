//! The origin's say on the rate, on a real Redis: of many gateways that decide alike one makes the change, the last changes
//! are kept, nothing is earned or called while a sale is stopped, and a sale from before there was such a say runs on.

#[path = "support/server.rs"]
mod server;

use std::time::{Duration, Instant};

use queue::configure::Expect;
use queue::govern::{CHANGES_KEPT, Cause};
use queue::{Clock, LineError, Settings, Standing};
use queue_token::{SaleId, Score, VisitorId};
use server::Server;

const START_US: u64 = 1_760_000_000_000_000;
const SECOND_US: u64 = 1_000_000;

fn sale() -> SaleId {
    "governed".parse().expect("a sale id")
}

fn at(second: u64) -> Clock {
    Clock::Micros(START_US + second * SECOND_US)
}

/// Ten a second, at most ten at once.
fn settings() -> Settings {
    let json = r#"{"rate_per_min": 600, "burst": 10, "max_inside": 1000, "health_path": "/health"}"#;
    serde_json::from_str(json).expect("settings")
}

fn crowd(numbers: std::ops::Range<u32>) -> Vec<VisitorId> {
    numbers.map(|n| VisitorId::from_bytes(u128::from(n).to_le_bytes())).collect()
}

#[test]
fn of_many_that_decide_alike_one_makes_the_change() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    server.runtime.block_on(async {
        let unknown = line.govern(&sale, 0, 500, Cause::Slow, "Why.", at(0)).await;
        assert!(matches!(unknown, Err(LineError::UnknownSale)), "{unknown:?}");
        line.configure(&sale, &settings(), None, Expect::Absent, at(0)).await.expect("configured");
        let deciding: Vec<_> = (0..16)
            .map(|_| {
                let (line, sale) = (line.clone(), sale.clone());
                tokio::spawn(async move { line.govern(&sale, 0, 500, Cause::Slow, "Why.", at(1)).await })
            })
            .collect();
        let mut made = 0;
        for decision in deciding {
            made += usize::from(decision.await.expect("ended").expect("answered"));
        }
        assert_eq!(made, 1);
        let snapshot = line.snapshot(&sale, 0, at(1)).await.expect("answered").expect("known");
        assert_eq!((snapshot.governed.seq, snapshot.rate_in_force_per_min), (1, 300.0));
        assert_eq!(line.governed_changes(&sale).await.expect("answered").len(), 1);
    });
}

#[test]
fn the_last_changes_are_kept_newest_first() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    server.runtime.block_on(async {
        assert_eq!(line.governed_changes(&sale).await.expect("answered"), []);
        line.configure(&sale, &settings(), None, Expect::Absent, at(0)).await.expect("configured");
        for seq in 0..60u64 {
            let why = format!("Change\n{seq}.");
            assert!(line.govern(&sale, seq, seq, Cause::Recovering, &why, at(seq)).await.expect("answered"));
        }
        let changes = line.governed_changes(&sale).await.expect("answered");
        assert_eq!(changes.len(), CHANGES_KEPT);
        let factors: Vec<u64> = changes.iter().map(|change| change.factor_milli).collect();
        assert_eq!(factors, (10..60).rev().collect::<Vec<_>>());
        assert_eq!((changes[0].why.as_str(), changes[0].cause), ("Change 59.", Cause::Recovering));
        assert_eq!(changes[0].at_us, START_US + 59 * SECOND_US);
    });
}

#[test]
fn a_stopped_sale_earns_nothing_and_goes_on_with_what_it_had() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    server.runtime.block_on(async {
        line.configure(&sale, &settings(), None, Expect::Absent, at(0)).await.expect("configured");
        line.govern(&sale, 0, 0, Cause::Stock, "Stopped.", at(0)).await.expect("answered");
        line.join(&sale, Score::default(), &crowd(0..90), at(0)).await.expect("joined");
        for second in 1..5 {
            assert_eq!(line.admit(&sale, at(second)).await.expect("a tick").called, 0, "second {second}");
        }
        line.govern(&sale, 1, 500, Cause::Recovering, "Half.", at(5)).await.expect("answered");
        assert_eq!(line.admit(&sale, at(5)).await.expect("a tick").called, 10, "the burst that was there before");
        assert_eq!(line.admit(&sale, at(6)).await.expect("a tick").called, 5, "half the rate");
        // Without a health path the origin has no say, and what was earned until then was earned at half the rate.
        let alone = Settings { health_path: None, ..settings() };
        line.configure(&sale, &alone, None, Expect::Any, at(7)).await.expect("configured");
        assert_eq!(line.admit(&sale, at(7)).await.expect("a tick").called, 5);
        assert_eq!(line.admit(&sale, Clock::Micros(START_US + 7_900_000)).await.expect("a tick").called, 9);
    });
}

/// A stop that Redis forgets is made again before anybody is called: the calm after the loss leaves the time for it.
#[test]
fn a_stop_that_was_lost_can_be_made_again_in_time() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    server.runtime.block_on(async {
        line.configure(&sale, &settings(), None, Expect::Absent, at(0)).await.expect("configured");
        line.govern(&sale, 0, 0, Cause::Stock, "Stopped.", at(0)).await.expect("answered");
    });
    server.redis().node().kill9().expect("killed");
    server.redis().up().expect("up again, empty");
    server.runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs(10);
        while let Err(error) = line.configure(&sale, &settings(), None, Expect::Lost(1), at(1)).await {
            assert!(error.is_outage() && Instant::now() < until, "{error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let snapshot = line.snapshot(&sale, 0, at(1)).await.expect("answered").expect("known");
        assert_eq!((snapshot.governed.seq, snapshot.governed.factor_milli), (0, 1000), "the stop is lost");
        let joined = line.join(&sale, Score::default(), &crowd(0..5), at(1)).await.expect("joined");
        assert!(joined.iter().all(|standing| matches!(standing, Standing::Waiting { .. })), "{joined:?}");
        assert_eq!(line.admit(&sale, at(5)).await.expect("a tick").called, 0);
        assert!(line.govern(&sale, 0, 0, Cause::Stock, "Stopped.", at(5)).await.expect("answered"));
        assert_eq!(line.admit(&sale, at(8)).await.expect("a tick").called, 0, "stopped again, after the calm");
    });
}

#[test]
fn a_sale_from_before_there_was_a_say_runs_on() {
    let server = Server::start();
    let (line, sale, mut raw) = (server.line.clone(), sale(), server.raw.clone());
    server.runtime.block_on(async {
        line.configure(&sale, &settings(), None, Expect::Absent, at(0)).await.expect("configured");
        let fields = redis::cmd("HKEYS").arg("{governed}:state").query_async::<Vec<String>>(&mut raw).await;
        let fields = fields.expect("the state's fields");
        assert!(
            !fields.iter().any(|field| field.starts_with("governed_")),
            "as an older version writes it: {fields:?}"
        );
        let snapshot = line.snapshot(&sale, 0, at(0)).await.expect("answered").expect("known");
        assert_eq!((snapshot.governed.factor_milli, snapshot.rate_in_force_per_min), (1000, 600.0));
        assert!(line.govern(&sale, 0, 700, Cause::Slow, "Slow.", at(1)).await.expect("answered"));
    });
}

#[test]
fn the_digest_of_a_file_stays_until_another_files_settings_come() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    server.runtime.block_on(async {
        let digest = async || line.snapshot(&sale, 0, at(0)).await.expect("answered").expect("known").file_digest;
        line.configure(&sale, &settings(), None, Expect::Absent, at(0)).await.expect("configured");
        assert_eq!(digest().await, None);
        let from = async |digest| line.configure_from(digest, &sale, &settings(), None, Expect::Any, at(0)).await;
        from(Some("aaaa")).await.expect("configured");
        assert_eq!(digest().await.as_deref(), Some("aaaa"));
        line.configure(&sale, &settings(), None, Expect::Any, at(0)).await.expect("by the organiser");
        assert_eq!(digest().await.as_deref(), Some("aaaa"));
        from(Some("bbbb")).await.expect("configured");
        assert_eq!(digest().await.as_deref(), Some("bbbb"));
    });
}

/// A gateway that began to look while the origin had a say comes too late with what it saw.
#[test]
fn an_origin_without_a_say_changes_nothing() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    let alone = Settings { health_path: None, ..settings() };
    server.runtime.block_on(async {
        line.configure(&sale, &settings(), None, Expect::Absent, at(0)).await.expect("configured");
        line.configure(&sale, &alone, None, Expect::Any, at(1)).await.expect("configured");
        let late = line.govern(&sale, 0, 0, Cause::Stock, "Stopped.", at(1)).await;
        assert!(!late.expect("answered"), "the say was taken away while this one was on its way");
        let snapshot = line.snapshot(&sale, 0, at(1)).await.expect("answered").expect("known");
        assert_eq!((snapshot.governed.seq, snapshot.rate_in_force_per_min), (0, 600.0));
        line.configure(&sale, &settings(), None, Expect::Any, at(2)).await.expect("configured");
        assert!(line.govern(&sale, 0, 0, Cause::Stock, "Stopped.", at(2)).await.expect("answered"), "given back");
    });
}

#[test]
fn nobody_stops_a_sale_for_silence_while_another_gateway_hears_the_origin() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    server.runtime.block_on(async {
        let unknown = line.heard(&sale, at(0)).await;
        assert!(matches!(unknown, Err(LineError::UnknownSale)), "{unknown:?}");
        assert_eq!(line.snapshot(&sale, 0, at(0)).await.expect("answered"), None, "nothing is made by hearing");
        line.configure(&sale, &settings(), None, Expect::Absent, at(0)).await.expect("configured");
        let silent = async |seq, second| line.govern(&sale, seq, 0, Cause::Silent, "Stopped.", at(second)).await;
        line.heard(&sale, at(10)).await.expect("noted");
        assert!(!silent(0, 10).await.expect("answered") && !silent(0, 12).await.expect("answered"));
        assert!(
            line.govern(&sale, 0, 700, Cause::Slow, "Slow.", at(12)).await.expect("answered"),
            "what is heard counts"
        );
        assert!(silent(1, 13).await.expect("answered"), "not heard for three seconds");
        line.govern(&sale, 2, 1000, Cause::Full, "Full.", at(20)).await.expect("answered");
        line.heard(&sale, at(20)).await.expect("noted");
        assert!(silent(3, 15).await.expect("answered"), "the clock has stepped back: what lies ahead says nothing");
    });
}
