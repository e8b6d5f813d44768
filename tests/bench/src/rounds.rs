//! Rounds that alternate between sides, so that noise of the machine meets all of them, and what is made of them.

use anyhow::Result;

use crate::wrk::Load;

/// A side of a comparison: its name, and what runs one round of it.
pub(crate) struct Side<'a> {
    /// For the explanation.
    pub(crate) name: &'static str,
    /// One round.
    pub(crate) run: Box<dyn FnMut() -> Result<Load> + 'a>,
}

impl<'a> Side<'a> {
    /// A side.
    pub(crate) fn new(name: &'static str, run: impl FnMut() -> Result<Load> + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Plays one round of each side to warm up, then so many, in turning order. Answers the rounds of each side.
///
/// # Errors
/// When a round fails.
pub(crate) fn alternate(sides: &mut [Side<'_>], rounds: usize) -> Result<Vec<Vec<Load>>> {
    let mut played: Vec<Vec<Load>> = vec![Vec::new(); sides.len()];
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for i in order {
            let load = (sides[i].run)()?;
            eprintln!("#   round {round} {:<14} {load}", sides[i].name);
            if round > 0 {
                played[i].push(load);
            }
        }
    }
    Ok(played)
}

/// The middle of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => figures[n / 2],
        n => f64::midpoint(figures[n / 2 - 1], figures[n / 2]),
    }
}

/// The middle rate of a side, per core.
pub(crate) fn rate(rounds: &[Load]) -> f64 {
    median(rounds.iter().map(Load::per_core_s).collect())
}

/// The middle of the ratios of rounds that were played side by side.
pub(crate) fn ratio(ours: &[Load], peers: &[Load]) -> f64 {
    median(ours.iter().zip(peers).map(|(ours, peer)| ours.per_core_s() / peer.per_core_s()).collect())
}

/// The value below which this share of the figures lies.
pub(crate) fn quantile(mut figures: Vec<f64>, share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let last = figures.len().saturating_sub(1);
    figures.get((last as f64 * share).ceil() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{median, quantile};

    #[test]
    fn the_middle_and_the_tail() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(hundred.clone(), 0.99), 100.0);
        assert_eq!(quantile(hundred, 0.5), 51.0);
    }
}
