//! What follows for the rate from what was seen of the origin. Pure.
//!
//! Down fast, up slowly: nothing left or nobody there stops at once; suffering lowers by a factor, at most once in five
//! seconds and again when it was measured anew; an origin that is well again gets a tenth of the organiser's rate more every five seconds. The organiser's rate
//! is never exceeded. Every change says why in one sentence.

use queue::govern::{Cause, FULL_MILLI};

/// A shop that has said that nothing is left, and then names no stock at all, must be well for this long before it is
/// believed to have something.
const UNNAMED_MS: u64 = 60_000;
/// Between two changes, except a stop.
const BETWEEN_MS: u64 = 5_000;
/// Suffering is measured over this long: only then does it show what the last lowering has done.
const MEASURED_MS: u64 = 10_000;
/// An origin must have been well for this long before it gets more.
const WELL_MS: u64 = 10_000;
/// More at a time, in thousandths of the organiser's rate.
const UP_MILLI: u64 = 100;
/// What suffering leaves of the rate, in thousandths.
const DOWN_MILLI: u64 = 700;
/// Suffering alone never stops a sale: this much is left, so that it can be seen whether the origin is well again.
const LEAST_MILLI: u64 = 10;
/// So many looks in a row without any answer are a stop.
const SILENT_LOOKS: u32 = 3;

/// What an origin suffers from. Each member is there only when it is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trouble {
    /// The share of failures among its answers.
    pub failed_per_cent: Option<u64>,
    /// How long holds take, and how long they may.
    pub slow_ms: Option<(u64, u64)>,
    /// The part of the rate that it asks for, in thousandths.
    pub asked: Option<u64>,
}

impl Trouble {
    /// Whether there is any.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// What of the rate it leaves, in thousandths, with the worst of its reasons.
    fn left_milli(&self) -> Option<(u64, Cause, String)> {
        let failed = self
            .failed_per_cent
            .map(|share| (DOWN_MILLI, Cause::Errors, format!("{share} % of the shop's answers are failures")));
        let slow = self
            .slow_ms
            .map(|(ms, bound)| (DOWN_MILLI, Cause::Slow, format!("holds take {ms} ms, more than {bound} ms")));
        let asked = self.asked.map(|milli| (milli, Cause::Asked, "the shop asks for less".to_owned()));
        [failed, slow, asked].into_iter().flatten().min_by_key(|(milli, ..)| *milli)
    }
}

/// What all looks together show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Looks in a row, up to now, at which no node answered.
    pub silent_looks: u32,
    /// What is left to sell; `None` when nobody says.
    pub stock_left: Option<u64>,
    /// What the origin suffers from.
    pub trouble: Trouble,
    /// For how long everything has been well; `None` when it is not.
    pub well_ms: Option<u64>,
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Thousandths of the organiser's rate.
    pub factor_milli: u64,
    /// What it follows from.
    pub cause: Cause,
    /// For how long.
    pub since_ms: u64,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Keep,
    /// Another factor.
    Change {
        /// Thousandths of the organiser's rate.
        factor_milli: u64,
        /// What it follows from.
        cause: Cause,
        /// The same in one sentence.
        why: String,
    },
}

/// Decides.
pub fn decide(evidence: &Evidence, now: InForce) -> Decision {
    let rested = now.since_ms >= BETWEEN_MS;
    if evidence.silent_looks > 0 {
        return if evidence.silent_looks >= SILENT_LOOKS && now.factor_milli > 0 {
            change(0, Cause::Silent, "Stopped: the shop does not answer.")
        } else {
            Decision::Keep
        };
    }
    let stopped_by_stock = now.factor_milli == 0 && now.cause == Cause::Stock;
    if evidence.stock_left == Some(0) {
        let is_news = now.factor_milli > 0 || (!stopped_by_stock && rested);
        return if is_news { change(0, Cause::Stock, "Stopped: nothing is left to sell.") } else { Decision::Keep };
    }
    if !rested {
        return Decision::Keep;
    }
    if stopped_by_stock {
        return after_stock(evidence);
    }
    if let Some((left_milli, cause, reason)) = evidence.trouble.left_milli() {
        return in_trouble(left_milli, cause, &reason, now);
    }
    if now.factor_milli < FULL_MILLI && evidence.well_ms.is_some_and(|ms| ms >= WELL_MS) {
        let factor_milli = (now.factor_milli + UP_MILLI).min(FULL_MILLI);
        let is_full = factor_milli == FULL_MILLI;
        let cause = if is_full { Cause::Full } else { Cause::Recovering };
        let to = if is_full { rate(factor_milli) } else { format!("Up to {}", share(factor_milli)) };
        return change(factor_milli, cause, format!("{to}: the shop is well."));
    }
    Decision::Keep
}

/// What follows for a sale that was stopped when nothing was left, unless that is still so.
fn after_stock(evidence: &Evidence) -> Decision {
    if evidence.stock_left.is_none() {
        let is_forgotten = evidence.well_ms.is_some_and(|ms| ms >= UNNAMED_MS);
        let why = || format!("Up to {}: the shop is well, and says no more what is left.", share(UP_MILLI));
        return if is_forgotten { change(UP_MILLI, Cause::Recovering, why()) } else { Decision::Keep };
    }
    // The rate was not what was wrong, unless the origin suffers as well.
    let left = evidence.trouble.left_milli().map(|(left_milli, cause, _)| (at_least(left_milli, left_milli), cause));
    let (factor_milli, cause) = left.unwrap_or((FULL_MILLI, Cause::Full));
    change(factor_milli, cause, format!("{}: there is something to sell again.", rate(factor_milli)))
}

/// What follows when so much of the rate is left for this cause.
fn in_trouble(left_milli: u64, cause: Cause, reason: &str, now: InForce) -> Decision {
    let is_old_news = matches!(now.cause, Cause::Errors | Cause::Slow | Cause::Asked) && now.since_ms < MEASURED_MS;
    if is_old_news {
        return Decision::Keep;
    }
    let factor_milli = at_least(now.factor_milli * left_milli / 1000, left_milli);
    if now.factor_milli == 0 && factor_milli > 0 {
        // Nobody inside shows nothing: it takes a few to see whether the origin is well again.
        return change(
            factor_milli,
            cause,
            format!("Up to {}, to see more of the shop: {reason}.", share(factor_milli)),
        );
    }
    if factor_milli >= now.factor_milli {
        return Decision::Keep;
    }
    let to = if factor_milli == 0 { "Stopped".to_owned() } else { format!("Down to {}", share(factor_milli)) };
    change(factor_milli, cause, format!("{to}: {reason}."))
}

/// Never less than the least part, unless the origin asks for nothing.
fn at_least(factor_milli: u64, left_milli: u64) -> u64 {
    factor_milli.max(if left_milli == 0 { 0 } else { LEAST_MILLI })
}

fn change(factor_milli: u64, cause: Cause, why: impl Into<String>) -> Decision {
    Decision::Change { factor_milli, cause, why: why.into() }
}

fn rate(factor_milli: u64) -> String {
    match factor_milli {
        FULL_MILLI => "Full rate".to_owned(),
        0 => "Still stopped".to_owned(),
        _ => share(factor_milli),
    }
}

fn share(factor_milli: u64) -> String {
    let (whole, tenths) = (factor_milli / 10, factor_milli % 10);
    if tenths == 0 { format!("{whole} % of the rate") } else { format!("{whole}.{tenths} % of the rate") }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
