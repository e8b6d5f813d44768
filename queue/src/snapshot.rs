//! `snapshot`: what a gateway needs to answer every poll of the next second without asking again.

use queue_token::{SaleId, Score, VisitorId};
use redis::Value;

use crate::govern::{Governed, rate_in_force_milli};
use crate::{Clock, Line, LineError, Settings};

/// Ranks whose score is published exactly.
const HEAD: usize = 1000;
/// Points behind the head.
const TAIL: usize = 1024;

/// A sale at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Version of the settings.
    pub version: u64,
    /// The settings.
    pub settings: Settings,
    /// When it was read, in microseconds of the Redis server's clock.
    pub at_us: u64,
    /// The highest score given.
    pub last_score: Score,
    /// Live numbers.
    pub numbers: Numbers,
    /// Up to this score polls are presence; `None` when everybody waiting is within.
    pub horizon: Option<Score>,
    /// Where a score stands in the line.
    pub ranks: Ranks,
    /// Rises whenever Redis may have lost something: emptied, restarted, restored or failed over.
    pub generation: u64,
    /// Until when nobody is called after a loss, in microseconds of the Redis server's clock; 0 when there was none.
    pub calm_until_us: u64,
    /// Until when every poll is presence after a loss, so that the line becomes whole again; 0 when there was none.
    pub whole_at_us: u64,
    /// Visitors who gave their place or pass back in the last seconds; their passes no longer count.
    pub left: Vec<VisitorId>,
    /// The origin's say on the rate.
    pub governed: Governed,
    /// Visitors called per minute at most: the organiser's rate times the origin's say.
    pub rate_in_force_per_min: f64,
    /// Digest of the file that the settings came from, when they last came from one.
    pub file_digest: Option<String>,
}

/// How many are where, and how many ever were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// In the line.
    pub waiting: u64,
    /// Seen lately within the horizon.
    pub near: u64,
    /// Set aside.
    pub away: u64,
    /// Called and not yet inside.
    pub called: u64,
    /// Holding a live pass.
    pub inside: u64,
    /// Joined since the sale was created.
    pub joined_total: u64,
    /// Called since the sale was created.
    pub called_total: u64,
    /// Claimed since the sale was created.
    pub claimed_total: u64,
    /// Departed since the sale was created.
    pub departed_total: u64,
    /// Called and not claimed in time, since the sale was created.
    pub expired_total: u64,
}

/// The rank table: exact scores at the front, evenly spaced ones behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranks {
    head: Vec<u64>,
    tail: Vec<u64>,
    step: u64,
    waiting: u64,
}

impl Ranks {
    /// A table over the scores of the first ranks and of every `step`-th rank behind them, in a line of `waiting`.
    pub fn new(head: Vec<u64>, tail: Vec<u64>, step: u64, waiting: u64) -> Self {
        Self { head, tail, step, waiting }
    }

    /// How many wait before this score: exact within the head, interpolated behind it, never beyond the line.
    pub fn ahead_of(&self, score: Score) -> u64 {
        let score = score.get();
        let in_head = self.head.partition_point(|&s| s < score);
        if in_head < self.head.len() || self.step == 0 {
            return (in_head as u64).min(self.waiting);
        }
        // Between two known points the line is taken as evenly dense.
        let point = self.tail.partition_point(|&s| s < score);
        let base_rank = self.head.len() as u64 + point as u64 * self.step;
        let below = match point.checked_sub(1) {
            Some(previous) => self.tail[previous],
            None => self.head.last().copied().unwrap_or(0),
        };
        let Some(&above) = self.tail.get(point) else {
            return base_rank.min(self.waiting);
        };
        let span = above.saturating_sub(below).max(1);
        let within = u128::from(score - below) * u128::from(self.step) / u128::from(span);
        (base_rank + u64::try_from(within).unwrap_or(u64::MAX)).min(self.waiting)
    }
}

impl Line {
    /// Reads the sale's snapshot; the rank table in it is published anew when it is older than `max_age_ms`.
    /// Answers `None` when this Redis does not know the sale.
    ///
    /// # Errors
    /// When Redis does not answer, or holds settings that cannot be read.
    pub async fn snapshot(&self, sale: &SaleId, max_age_ms: u64, clock: Clock) -> Result<Option<Snapshot>, LineError> {
        let arguments = [clock.argument(), max_age_ms.to_string(), HEAD.to_string(), TAIL.to_string()];
        let reply: Vec<Value> = self.call("snapshot", sale, &arguments).await?;
        parse(&reply)
    }
}

fn parse(reply: &[Value]) -> Result<Option<Snapshot>, LineError> {
    let corrupt = |what: String| LineError::Corrupt { attempt: "snapshot", what };
    let text = |i: usize| -> Result<String, LineError> {
        let value = reply.get(i).ok_or_else(|| corrupt(format!("no member {i}")))?;
        redis::from_redis_value_ref(value).map_err(|error| corrupt(format!("member {i}: {error}")))
    };
    let number = |i: usize| -> Result<u64, LineError> {
        let value = reply.get(i).ok_or_else(|| corrupt(format!("no member {i}")))?;
        redis::from_redis_value_ref(value).map_err(|error| corrupt(format!("member {i}: {error}")))
    };
    let score = |i: usize| Score::new(number(i)?).ok_or_else(|| corrupt(format!("member {i} is no score")));
    let scores = |i: usize| -> Result<Vec<u64>, LineError> {
        let joined = text(i)?;
        let parts = joined.split(',').filter(|part| !part.is_empty());
        parts.map(|part| part.parse().map_err(|_| corrupt(format!("score {part:?}")))).collect()
    };
    let visitors = |joined: &str| -> Result<Vec<VisitorId>, LineError> {
        let parts = joined.split(',').filter(|part| !part.is_empty());
        parts.map(|part| part.parse().map_err(|_| corrupt(format!("visitor {part:?}")))).collect()
    };
    if text(0)? == "absent" {
        return Ok(None);
    }
    let settings: Settings = serde_json::from_str(&text(2)?).map_err(|error| corrupt(format!("settings: {error}")))?;
    let numbers = Numbers {
        waiting: number(5)?,
        near: number(6)?,
        away: number(7)?,
        called: number(8)?,
        inside: number(9)?,
        joined_total: number(10)?,
        called_total: number(11)?,
        claimed_total: number(12)?,
        departed_total: number(13)?,
        expired_total: number(14)?,
    };
    let horizon = score(15)?;
    let Ok(cause) = text(26)?.parse();
    let governed =
        Governed { factor_milli: number(23)?, seq: number(24)?, changed_us: number(25)?, cause, why: text(27)? };
    let rate_in_force_per_min = rate_in_force_milli(settings.rate_milli(), governed.factor_milli) as f64 / 1000.0;
    Ok(Some(Snapshot {
        version: number(1)?,
        settings,
        at_us: number(3)?,
        last_score: score(4)?,
        numbers,
        horizon: (horizon > Score::default()).then_some(horizon),
        ranks: Ranks::new(scores(16)?, scores(17)?, number(18)?, numbers.waiting),
        generation: number(19)?,
        calm_until_us: number(20)?,
        whole_at_us: number(21)?,
        left: visitors(&text(22)?)?,
        governed,
        rate_in_force_per_min,
        file_digest: Some(text(28)?).filter(|digest| !digest.is_empty()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(n: u64) -> Score {
        Score::new(n).unwrap()
    }

    #[test]
    fn the_head_is_exact() {
        let ranks = Ranks::new(vec![10, 20, 30], vec![], 0, 3);
        let cases = [(5, 0), (10, 0), (15, 1), (20, 1), (30, 2), (31, 3), (99, 3)];
        for (s, ahead) in cases {
            assert_eq!(ranks.ahead_of(score(s)), ahead, "score {s}");
        }
    }

    #[test]
    fn the_tail_is_within_a_five_hundredth_of_the_true_rank() {
        let all: Vec<u64> = (0..500_000u64).map(|i| 1_000_000 + i * 7 + (i % 5)).collect();
        let (head, tail_n) = (1000usize, 1024usize);
        let step = (all.len() - head).div_ceil(tail_n);
        let tail = (1..).map(|i| head + i * step).take_while(|&r| r < all.len()).map(|r| all[r]).collect();
        let ranks = Ranks::new(all[..head].to_vec(), tail, step as u64, all.len() as u64);
        for (rank, &s) in all.iter().enumerate() {
            let shown = ranks.ahead_of(score(s)) as i64;
            let error = (shown - rank as i64).unsigned_abs();
            assert!(error as f64 <= 1.0 + rank as f64 * 0.002, "rank {rank} shown as {shown}");
        }
    }
}
