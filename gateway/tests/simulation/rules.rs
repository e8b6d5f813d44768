//! The promises of `docs/THE-LINE.md`, checked on what fans are told and whom servers call. Knows nothing of how the line
//! or a gateway decides.

use std::collections::BTreeMap;

use super::link::Server;
use super::rate_bound::RateBound;

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Whoever is present and came first is called first.
    Order,
    /// In every window of length t at most rate · t + burst are called, by each server.
    Rate,
    /// Nobody is called beyond the room.
    Capacity,
    /// Nobody is called in the calm after a loss.
    Calm,
    /// Nobody is called who was silent, or gave the place back.
    Presence,
    /// Whoever goes on asking is called in the end, and is never told that the place is over.
    NobodyLost,
    /// Scores rise and are unique, unless gateways gave them alone.
    Scores,
    /// A position does not rise without a cause.
    Position,
    /// Polls are told to come again in time, and not too often.
    Interval,
    /// Far polls make no call.
    FarPolls,
}

/// A promise broken, and how.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) detail: String,
}

pub(crate) type Checked = Result<(), Violation>;

pub(crate) fn ensure(holds: bool, rule: Rule, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { rule, detail: detail() }) }
}

/// No leap of a clock earns for longer.
const MAX_DT_US: u64 = 1_000_000;
/// After a loss nobody is called for this long.
const CALM_US: u64 = 5_000_000;
/// Present is who was seen within this time.
pub(crate) const PRESENCE_MS: u64 = 10_000;

/// The terms that one server is held to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    bound: RateBound,
    passed_us: u64,
    /// It lost something, and nobody noticed yet.
    unnoticed: bool,
    calm_until_us: u64,
}

impl Terms {
    /// Time passes until this moment.
    pub(crate) fn pass(&mut self, server: &Server, true_us: u64) {
        // Nothing is earned before the calm is over.
        let from_us = if self.unnoticed { true_us } else { self.passed_us.max(self.calm_until_us) };
        self.bound.earn(true_us.saturating_sub(from_us), server.rate_milli(true_us));
        self.passed_us = true_us;
    }

    /// The server's clock stepped.
    pub(crate) fn step(&mut self, server: &Server, true_us: u64) {
        self.bound.earn(MAX_DT_US, server.rate_milli(true_us));
        self.calm_until_us = 0;
    }

    /// The server lost something.
    pub(crate) fn lose(&mut self) {
        self.unnoticed = true;
    }

    /// The loss is noticed: the calm begins.
    pub(crate) fn notice(&mut self, true_us: u64) {
        if std::mem::take(&mut self.unnoticed) {
            self.calm_until_us = true_us + CALM_US;
        }
    }

    /// So many were called by the server.
    pub(crate) fn call(&mut self, count: usize, server: &Server, true_us: u64) -> Checked {
        ensure(!self.unnoticed && true_us >= self.calm_until_us, Rule::Calm, || {
            format!("{count} called {} µs before the calm was over", self.calm_until_us.saturating_sub(true_us))
        })?;
        let (burst, room) = server.settings.as_ref().map_or((0, 0), |(s, _)| (s.burst(), s.max_inside));
        for _ in 0..count {
            let bound = self.bound.call(burst);
            ensure(bound.is_ok(), Rule::Rate, || format!("too many by {bound:?} units"))?;
        }
        let occupied = server.occupied();
        ensure(occupied <= room, Rule::Capacity, || format!("{occupied} called and inside, room for {room}"))
    }
}

/// Every score that was signed, with the server that gave it; none where a gateway did alone.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    signed: BTreeMap<u64, Option<usize>>,
}

impl Scores {
    /// Whether a gateway gave this score by its own clock.
    pub(crate) fn is_alone(&self, score: u64) -> bool {
        self.signed.get(&score).is_some_and(Option::is_none)
    }

    /// A place was signed. Answers whether nobody else has this score. One server never gives a score twice; two that know
    /// nothing of each other, as gateways alone, may give the same.
    pub(crate) fn sign(&mut self, score: u64, server: Option<usize>, floor: u64) -> Result<bool, Violation> {
        ensure(score > floor, Rule::Scores, || format!("signed {score}, not above {floor} which the gateway knew"))?;
        let earlier = self.signed.get(&score).copied();
        let is_twice = earlier.is_some_and(|earlier| earlier == server && server.is_some());
        ensure(!is_twice, Rule::Scores, || format!("two places were signed with {score}"))?;
        // Whoever gave it alone once is remembered as that.
        self.signed.insert(score, earlier.unwrap_or(server).and(server));
        Ok(earlier.is_none())
    }
}

/// A position as it was shown, with the moment it was true at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) position: u64,
    pub(crate) true_at_us: u64,
    /// Which server said so, and how often that had lost something.
    pub(crate) source: (usize, u32),
}

/// How far the moment of a published rank table lies before the snapshot it came with.
const TABLE_AGE_US: u64 = 500_000;

/// A tab was shown this after that; `cause_us` is when somebody last came back into line ahead of others.
pub(crate) fn position(before: Option<Shown>, now: Shown, cause_us: u64) -> Checked {
    let Some(before) = before else { return Ok(()) };
    let comparable = before.source == now.source
        && before.true_at_us <= now.true_at_us
        && cause_us + TABLE_AGE_US < before.true_at_us;
    ensure(!comparable || now.position <= before.position, Rule::Position, || {
        format!("position rose without a cause from {before:?} to {now:?}, the last cause at {cause_us}")
    })
}

/// A fan at this position was told to ask again so soon.
pub(crate) fn interval(position: u64, poll_s: u64, is_open: bool) -> Checked {
    let longest = if position <= 50 && is_open { 5 } else { 95 };
    ensure((1..=longest).contains(&poll_s), Rule::Interval, || format!("position {position} asks again in {poll_s} s"))
}
