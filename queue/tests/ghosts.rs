//! Goal: those who left cost the line neither its rate nor its order. Method: a crowd of fans and ghosts in simulated
//! time against the model, which `conformance.rs` holds to the real thing. Fans ask as the gateway tells them to: every
//! few seconds near the front, rarely far from it. Ghosts joined and never ask.

#[allow(dead_code, reason = "only the flawless model is played here")]
mod model;
mod support;

use std::collections::BTreeMap;

use model::Model;
use queue::configure::Expect;
use queue::{Settings, Standing};
use queue_token::{Score, VisitorId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::operations::visitor_id;

const START_US: u64 = 1_800_000_000_000_000;
const STEP_US: u64 = 100_000;
const RATE_PER_MIN: u64 = 600;

/// A fan: its spot and when it asks next.
struct Fan {
    visitor: VisitorId,
    score: Score,
    asks_us: u64,
}

/// Whoever joined, in order; true is a fan. Plays until this many seconds have passed; answers the scores of the fans
/// who were called, in order of their call, and when.
fn play(crowd: &[bool], seconds: u64, seed: u64) -> Vec<(u64, u64)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let json =
        format!(r#"{{"rate_per_min": {RATE_PER_MIN}, "burst": 10, "max_inside": 100000, "claim_window_s": 600}}"#);
    let settings: Settings = serde_json::from_str(&json).expect("settings");
    let mut model = Model::default();
    model.configure(&settings, None, Expect::Absent, START_US).expect("configured");
    let visitors: Vec<VisitorId> = (0..crowd.len()).map(|i| visitor_id(u32::try_from(i).expect("few"))).collect();
    let mut fans = Vec::new();
    for (batch, alive) in visitors.chunks(250).zip(crowd.chunks(250)) {
        let standings = model.join(Score::default(), batch, START_US);
        for ((visitor, standing), alive) in batch.iter().zip(standings).zip(alive) {
            if let (Standing::Waiting { score, .. }, true) = (standing, *alive) {
                fans.push(Fan { visitor: *visitor, score, asks_us: START_US + rng.random_range(0..4_000_000) });
            }
        }
    }
    let mut called = BTreeMap::new();
    let mut view = model.snapshot(0, START_US).expect("known");
    for step in 1..=seconds * 10 {
        let now_us = START_US + step * STEP_US;
        model.admit(now_us);
        if step % 5 == 0 {
            view = model.snapshot(0, now_us).expect("known");
        }
        fans.retain_mut(|fan| {
            if fan.asks_us > now_us {
                return true;
            }
            let jitter = rng.random_range(0.85..1.15);
            if view.horizon.is_none_or(|horizon| fan.score <= horizon) {
                fan.asks_us = now_us + (4_000_000.0 * jitter) as u64;
                let standing = model.seen(&[(fan.visitor, fan.score)], now_us)[0];
                if let Standing::Called { turn, .. } = standing {
                    model.claim(fan.visitor, now_us);
                    called.insert((turn.called_us, turn.seq), turn.score.get());
                    return false;
                }
            } else {
                let ahead = view.ranks.ahead_of(fan.score) as f64;
                let wait_s = (ahead * 2.0 / RATE_PER_MIN as f64).clamp(2.0, 60.0);
                fan.asks_us = now_us + (wait_s * jitter * 1e6) as u64;
            }
            true
        });
    }
    called.into_iter().map(|((at_us, _), score)| (at_us, score)).collect()
}

/// Fans called between two seconds of the play.
fn called_between(called: &[(u64, u64)], from_s: u64, to_s: u64) -> usize {
    let within = START_US + from_s * 1_000_000..START_US + to_s * 1_000_000;
    called.iter().filter(|(at_us, _)| within.contains(at_us)).count()
}

fn in_order(called: &[(u64, u64)]) -> bool {
    called.windows(2).all(|pair| pair[0].1 < pair[1].1)
}

#[test]
fn a_line_of_which_seven_in_ten_have_left_keeps_its_rate() {
    for seed in 1..=3 {
        let mut rng = StdRng::seed_from_u64(seed);
        let crowd: Vec<bool> = (0..6_000).map(|_| rng.random_bool(0.3)).collect();
        let called = play(&crowd, 110, seed);
        // The first seconds pass until silence counts; then the rate is 10 a second.
        let calls = called_between(&called, 20, 100);
        assert!(calls as f64 >= 0.98 * 800.0, "seed {seed}: {calls} of 800 calls used");
        assert!(in_order(&called), "seed {seed}: somebody was overtaken");
    }
}

#[test]
fn a_clump_of_ghosts_makes_nobody_overtake_anybody() {
    for seed in 1..=3 {
        let mut rng = StdRng::seed_from_u64(seed);
        let ghosts = std::iter::repeat_n(false, 4_000);
        let crowd: Vec<bool> = ghosts.chain((0..1_500).map(|_| rng.random_bool(0.9))).collect();
        let called = play(&crowd, 150, seed);
        assert!(called_between(&called, 0, 150) > 500, "seed {seed}: the clump was passed: {}", called.len());
        assert!(in_order(&called), "seed {seed}: somebody was overtaken");
    }
}
