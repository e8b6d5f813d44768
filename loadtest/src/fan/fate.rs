//! What a fan is like, drawn once at birth so that the same seed gives the same crowd.

use rand::{Rng, RngExt};

use crate::scenario::{Behaviour, JoinBy, Quantity, Want};

/// What a fan does with its hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Pays for it.
    Pay,
    /// Walks away.
    Abandon,
    /// Gives it back.
    Release,
}

/// What a fan is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Fate {
    /// How it joins.
    pub join: JoinBy,
    /// What it wants.
    pub want: Want,
    /// How many.
    pub quantity: u32,
    /// When it leaves the line, counted from joining.
    pub leaves_after_s: Option<f64>,
    /// When it falls silent in the line, counted from joining.
    pub silent_after_s: Option<f64>,
    /// What it does with its hold.
    pub keep: Keep,
    /// Its payment token.
    pub token: String,
    /// Whether it tries a second card.
    pub second_card: bool,
    /// Whether it tells the gateway when it is done.
    pub says_goodbye: bool,
    /// Whether it looks at page and event first.
    pub looks_around: bool,
}

impl Fate {
    /// A draw; every fan takes the same number of draws.
    pub fn draw(behaviour: &Behaviour, rng: &mut impl Rng) -> Self {
        let join = behaviour.join.draw(rng).unwrap_or(JoinBy::Page);
        let want = behaviour.want.draw(rng).unwrap_or(Want::Best);
        let Quantity(quantity) = behaviour.quantity.draw(rng).unwrap_or(Quantity(1));
        let patience: f64 = rng.random();
        let moment: f64 = rng.random();
        let leaves = patience < behaviour.leaves;
        let silent = !leaves && patience < behaviour.leaves + behaviour.goes_silent;
        let intent: f64 = rng.random();
        let keep = if intent < behaviour.abandons {
            Keep::Abandon
        } else if intent < behaviour.abandons + behaviour.releases {
            Keep::Release
        } else {
            Keep::Pay
        };
        Self {
            join,
            want,
            quantity,
            leaves_after_s: leaves.then_some(moment * behaviour.leaves_within_s),
            silent_after_s: silent.then_some(moment * behaviour.silent_within_s),
            keep,
            token: behaviour.payment.draw(rng).unwrap_or_else(|| "tok_ok".to_owned()),
            second_card: rng.random::<f64>() < behaviour.second_card,
            says_goodbye: rng.random::<f64>() < behaviour.says_goodbye,
            looks_around: rng.random::<f64>() < behaviour.looks_around,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn shares_come_out_as_asked() {
        let behaviour =
            Behaviour { leaves: 0.05, goes_silent: 0.1, abandons: 0.08, releases: 0.04, ..Behaviour::default() };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let fates: Vec<Fate> = (0..10_000).map(|_| Fate::draw(&behaviour, &mut rng)).collect();
        let share = |f: &dyn Fn(&Fate) -> bool| fates.iter().filter(|fate| f(fate)).count() as f64 / 10_000.0;
        assert!((share(&|f| f.leaves_after_s.is_some()) - 0.05).abs() < 0.01);
        assert!((share(&|f| f.silent_after_s.is_some()) - 0.10).abs() < 0.01);
        assert!((share(&|f| f.keep == Keep::Abandon) - 0.08).abs() < 0.01);
        assert!((share(&|f| f.keep == Keep::Release) - 0.04).abs() < 0.01);
        assert!((share(&|f| f.want == Want::Areas) - 0.2).abs() < 0.02);
    }
}
