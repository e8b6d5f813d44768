//! Invariant 5: in every window of time, no more visitors were called than the rate and one burst
//! allow.
//!
//! Exact, not sampled: with `R(t)` the integral of the rate and the calls in order, the fullest
//! window is `max over j of (j − R(tⱼ)) − min over i ≤ j of (i − R(tᵢ)) + 1`, found in one pass. Only
//! calls that the history saw are counted, so what is reported is certain, and what is not seen is
//! said.

use super::facts::Facts;
use super::fans::wall_us;
use super::finding::Finding;
use crate::history::Settings;

/// A change of rate is known to lie between two readings, give or take the clocks' difference.
const CLOCKS_US: i64 = 2_000_000;
/// What adding up in floating point may cost.
const TOLERANCE: f64 = 1e-3;

/// The rate over time; where it is uncertain, the higher one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RateLine {
    /// From when, visitors per microsecond; in order, the first from ever.
    pieces: Vec<(i64, f64)>,
    burst: f64,
}

impl RateLine {
    /// One rate throughout.
    pub(super) fn constant(rate_per_min: f64, burst: f64) -> Self {
        Self { pieces: vec![(i64::MIN, rate_per_min / 60e6)], burst }
    }

    /// The rate as it was read during the run.
    pub(super) fn of_settings(settings: &[Settings]) -> Option<Self> {
        let readings: Vec<(i64, f64, f64)> =
            settings.iter().filter_map(|s| Some((wall_us(&s.at)?, s.rate_per_min? / 60e6, s.burst?))).collect();
        let (_, first, _) = *readings.first()?;
        let burst = readings.iter().map(|(_, _, burst)| *burst).fold(0.0, f64::max);
        let mut pieces = vec![(i64::MIN, first)];
        for pair in readings.windows(2) {
            let ((before_us, before, _), (after_us, after, _)) = (pair[0], pair[1]);
            if (before - after).abs() > f64::EPSILON * before {
                pieces.push((before_us - CLOCKS_US, before.max(after)));
                pieces.push((after_us + CLOCKS_US, after));
            }
        }
        // Changes in quick succession overlap: the later piece must not start before the earlier.
        for index in 1..pieces.len() {
            pieces[index].0 = pieces[index].0.max(pieces[index - 1].0);
        }
        Some(Self { pieces, burst })
    }

    /// Visitors that the rate allows between two moments, in order.
    fn allowed(&self, from_us: i64, to_us: i64) -> f64 {
        let mut sum = 0.0;
        for (index, (start_us, rate)) in self.pieces.iter().enumerate() {
            let end_us = self.pieces.get(index + 1).map_or(i64::MAX, |next| next.0);
            let (from, to) = (from_us.max(*start_us), to_us.min(end_us));
            if to > from {
                sum += (to - from) as f64 * rate;
            }
        }
        sum
    }
}

/// The fullest window.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    /// Calls in it beyond what the rate allows for its length.
    excess: f64,
    from_us: i64,
    to_us: i64,
    calls: usize,
}

fn fullest(calls_us: &[i64], rate: &RateLine) -> Option<Window> {
    let first = *calls_us.first()?;
    let (mut allowed, mut before) = (0.0, first);
    let mut lowest = (f64::INFINITY, 0);
    let mut worst: Option<Window> = None;
    for (index, &at) in calls_us.iter().enumerate() {
        allowed += rate.allowed(before, at);
        before = at;
        let level = index as f64 - allowed;
        if level < lowest.0 {
            lowest = (level, index);
        }
        let excess = level - lowest.0 + 1.0;
        if worst.is_none_or(|worst| excess > worst.excess) {
            worst = Some(Window { excess, from_us: calls_us[lowest.1], to_us: at, calls: index - lowest.1 + 1 });
        }
    }
    worst
}

/// Checks the calls that the history saw.
pub(super) fn check(facts: &Facts, rate: Option<&RateLine>) -> Finding {
    const NAME: &str = "called within the rate";
    let mut calls: Vec<i64> = facts.fans.values().filter_map(|fan| fan.called_at_us).collect();
    if calls.is_empty() {
        return Finding::not_checked(NAME, "the history has no time of calling");
    }
    let Some(rate) = rate else {
        return Finding::not_checked(NAME, "the rate is not known (scenario [line], or --control)");
    };
    calls.sort_unstable();
    let mut finding = Finding::new(NAME);
    finding.checked("calls", calls.len());
    finding.checked("rates", rate.pieces.len());
    if let Some(total) = facts.settings.iter().filter_map(|s| s.called_total).max() {
        finding.checked("called in all, by the gateway", total as usize);
    }
    if let Some(window) = fullest(&calls, rate) {
        let length_s = (window.to_us - window.from_us) as f64 / 1e6;
        let text = format!(
            "fullest window: {} calls in {length_s:.3} s, {:.2} above the rate, burst {}",
            window.calls, window.excess, rate.burst
        );
        if window.excess > rate.burst + TOLERANCE {
            finding.breach(|| text);
        } else {
            finding.note(text);
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fans::FanTrace;
    use crate::history::Kind;

    fn facts(calls_us: &[i64]) -> Facts {
        let mut facts = Facts::default();
        for (fan, at) in calls_us.iter().enumerate() {
            facts.fans.insert(fan as u64, FanTrace { called_at_us: Some(*at), ..FanTrace::default() });
        }
        facts
    }

    /// All windows one by one: what the one pass must agree with.
    fn slowly(calls_us: &[i64], rate: &RateLine) -> f64 {
        let mut worst = f64::NEG_INFINITY;
        for i in 0..calls_us.len() {
            for j in i..calls_us.len() {
                worst = worst.max((j - i + 1) as f64 - rate.allowed(calls_us[i], calls_us[j]));
            }
        }
        worst
    }

    #[test]
    fn the_one_pass_agrees_with_all_windows() {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand::rngs::Xoshiro256PlusPlus::seed_from_u64(5);
        let rate = RateLine { pieces: vec![(i64::MIN, 10e-6), (3_000_000, 2e-6), (6_000_000, 30e-6)], burst: 5.0 };
        for _ in 0..50 {
            let mut calls: Vec<i64> = (0..80).map(|_| rng.random_range(0..9_000_000)).collect();
            calls.sort_unstable();
            let quick = fullest(&calls, &rate).expect("there are calls").excess;
            assert!((quick - slowly(&calls, &rate)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_burst_is_allowed_once() {
        let rate = RateLine::constant(600.0, 20.0);
        let burst: Vec<i64> = vec![0; 20];
        assert!(!check(&facts(&burst), Some(&rate)).is_broken());
        let mut after: Vec<i64> = burst;
        after.extend((1..200).map(|n| n * 100_000));
        assert!(!check(&facts(&after), Some(&rate)).is_broken(), "ten per second after it");
        after.push(5_000_000);
        assert!(check(&facts(&after), Some(&rate)).is_broken(), "one more in mid-run");
        assert!(check(&facts(&[0; 21]), Some(&rate)).is_broken());
    }

    #[test]
    fn what_cannot_be_known_is_said() {
        let rate = RateLine::constant(600.0, 20.0);
        assert!(check(&facts(&[]), Some(&rate)).not_checked.is_some());
        assert!(check(&facts(&[1]), None).not_checked.is_some());
    }

    #[test]
    fn a_change_of_rate_counts_as_the_higher_one_while_uncertain() {
        let at = |at: &str, rate: f64| Settings {
            at: at.into(),
            burst: Some(5.0),
            called_total: None,
            end_us: 0,
            kind: Kind::Settings,
            rate_per_min: Some(rate),
            state: None,
            version: None,
        };
        let line = RateLine::of_settings(&[
            at("1970-01-01T00:00:10Z", 60.0),
            at("1970-01-01T00:00:20Z", 60.0),
            at("1970-01-01T00:00:21Z", 600.0),
        ])
        .expect("a rate");
        assert_eq!(line.pieces.len(), 3);
        assert_eq!(line.pieces[1].0, 18_000_000);
        assert!((line.allowed(0, 18_000_000) - 18.0).abs() < 1e-9);
        assert!((line.allowed(18_000_000, 30_000_000) - 120.0).abs() < 1e-6);
        assert_eq!(RateLine::of_settings(&[]), None);
    }
}
