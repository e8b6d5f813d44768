//! The rate is exact with four gateways ticking against one Redis, while the organiser changes it: in every window of
//! time at most burst and rate allow are called, and no less than the rate is used while somebody waits.

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use stack::{Fixture, StackOptions};

use crate::line_crowd::Crowd;
use crate::world::{World, wait_for};

const BURST: u32 = 5;

/// The rate over time, in calls per microsecond from a moment on; between sending a change and its answer the higher
/// of the two rates counts. The clocks are one: everything runs on this machine.
#[derive(Default)]
struct RateLine(Vec<(i64, f64)>);

impl RateLine {
    fn between(&self, from_us: i64, to_us: i64) -> f64 {
        let ends = self.0.iter().skip(1).map(|piece| piece.0).chain([i64::MAX]);
        let pieces = self.0.iter().zip(ends);
        pieces.map(|(&(start, rate), end)| (to_us.min(end) - from_us.max(start)).max(0) as f64 * rate).sum()
    }
}

async fn set_rate(world: &World, gateway: usize, per_min: f64, line: &mut RateLine) {
    let before = line.0.last().map_or(0.0, |piece| piece.1);
    let rate = per_min / 60e6;
    line.0.push((Timestamp::now().as_microsecond(), before.max(rate)));
    let settings =
        json!({"rate_per_min": per_min, "burst": BURST, "max_inside": 100_000, "paths": [{"path": "/e2e/exact"}]});
    let answer = world.control(gateway, Method::PUT, "/control/sales/exact").json(&settings).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    line.0.push((Timestamp::now().as_microsecond(), rate));
}

#[tokio::test(flavor = "multi_thread")]
async fn four_gateways_keep_one_rate_while_it_changes() {
    let options = StackOptions { gateways: 4, fixture: Fixture::Empty, ..StackOptions::default() };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    let paused = json!({"rate_per_min": 600, "burst": BURST, "max_inside": 100_000, "state": "paused"});
    world.create_sale("exact", paused).await;
    let mut crowd = Crowd::of(&world, "exact");
    crowd.join(500).await;

    let mut line = RateLine::default();
    for (gateway, per_min, until) in [(0, 600.0, 60), (1, 2_400.0, 220), (2, 90.0, 230), (3, 1_800.0, 400)] {
        set_rate(&world, gateway, per_min, &mut line).await;
        crowd.until_inside(until).await;
    }
    let turns = crowd.finish().await;
    turns.are_in_order(0);

    // The fullest window in one pass: calls so far beyond what the rate allows, less the lowest such level before.
    let first = turns.0[0].0;
    let mut lowest = f64::MAX;
    for (index, &(at_us, _)) in turns.0.iter().enumerate() {
        let level = index as f64 - line.between(first, at_us);
        lowest = lowest.min(level);
        let window = level - lowest + 1.0;
        assert!(window <= f64::from(BURST) + 1e-3, "call {index}: {window} above the rate, burst {BURST}");
    }
    // And the rate was used: a bound that nobody comes near would show nothing.
    let last = turns.0.last().unwrap().0;
    let allowed = line.between(first, last);
    assert!(turns.0.len() as f64 >= 0.95 * allowed, "{} of {allowed} calls were used", turns.0.len());

    let ticks = |gateway: usize| {
        let request = world.control(gateway, Method::GET, "/metrics");
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    let mut calling = 0;
    for gateway in 0..4 {
        let called = ticks(gateway)
            .await
            .lines()
            .any(|line| line.starts_with("usher_gateway_called_total{sale=\"exact\"}") && !line.ends_with(" 0"));
        calling += usize::from(called);
    }
    assert!(calling >= 2, "only {calling} gateways called anybody: nothing was shared");
    wait_for("everybody was called once", || async { world.numbers("exact").await["called_total"] == 500 }).await;
}
