//! `govern`: the origin's say on the rate.
//!
//! Owns: what is in force of it, and the last changes. The organiser's rate is the most that ever counts; the origin's say
//! is a factor of it in thousandths. Leaves out who looks at the origin and what follows from it: that is the gateway's.

use std::str::FromStr;

use queue_token::SaleId;

use crate::{Clock, Line, LineError};

/// The organiser's whole rate, in thousandths of it.
pub const FULL_MILLI: u64 = 1000;
/// Most changes that are kept.
pub const CHANGES_KEPT: usize = 50;
/// Longest sentence, in characters.
const WHY_MAX: usize = 300;

/// What the origin's say follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cause {
    /// Nothing stands against the organiser's rate.
    #[default]
    Full,
    /// Nothing is left to sell.
    Stock,
    /// The origin does not answer.
    Silent,
    /// The origin is slow.
    Slow,
    /// The origin fails.
    Errors,
    /// The origin asked for less.
    Asked,
    /// The origin is well again, and the rate on its way up.
    Recovering,
    /// The organiser gave the origin no say any more.
    Removed,
}

impl Cause {
    const WORDS: [(Self, &'static str); 8] = [
        (Self::Full, "full"),
        (Self::Stock, "stock"),
        (Self::Silent, "silent"),
        (Self::Slow, "slow"),
        (Self::Errors, "errors"),
        (Self::Asked, "asked"),
        (Self::Recovering, "recovering"),
        (Self::Removed, "removed"),
    ];

    /// The word used in Redis.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(cause, _)| *cause == self).map_or("full", |(_, word)| word)
    }
}

impl FromStr for Cause {
    type Err = std::convert::Infallible;

    /// A word of a newer version is read as the most careful one that ends by itself.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(Self::WORDS.iter().find(|(_, known)| *known == word).map_or(Self::Recovering, |(cause, _)| *cause))
    }
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governed {
    /// Which change made it so; 0 when there was none.
    pub seq: u64,
    /// Thousandths of the organiser's rate.
    pub factor_milli: u64,
    /// What it follows from.
    pub cause: Cause,
    /// The same in one sentence; empty when there was no change.
    pub why: String,
    /// Since when, in microseconds of the Redis server's clock; 0 when there was no change.
    pub changed_us: u64,
}

impl Default for Governed {
    fn default() -> Self {
        Self { seq: 0, factor_milli: FULL_MILLI, cause: Cause::Full, why: String::new(), changed_us: 0 }
    }
}

/// One change, as kept for the organiser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When, in microseconds of the Redis server's clock.
    pub at_us: u64,
    /// Thousandths of the organiser's rate from then on.
    pub factor_milli: u64,
    /// What it follows from.
    pub cause: Cause,
    /// The same in one sentence.
    pub why: String,
}

/// The rate in force in thousandths per minute, as the bucket counts it: cut to a whole number, so never above its share.
pub fn rate_in_force_milli(rate_milli: u64, factor_milli: u64) -> u64 {
    let product = u128::from(rate_milli) * u128::from(factor_milli.min(FULL_MILLI)) / u128::from(FULL_MILLI);
    u64::try_from(product).unwrap_or(rate_milli)
}

impl Line {
    /// Puts a factor of the organiser's rate in force, in place of the change numbered `seq`. Answers whether it did: of
    /// several gateways that decide alike, the first one makes the change; nobody makes one in a sale whose origin has no
    /// say, nor stops one for silence while another gateway hears the origin.
    ///
    /// # Errors
    /// [`LineError::UnknownSale`] when this Redis does not know the sale; otherwise when Redis does not answer.
    pub async fn govern(
        &self,
        sale: &SaleId,
        seq: u64,
        factor_milli: u64,
        cause: Cause,
        why: &str,
        clock: Clock,
    ) -> Result<bool, LineError> {
        let attempt = "govern";
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WHY_MAX).collect();
        let factor_milli = factor_milli.min(FULL_MILLI);
        let arguments = [clock.argument(), seq.to_string(), factor_milli.to_string(), cause.as_str().to_owned(), why];
        let (verdict, _): (String, u64) = self.call(attempt, sale, &arguments).await?;
        match verdict.as_str() {
            "ok" => Ok(true),
            "stale" | "heard" => Ok(false),
            "absent" => Err(LineError::UnknownSale),
            _ => Err(LineError::Corrupt { attempt, what: verdict }),
        }
    }

    /// The last changes of the origin's say, newest first.
    ///
    /// # Errors
    /// When Redis does not answer, or holds changes that cannot be read.
    pub async fn governed_changes(&self, sale: &SaleId) -> Result<Vec<Change>, LineError> {
        let kept: Option<String> = self.read_state(sale, "changes").await?;
        let lines = kept.as_deref().unwrap_or_default().lines();
        lines
            .map(|line| {
                parse(line)
                    .ok_or_else(|| LineError::Corrupt { attempt: "read the changes", what: format!("change {line:?}") })
            })
            .collect()
    }
}

fn parse(line: &str) -> Option<Change> {
    let mut parts = line.splitn(4, ' ');
    let at_us = parts.next()?.parse().ok()?;
    let factor_milli = parts.next()?.parse().ok()?;
    let Ok(cause) = parts.next()?.parse();
    Some(Change { at_us, factor_milli, cause, why: parts.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_in_force_is_a_whole_number_and_never_above_its_share() {
        for (rate, factor, in_force) in [
            (600_000, 1000, 600_000),
            (1, 999, 0),
            (1, 1000, 1),
            (333_333, 700, 233_333),
            (1_000_000_000, 1, 1_000_000),
        ] {
            assert_eq!(rate_in_force_milli(rate, factor), in_force, "{rate} {factor}");
        }
        assert_eq!(rate_in_force_milli(600, 5000), 600, "never above the organiser's rate");
    }

    #[test]
    fn causes_have_words_and_unknown_ones_end_by_themselves() {
        for (cause, word) in Cause::WORDS {
            assert_eq!((cause.as_str(), word.parse()), (word, Ok(cause)));
        }
        assert_eq!("hexed".parse(), Ok(Cause::Recovering));
    }

    #[test]
    fn a_kept_change_is_read_back() {
        let change = parse("1760000000000000 700 slow Down to 70 %: holds take 812 ms.").unwrap();
        assert_eq!((change.at_us, change.factor_milli, change.cause), (1_760_000_000_000_000, 700, Cause::Slow));
        assert_eq!(change.why, "Down to 70 %: holds take 812 ms.");
        assert_eq!(parse("x 700 slow Why."), None);
    }
}
