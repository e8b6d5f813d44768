//! Weighted choice among named things, as `{ best = 5, seats = 3 }` in a scenario.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};
use serde::Deserialize;

/// Things with weights; drawing follows the keys' order, so a seed always draws the same.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Weights<K: Ord>(BTreeMap<K, f64>);

impl<K: Ord + Clone> Weights<K> {
    /// Weights from pairs.
    pub fn of(pairs: &[(K, f64)]) -> Self {
        Self(pairs.iter().cloned().collect())
    }

    /// One of the keys; `None` only when there are none or all weigh nothing.
    pub fn draw(&self, rng: &mut impl Rng) -> Option<K> {
        let total: f64 = self.0.values().sum();
        if total <= 0.0 {
            return None;
        }
        let mut left = rng.random_range(0.0..total);
        for (key, weight) in &self.0 {
            if left < *weight {
                return Some(key.clone());
            }
            left -= weight;
        }
        self.0.iter().rev().find(|(_, weight)| **weight > 0.0).map(|(key, _)| key.clone())
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// What is wrong with the weights, if anything.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.0.values().any(|weight| !weight.is_finite() || *weight < 0.0) {
            return Some("a weight must be a number that is not negative");
        }
        if self.0.values().sum::<f64>() <= 0.0 {
            return Some("at least one weight must be above zero");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn draws_in_proportion() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let weights = Weights::of(&[('a', 3.0), ('b', 1.0), ('c', 0.0)]);
        let mut seen = BTreeMap::new();
        for _ in 0..10_000 {
            *seen.entry(weights.draw(&mut rng).expect("weights are positive")).or_insert(0) += 1;
        }
        assert!((7_300..7_700).contains(&seen[&'a']), "{seen:?}");
        assert!(!seen.contains_key(&'c'));
    }

    #[test]
    fn nothing_to_draw_from() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        assert_eq!(Weights::of(&[('a', 0.0)]).draw(&mut rng), None);
        assert!(Weights::of(&[('a', -1.0)]).fault().is_some());
    }
}
