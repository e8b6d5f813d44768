//! How long the wait will be: a range, learnt from how fast this line has moved.
//!
//! Owns: what is counted of a line (calls, silent ones set aside, leavers, ends of visits), and the range that follows for
//! a position. Pure; fed with the numbers of each snapshot, so it costs the line nothing. Memory is bounded: a few
//! decaying sums, and the followed positions of [`super::probes`], which correct the width of the range by what came true.
//!
//! A position falls by calls, by silent visitors set aside ahead of it, and by those who leave ahead of it. Calls follow
//! from the rate in force until the house is full, then from how long visits last. What share of those ahead is still
//! there is measured at the front.
//!
//! Leaves out: that an organiser will change the rate or pause cannot be foreseen. Longer waits get a wider range for
//! it, and more is learnt only after the fact, from positions that came true too early or too late.

use super::probes::{Probes, Spread};

/// The sums that say how things are now, and how they have been, forget within these times (seconds).
const SHORT_S: f64 = 30.0;
const LONG_S: f64 = 300.0;
/// How long visits last is remembered longer: they come in waves.
const VISITS_S: f64 = 1200.0;
/// A gap between two looks that is longer says nothing about how it was filled.
const GAP_MAX_S: f64 = 30.0;
/// The long memory counts for at most so many visitors beside the short one.
const LONG_WEIGHT: f64 = 150.0;
/// Before anything was seen: of three visitors in line two are there.
const PRIOR_PRESENT: f64 = 2.0;
const PRIOR_ABSENT: f64 = 1.0;
/// Whoever joined within this time counts as there, so the first moments of a line tell nothing of no-shows.
const PRESENCE_S: f64 = 10.0;
/// One tick lies between two chances to be called.
const TICK_S: f64 = 0.1;
/// The tenth and ninetieth percentile of a normal variable, in standard deviations.
const Z: f64 = 1.2816;

/// The numbers of one snapshot that the estimate is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// When, in microseconds of the line's clock.
    pub at_us: u64,
    /// Which line: another one after a loss.
    pub generation: u64,
    /// Whether it lost something and is not whole again yet.
    pub regrouping: bool,
    /// Whether visitors are called now.
    pub open: bool,
    /// The rate in force.
    pub rate_per_min: f64,
    /// Most visitors called or inside.
    pub max_inside: u64,
    /// Life of a pass.
    pub pass_ttl_s: u64,
    /// In the line.
    pub waiting: u64,
    /// Set aside.
    pub away: u64,
    /// Called or inside.
    pub occupied: u64,
    /// Joined, called, and called in vain, since the sale was created.
    pub joined_total: u64,
    /// See `joined_total`.
    pub called_total: u64,
    /// See `joined_total`.
    pub expired_total: u64,
}

/// A range of seconds with its middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait {
    /// One time in ten it takes less.
    pub p10: f64,
    /// As often more as less.
    pub p50: f64,
    /// One time in ten it takes more.
    pub p90: f64,
}

/// Decaying sums over the time in which the line moved.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Sums {
    /// Visitors called.
    calls: f64,
    /// Silent visitors set aside at the front, less those who came back.
    aside: f64,
    /// Visitors who left the line, and how long how many stood in it.
    left: f64,
    fan_s: f64,
    /// Visits that ended, and how long how many were inside.
    ended: f64,
    visit_s: f64,
}

impl Sums {
    fn fade(&mut self, by: f64) {
        let all =
            [&mut self.calls, &mut self.aside, &mut self.left, &mut self.fan_s, &mut self.ended, &mut self.visit_s];
        for sum in all {
            *sum *= by;
        }
    }
}

/// What is known of how a line moves.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    look: Look,
    last_call_us: u64,
    moved_s: f64,
    short: Sums,
    long: Sums,
    visits: Sums,
    probes: Probes,
}

impl Estimate {
    /// Nothing seen yet but this.
    pub fn new(look: Look) -> Self {
        Self {
            look,
            last_call_us: 0,
            moved_s: 0.0,
            short: Sums::default(),
            long: Sums::default(),
            visits: Sums::default(),
            probes: Probes::default(),
        }
    }

    /// What is known after one more look.
    #[must_use]
    pub fn after(mut self, look: Look) -> Self {
        let before = std::mem::replace(&mut self.look, look);
        if look.at_us <= before.at_us {
            return self;
        }
        let gap_s = (look.at_us - before.at_us) as f64 / 1e6;
        // A line that was lost counts anew, and what comes back into it hides what leaves.
        let lost = look.regrouping || before.regrouping || look.generation != before.generation;
        if lost || look.called_total < before.called_total || gap_s > GAP_MAX_S {
            self.probes.give_up();
            return self;
        }
        let change = |now: u64, then: u64| now as f64 - then as f64;
        let calls = change(look.called_total, before.called_total);
        let vain = change(look.expired_total, before.expired_total);
        let aside = change(look.away, before.away) - vain;
        let joined = change(look.joined_total, before.joined_total);
        let left = joined - calls - aside - change(look.waiting, before.waiting);
        if calls > 0.0 {
            self.last_call_us = look.at_us - (look.at_us - before.at_us) / 2;
        }
        if before.open && before.waiting > 0 {
            self.moved_s += gap_s;
            let tells = if self.moved_s > PRESENCE_S { 1.0 } else { 0.0 };
            let memories = [(&mut self.short, SHORT_S), (&mut self.long, LONG_S), (&mut self.visits, VISITS_S)];
            for (sums, memory_s) in memories {
                sums.fade((-gap_s / memory_s).exp());
                sums.calls += calls * tells;
                sums.aside += aside * tells;
                sums.left += left;
                sums.fan_s += before.waiting as f64 * gap_s;
                sums.ended += calls - change(look.occupied, before.occupied);
                sums.visit_s += before.occupied as f64 * gap_s;
            }
        }
        self.probes.follow(calls + aside, left / (before.waiting as f64).max(1.0), look.at_us, gap_s);
        if look.open && look.waiting > 0 {
            let position = self.probes.next_position(look.waiting);
            let told = self.spread(position, 0.0);
            self.probes.begin(position, told, look.at_us);
        }
        self
    }

    /// The wait of whoever stands at this position, from 1, so long after the last look.
    pub fn wait(&self, position: u64, since_look_s: f64) -> Wait {
        let spread = self.spread(position as f64, since_look_s);
        let width = self.probes.width(spread.middle_s);
        Wait {
            p10: spread.middle_s * (-spread.below * width.below).exp(),
            p50: spread.middle_s,
            p90: spread.middle_s * (spread.above * width.above).exp(),
        }
    }

    /// The share of those at the front who are there, and how many visitors that was learnt from.
    fn present(&self) -> (f64, f64) {
        let weight = (LONG_WEIGHT / (self.long.calls + self.long.aside.max(0.0)).max(1.0)).min(1.0);
        let calls = PRIOR_PRESENT + self.short.calls + self.long.calls * weight;
        let aside = PRIOR_ABSENT + (self.short.aside + self.long.aside * weight).max(0.0);
        (calls / (calls + aside), calls + aside)
    }

    /// How long it takes until so many are called, and how uncertain that is, relatively.
    fn until_called(&self, calls: f64, since_look_s: f64) -> (f64, f64) {
        let per_s = self.look.rate_per_min / 60.0;
        let room = self.look.max_inside.saturating_sub(self.look.occupied) as f64;
        let capacity = self.look.max_inside as f64;
        // Before visits were seen to end: they last half as long as a pass. That counts like a fifth of a full house.
        let (prior_ends, prior_s) = (0.2 * capacity, 0.5 * self.look.pass_ttl_s as f64);
        let ended = self.visits.ended.max(0.0) + prior_ends;
        let ends_per_s = ended / (self.visits.visit_s + prior_ends * prior_s);
        // Until the house is full the rate alone counts; from then on, whose visit ends makes room for the next.
        let full_per_s = capacity * ends_per_s;
        let until_full_s = if full_per_s >= per_s {
            f64::INFINITY
        } else {
            let level = per_s / ends_per_s;
            let occupied = capacity - room;
            (((level - occupied).max(0.0) / (level - capacity)).ln() / ends_per_s).max(0.0)
        };
        // The next permit has been growing since the last call.
        let grown_s = if room > 0.0 && self.last_call_us > 0 {
            let since_call_s = self.look.at_us.saturating_sub(self.last_call_us) as f64 / 1e6 + since_look_s;
            since_call_s.min(1.0 / per_s)
        } else {
            0.0
        };
        let at_rate = per_s * until_full_s;
        if calls <= at_rate {
            return ((calls / per_s - grown_s).max(TICK_S), 0.02);
        }
        let later = calls - at_rate;
        let seconds = until_full_s + later / full_per_s;
        let share = later / full_per_s / seconds;
        let counted = 1.0 / (self.visits.ended.max(0.0) + 1.0) + 1.0 / later.max(1.0);
        // Visits of equal length that began together end together.
        let waves = 0.12 / (ends_per_s * seconds);
        (seconds.max(TICK_S), share * (counted + waves * waves).sqrt().min(1.0) + 0.02)
    }

    /// The range for a position, before its width is corrected.
    fn spread(&self, position: f64, since_look_s: f64) -> Spread {
        let (present, learnt_from) = self.present();
        let ahead = (position - 1.0).max(0.0);
        let (called_s, uncertain) = self.until_called(1.0 + present * ahead, since_look_s);
        let leave_per_s = (self.long.left.max(0.0) / self.long.fan_s.max(1.0)).max(1e-9);
        let middle_s = (leave_per_s * called_s).ln_1p() / leave_per_s;
        // Who of those ahead is there is counted once more at each of them.
        let share = ahead / (ahead + 1.0);
        let counting = present * (1.0 - present) * (1.5 / learnt_from + 1.0 / position);
        let error = Z * counting.sqrt() * share;
        let more = ((present + error).min(1.0) / present).ln();
        let fewer = (present / (present - error).max(present / 6.0)).ln();
        // Time brings what was not foreseen; and nothing is known to less than a tick.
        let unforeseen = 0.2 * (middle_s / (middle_s + 600.0));
        let grain = 0.5 * TICK_S / middle_s.max(TICK_S);
        let other = Z * (uncertain.powi(2) + unforeseen.powi(2) + grain.powi(2)).sqrt();
        Spread { middle_s, below: fewer.hypot(other), above: more.hypot(other) }
    }
}
