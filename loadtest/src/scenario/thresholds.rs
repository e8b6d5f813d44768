//! Thresholds: names of metrics and the bounds a scenario sets for them.
//!
//! A name is either `{operation}_{quantile}_ms` (latency from the intended moment; with `_sent_` in
//! between, from the moment of sending) or one of the names in [`Metric::parse`]. Any other name
//! refuses the scenario: a misspelt threshold must not pass by being ignored.

use std::fmt;

use crate::history::Kind;

/// A quantile of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantile {
    /// Half are below.
    P50,
    /// Nine in ten are below.
    P90,
    /// 95 in a hundred are below.
    P95,
    /// 99 in a hundred are below.
    P99,
    /// 999 in a thousand are below.
    P999,
    /// All are at or below.
    Max,
}

impl Quantile {
    /// All of them, lowest first.
    pub const ALL: [Self; 6] = [Self::P50, Self::P90, Self::P95, Self::P99, Self::P999, Self::Max];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p999",
            Self::Max => "max",
        }
    }

    /// Its value between 0 and 1.
    pub fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
            Self::Max => 1.0,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quantile| quantile.name() == name)
    }
}

/// From which moment a latency counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The moment the request was due: free of coordinated omission.
    Intended,
    /// The moment it was sent.
    Sent,
}

/// Something measured that a threshold can bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Latency of one operation, in ms.
    Latency(Kind, Source, Quantile),
    /// Time in the line from join to pass, in s.
    Wait(Quantile),
    /// How late the generator itself was, in ms.
    Lag(Quantile),
    /// Share of operations that ended in an error.
    ErrorsRatio,
    /// Operations that ended in an error.
    Errors,
    /// Fans whose place was lost.
    LostPlaces,
    /// Positions that rose between two polls.
    MovedBack,
    /// Fans that joined.
    Joined,
    /// Fans that got in.
    GotIn,
    /// Bookings confirmed.
    Confirmed,
    /// Seats and places sold.
    Sold,
}

/// On which side of the bound a value is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The value must not be above.
    AtMost,
    /// The value must not be below.
    AtLeast,
}

impl Metric {
    /// The metric and bound of a threshold's name.
    pub fn parse(name: &str) -> Option<(Self, Bound)> {
        let plain = match name {
            "errors_max_ratio" => Some((Self::ErrorsRatio, Bound::AtMost)),
            "errors_max" => Some((Self::Errors, Bound::AtMost)),
            "lost_places_max" => Some((Self::LostPlaces, Bound::AtMost)),
            "moved_back_max" => Some((Self::MovedBack, Bound::AtMost)),
            "joined_min" => Some((Self::Joined, Bound::AtLeast)),
            "got_in_min" => Some((Self::GotIn, Bound::AtLeast)),
            "confirmed_min" => Some((Self::Confirmed, Bound::AtLeast)),
            "sold_min" => Some((Self::Sold, Bound::AtLeast)),
            _ => None,
        };
        plain.or_else(|| Self::parse_quantile(name).map(|metric| (metric, Bound::AtMost)))
    }

    fn parse_quantile(name: &str) -> Option<Self> {
        if let Some(rest) = name.strip_prefix("wait_") {
            return Quantile::parse(rest.strip_suffix("_s")?).map(Self::Wait);
        }
        let rest = name.strip_suffix("_ms")?;
        let (rest, quantile) = rest.rsplit_once('_')?;
        let quantile = Quantile::parse(quantile)?;
        if rest == "generator_lag" {
            return Some(Self::Lag(quantile));
        }
        let (operation, source) = match rest.strip_suffix("_sent") {
            Some(operation) => (operation, Source::Sent),
            None => (rest, Source::Intended),
        };
        let kind = Kind::OPERATIONS.into_iter().find(|kind| kind.name() == operation)?;
        Some(Self::Latency(kind, source, quantile))
    }
}

/// One bound of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// Its name in the file.
    pub name: String,
    /// What it bounds.
    pub metric: Metric,
    /// On which side.
    pub bound: Bound,
    /// The bound itself.
    pub limit: f64,
}

/// A threshold that the run missed.
#[derive(Debug, Clone, PartialEq)]
pub struct Miss {
    /// The threshold.
    pub threshold: Threshold,
    /// What was measured; `None` when nothing was, which is a miss too.
    pub value: Option<f64>,
}

impl Threshold {
    /// The miss, when `value` is on the wrong side or absent.
    pub fn judge(&self, value: Option<f64>) -> Option<Miss> {
        let good = value.is_some_and(|value| match self.bound {
            Bound::AtMost => value <= self.limit,
            Bound::AtLeast => value >= self.limit,
        });
        (!good).then(|| Miss { threshold: self.clone(), value })
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.threshold.bound {
            Bound::AtMost => "at most",
            Bound::AtLeast => "at least",
        };
        match self.value {
            Some(value) => {
                write!(f, "{}: {value:.4}, wanted {side} {}", self.threshold.name, self.threshold.limit)
            }
            None => write!(f, "{}: nothing measured, wanted {side} {}", self.threshold.name, self.threshold.limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_or_refused() {
        assert_eq!(
            Metric::parse("hold_p99_ms"),
            Some((Metric::Latency(Kind::Hold, Source::Intended, Quantile::P99), Bound::AtMost))
        );
        assert_eq!(
            Metric::parse("poll_sent_p50_ms"),
            Some((Metric::Latency(Kind::Poll, Source::Sent, Quantile::P50), Bound::AtMost))
        );
        assert_eq!(Metric::parse("generator_lag_p99_ms"), Some((Metric::Lag(Quantile::P99), Bound::AtMost)));
        assert_eq!(Metric::parse("wait_p90_s"), Some((Metric::Wait(Quantile::P90), Bound::AtMost)));
        assert_eq!(Metric::parse("confirmed_min"), Some((Metric::Confirmed, Bound::AtLeast)));
        for wrong in ["hold_p99", "holds_p99_ms", "hold_p98_ms", "run_p99_ms", "_ms", "wait_p90_ms", ""] {
            assert_eq!(Metric::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_absent_measurement_is_a_miss() {
        let threshold =
            Threshold { name: "confirmed_min".into(), metric: Metric::Confirmed, bound: Bound::AtLeast, limit: 3.0 };
        assert!(threshold.judge(None).is_some());
        assert!(threshold.judge(Some(2.0)).is_some());
        assert!(threshold.judge(Some(3.0)).is_none());
    }
}
