//! How much comes back when a booking is cancelled: by how long it still is until the event starts.
//!
//! A booking keeps a snapshot of the policy of its day, so that a later change takes nothing from anybody.
//! Invariant: a refund is never more than what was paid; halves of a minor unit go to the buyer.

use serde::{Deserialize, Serialize};

/// One step of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundTier {
    /// It holds until so many seconds before the start.
    pub until_s: i64,
    /// How much of the price comes back.
    pub percent: u8,
}

/// Why a policy makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// More comes back than was paid.
    #[error("a refund is 0 to 100 percent")]
    Percent,
    /// Later is better than earlier, or one moment has two answers.
    #[error("the tiers go from the earliest to the latest, and what comes back never rises")]
    Order,
    /// Before the start means before the start.
    #[error("a tier ends before the start of the event")]
    AfterStart,
}

/// Tiers from the earliest to the latest. After the last one a booking cannot be cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RefundPolicy(Vec<RefundTier>);

impl RefundPolicy {
    /// A checked policy.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn new(tiers: Vec<RefundTier>) -> Result<Self, PolicyError> {
        if tiers.iter().any(|tier| tier.percent > 100) {
            return Err(PolicyError::Percent);
        }
        if tiers.iter().any(|tier| tier.until_s < 0) {
            return Err(PolicyError::AfterStart);
        }
        let falls =
            tiers.windows(2).all(|pair| pair[0].until_s > pair[1].until_s && pair[0].percent >= pair[1].percent);
        if falls { Ok(Self(tiers)) } else { Err(PolicyError::Order) }
    }

    /// Everything comes back until so long before the start, and nothing can be cancelled after.
    #[must_use]
    pub fn full_until(until_s: i64) -> Self {
        Self(vec![RefundTier { until_s: until_s.max(0), percent: 100 }])
    }

    /// The tier that holds so many seconds before the start; none when it is too late to cancel.
    #[must_use]
    pub fn tier(&self, left_s: i64) -> Option<RefundTier> {
        self.0.iter().find(|tier| left_s > tier.until_s).copied()
    }

    /// The last moment to cancel, in seconds before the start; none when bookings cannot be cancelled at all.
    #[must_use]
    pub fn last_s(&self) -> Option<i64> {
        self.0.last().map(|tier| tier.until_s)
    }

    /// The tiers.
    #[must_use]
    pub fn tiers(&self) -> &[RefundTier] {
        &self.0
    }
}

impl RefundTier {
    /// What comes back of a price in minor units.
    #[must_use]
    pub fn of(self, paid: i64) -> i64 {
        let hundredths = i128::from(paid.max(0)) * i128::from(self.percent.min(100));
        i64::try_from((hundredths + 50) / 100).unwrap_or(0).min(paid.max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: i64 = 86_400;

    fn tier(days: i64, percent: u8) -> RefundTier {
        RefundTier { until_s: days * DAY_S, percent }
    }

    #[test]
    fn full_then_half_then_nothing_then_too_late() {
        let policy = RefundPolicy::new(vec![tier(14, 100), tier(3, 50), tier(1, 0)]).expect("a good policy");
        let at = |left_s: i64| policy.tier(left_s).map(|tier| tier.of(4351));
        assert_eq!(at(14 * DAY_S + 1), Some(4351));
        assert_eq!(at(14 * DAY_S), Some(2176), "the boundary belongs to the later tier");
        assert_eq!(at(3 * DAY_S), Some(0));
        assert_eq!((at(DAY_S), at(-5)), (None, None));
        assert_eq!(policy.last_s(), Some(DAY_S));
    }

    #[test]
    fn senseless_policies_are_refused() {
        for (tiers, why) in [
            (vec![tier(1, 101)], PolicyError::Percent),
            (vec![tier(1, 50), tier(2, 100)], PolicyError::Order),
            (vec![tier(2, 50), tier(1, 60)], PolicyError::Order),
            (vec![tier(2, 50), tier(2, 50)], PolicyError::Order),
            (vec![tier(-1, 50)], PolicyError::AfterStart),
        ] {
            assert_eq!(RefundPolicy::new(tiers), Err(why));
        }
        assert_eq!(RefundPolicy::new(Vec::new()).expect("nothing can be cancelled").tier(i64::MAX), None);
    }

    #[test]
    fn never_more_than_was_paid() {
        for paid in [0, 1, 3, 4350, i64::MAX] {
            for percent in 0..=100 {
                let back = RefundTier { until_s: 0, percent }.of(paid);
                assert!((0..=paid).contains(&back), "{percent} % of {paid} is {back}");
            }
            assert_eq!(RefundTier { until_s: 0, percent: 100 }.of(paid), paid);
        }
        assert_eq!(RefundTier { until_s: 0, percent: 100 }.of(-5), 0);
    }
}
