//! What a row of looks shows. Pure: the time is a parameter, from a clock that only goes forward.

use std::collections::VecDeque;

use crate::govern::decide::{Evidence, Trouble};
use crate::govern::health::Health;
use crate::govern::look::Look;

/// Failures are counted over this long.
const ANSWERS_WINDOW_MS: u64 = 10_000;
/// A share of fewer answers than this says nothing.
const ANSWERS_MIN: u64 = 20;
/// A larger share of failures than this is trouble.
const FAILED_MAX_PER_CENT: u64 = 5;

/// How many answers of the origin a gateway has passed on, and how many of them were failures; both only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// All.
    pub all: u64,
    /// Those with a status from 500 on, or none.
    pub failed: u64,
}

/// What is remembered from look to look, of one sale.
#[derive(Debug, Default)]
pub struct Watch {
    silent_looks: u32,
    well_since_ms: Option<u64>,
    answers: VecDeque<(u64, Answers)>,
}

impl Watch {
    /// Notes one look at every node, and answers what all looks together show.
    pub fn note(&mut self, looks: &[Look], answers: Answers, p99_bound_ms: u64, now_ms: u64) -> Evidence {
        let is_silent = looks.iter().all(|look| *look == Look::Silent);
        self.silent_looks = if is_silent { self.silent_looks.saturating_add(1) } else { 0 };
        let told: Vec<&Health> = looks
            .iter()
            .filter_map(|look| match look {
                Look::Told(health) => Some(health),
                Look::ToldNothing | Look::Silent => None,
            })
            .collect();
        // A node behind the others may still show what is gone, and that is harmless; so the most that any node has counts.
        let stock_left = told.iter().filter_map(|health| health.stock_left).max();
        let trouble = Trouble {
            failed_per_cent: self.failed_per_cent(answers, now_ms).filter(|share| *share > FAILED_MAX_PER_CENT),
            slow_ms: told
                .iter()
                .filter_map(|health| health.holds_p99_ms)
                .filter(|p99_ms| *p99_ms > p99_bound_ms as f64)
                .max_by(f64::total_cmp)
                .map(|p99_ms| (p99_ms.round() as u64, p99_bound_ms)),
            asked: told
                .iter()
                .map(|health| health.accept_factor)
                .min_by(f64::total_cmp)
                .map(|accepted| (accepted * 1000.0).round() as u64)
                .filter(|accepted_milli| *accepted_milli < 1000),
        };
        let is_well = !is_silent && stock_left != Some(0) && !trouble.is_any();
        self.well_since_ms = if is_well { self.well_since_ms.or(Some(now_ms)) } else { None };
        Evidence {
            silent_looks: self.silent_looks,
            stock_left,
            trouble,
            well_ms: self.well_since_ms.map(|since_ms| now_ms.saturating_sub(since_ms)),
        }
    }

    /// The share of failures over the window, when there were answers enough to speak of one.
    fn failed_per_cent(&mut self, answers: Answers, now_ms: u64) -> Option<u64> {
        self.answers.push_back((now_ms, answers));
        while self.answers.len() > 1 && self.answers[1].0 + ANSWERS_WINDOW_MS <= now_ms {
            self.answers.pop_front();
        }
        let (_, before) = self.answers.front()?;
        let all = answers.all.saturating_sub(before.all);
        let failed = answers.failed.saturating_sub(before.failed);
        (all >= ANSWERS_MIN).then(|| failed * 100 / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(health: Health) -> Look {
        Look::Told(health)
    }

    #[test]
    fn silence_is_counted_only_while_no_node_answers() {
        let mut watch = Watch::default();
        let rounds = [
            (vec![Look::Silent, Look::Silent], 1),
            (vec![Look::Silent, Look::Silent], 2),
            (vec![Look::Silent, Look::ToldNothing], 0),
            (vec![Look::Silent, Look::Silent], 1),
        ];
        for (second, (looks, silent_looks)) in rounds.into_iter().enumerate() {
            let evidence = watch.note(&looks, Answers::default(), 500, second as u64 * 1000);
            assert_eq!(evidence.silent_looks, silent_looks, "second {second}");
        }
    }

    #[test]
    fn the_worst_node_and_the_most_stock_count() {
        let mut watch = Watch::default();
        let looks = [
            told(Health { stock_left: Some(0), holds_p99_ms: Some(900.0), accept_factor: 1.0 }),
            told(Health { stock_left: Some(3), holds_p99_ms: Some(20.0), accept_factor: 0.25 }),
        ];
        let evidence = watch.note(&looks, Answers::default(), 500, 0);
        assert_eq!(evidence.stock_left, Some(3));
        assert_eq!((evidence.trouble.slow_ms, evidence.trouble.asked), (Some((900, 500)), Some(250)));
        assert_eq!(evidence.well_ms, None);
    }

    #[test]
    fn wellness_lasts_from_the_first_good_look_on() {
        let mut watch = Watch::default();
        let well = [told(Health { stock_left: Some(5), ..Health::default() })];
        for (second, expected) in [(0, 0), (1, 1000), (9, 9000)] {
            let evidence = watch.note(&well, Answers::default(), 500, second * 1000);
            assert_eq!(evidence.well_ms, Some(expected));
        }
        let slow = [told(Health { holds_p99_ms: Some(501.0), ..Health::default() })];
        assert_eq!(watch.note(&slow, Answers::default(), 500, 10_000).well_ms, None);
        assert_eq!(watch.note(&well, Answers::default(), 500, 11_000).well_ms, Some(0));
    }

    #[test]
    fn failures_are_a_share_of_the_last_ten_seconds() {
        let mut watch = Watch::default();
        let well = [told(Health::default())];
        let mut at = |second: u64, all: u64, failed: u64| {
            watch.note(&well, Answers { all, failed }, 500, second * 1000).trouble.failed_per_cent
        };
        assert_eq!(at(0, 1_000, 900), None, "what was before the first look says nothing");
        assert_eq!(at(1, 1_010, 910), None, "too few answers");
        assert_eq!(at(2, 1_100, 910), Some(10));
        assert_eq!(at(11, 1_300, 910), None, "none of the last ten seconds");
    }
}
