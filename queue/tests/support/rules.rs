//! The promises of the line, checked on what can be seen from outside. Knows nothing of the model and nothing of how
//! permits are kept: only calls, replies, the clock, and everybody's spot before and after.

use std::collections::{BTreeMap, BTreeSet};

use queue::{SaleState, Settings, Standing};
use queue_token::VisitorId;

use super::devices::DeviceRules;
use super::observation::Observation;
use super::operations::{Call, Reply};
use super::rate_bound::RateBound;
use crate::model::{PLACE_LIFE_MS, PRESENCE_MS, Spot};

/// The organiser's whole rate.
const FULL_MILLI: u64 = 1000;
/// No gap between two chances to call earns for longer.
const MAX_DT_US: u64 = 1_000_000;

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// In every window of length t at most rate · t + burst are called, by the rate that the origin leaves.
    Rate,
    /// Nobody is called beyond the room.
    Capacity,
    /// Everybody stands in one place.
    OnePlace,
    /// Nobody is forgotten before their time.
    NobodyLost,
    /// Who came first is called first, and nobody's score changes.
    Order,
    /// The present are not set aside, the silent are not called.
    Presence,
    /// Scores are unique and rise with every new place.
    Scores,
    /// The rank table tells true positions.
    Positions,
    /// One device at a time holds a place: one taker gets it, and the devices before it are told so and nothing else.
    OneDevice,
}

/// A promise broken, and how.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) detail: String,
}

/// One operation as seen from outside.
pub(crate) struct Seen<'a> {
    pub(crate) call: &'a Call,
    pub(crate) reply: &'a Reply,
    pub(crate) now_us: u64,
    pub(crate) before: &'a Observation,
    pub(crate) after: &'a Observation,
}

/// Watches one sale from its beginning.
#[derive(Debug)]
pub(crate) struct Rules {
    in_force: Option<(Settings, u64)>,
    /// How much of the rate the origin leaves, in thousandths.
    factor_milli: u64,
    clock_us: u64,
    last_chance_us: u64,
    /// Counts all time by the clock, and only what the clock did between two chances to call, with its bound.
    by_clock: RateBound,
    by_chance: RateBound,
    highest_score: u64,
    last_seen_ms: BTreeMap<VisitorId, u64>,
    /// Silent for so long that presence may be forgotten, should the clock step back to when they were seen.
    doubtful: BTreeSet<VisitorId>,
    devices: DeviceRules,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            in_force: None,
            factor_milli: FULL_MILLI,
            clock_us: 0,
            last_chance_us: 0,
            by_clock: RateBound::default(),
            by_chance: RateBound::default(),
            highest_score: 0,
            last_seen_ms: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            devices: DeviceRules::default(),
        }
    }
}

pub(super) type Checked = Result<(), Violation>;

pub(super) fn ensure(holds: bool, rule: Rule, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { rule, detail: detail() }) }
}

impl Rules {
    /// Checks what an operation did. Operations must be shown in the order in which they happened.
    pub(crate) fn check(&mut self, seen: &Seen<'_>) -> Checked {
        self.pass_time(seen);
        one_place(seen)?;
        nobody_lost(seen)?;
        self.scores(seen)?;
        let called = newly_called(seen);
        self.rate(&called)?;
        self.capacity(seen, &called)?;
        order(seen, &called)?;
        self.presence(seen, &called)?;
        positions(seen)?;
        self.devices.check(seen)?;
        if let (Call::Configure { settings, opens_at_us, .. }, Reply::Configured(Ok(_))) = (seen.call, seen.reply) {
            self.in_force = Some(((**settings).clone(), opens_at_us.unwrap_or(0)));
            if settings.health_path.is_none() {
                self.factor_milli = FULL_MILLI;
            }
        }
        if let (Call::Govern { factor_milli, .. }, Reply::Governed(Some(true))) = (seen.call, seen.reply) {
            self.factor_milli = *factor_milli;
        }
        if matches!(seen.call, Call::Lose) {
            (self.in_force, self.factor_milli) = (None, FULL_MILLI);
        }
        Ok(())
    }

    fn pass_time(&mut self, seen: &Seen<'_>) {
        if let Some((settings, opens_at_us)) = &self.in_force {
            let open_us = match settings.state {
                SaleState::Open => u64::MAX,
                SaleState::Scheduled if *opens_at_us > 0 => seen.now_us.saturating_sub(*opens_at_us),
                _ => 0,
            };
            // Cut to a whole number of thousandths per minute, as the line promises.
            let rate_milli = settings.rate_milli() * self.factor_milli / FULL_MILLI;
            self.by_clock.earn(seen.now_us.saturating_sub(self.clock_us).min(open_us), rate_milli);
            if is_chance(seen) {
                let dt_us = seen.now_us.saturating_sub(self.last_chance_us).min(MAX_DT_US);
                self.by_chance.earn(dt_us.min(open_us), rate_milli);
            }
        }
        self.clock_us = seen.now_us;
        if is_chance(seen) {
            self.last_chance_us = seen.now_us;
        }
    }

    fn rate(&mut self, called: &[(VisitorId, u64)]) -> Checked {
        let burst = self.in_force.as_ref().map_or(0, |(settings, _)| settings.burst());
        ensure(called.is_empty() || self.factor_milli > 0, Rule::Rate, || {
            format!("{} were called though the origin has stopped the sale", called.len())
        })?;
        for _ in called {
            let by_clock = self.by_clock.call(burst);
            ensure(by_clock.is_ok(), Rule::Rate, || format!("too many by {by_clock:?} units, by the clock"))?;
            let by_chance = self.by_chance.call(burst);
            ensure(by_chance.is_ok(), Rule::Rate, || format!("too many by {by_chance:?} units, leaps bounded"))?;
        }
        Ok(())
    }

    fn capacity(&self, seen: &Seen<'_>, called: &[(VisitorId, u64)]) -> Checked {
        let Some((settings, _)) = &self.in_force else { return Ok(()) };
        let (before, after) = (seen.before.occupied(), seen.after.occupied());
        // A pass that Redis had lost takes its slot back, whatever the room; a lowered limit throws nobody out.
        let grew = after > before && !matches!(seen.call, Call::Renew { .. });
        let nothing_new = !grew && called.is_empty();
        ensure(nothing_new || after <= settings.max_inside, Rule::Capacity, || {
            format!("{after} called and inside, {before} before, at most {} allowed", settings.max_inside)
        })
    }

    fn presence(&mut self, seen: &Seen<'_>, called: &[(VisitorId, u64)]) -> Checked {
        let now_ms = seen.now_us / 1000;
        let forgotten = self.last_seen_ms.iter().filter(|(_, ms)| **ms + 60 * PRESENCE_MS <= now_ms);
        self.doubtful.extend(forgotten.map(|(visitor, _)| visitor));
        if matches!(seen.call, Call::Admit) {
            let heard = |visitor| self.last_seen_ms.get(visitor).is_some_and(|ms| ms + PRESENCE_MS >= now_ms);
            for (visitor, spot) in &seen.before.spots {
                let aside = matches!(seen.after.spot(*visitor), Some(Spot::Away { .. }));
                let wrong = matches!(spot, Spot::Waiting { .. }) && aside && heard(visitor);
                let fine = !wrong || self.doubtful.contains(visitor);
                ensure(fine, Rule::Presence, || format!("{visitor} was present and set aside"))?;
            }
            for (visitor, _) in called {
                let fine = heard(visitor) || self.doubtful.contains(visitor);
                ensure(fine, Rule::Presence, || format!("{visitor} was silent and called"))?;
            }
        }
        let (Call::Join { .. } | Call::Seen { .. }, Reply::Standings(standings)) = (seen.call, seen.reply) else {
            return Ok(());
        };
        for (visitor, standing) in named(seen.call).zip(standings) {
            let place_is_new = seen.before.spot(visitor).is_none();
            // Whoever joins behind the horizon is not asked yet, and not heard.
            let heard = seen.after.seen_ms.contains_key(&visitor);
            if heard
                && matches!(standing, Standing::Waiting { .. })
                && (place_is_new || matches!(seen.call, Call::Seen { .. }))
            {
                self.last_seen_ms.insert(visitor, now_ms);
                self.doubtful.remove(&visitor);
            }
        }
        Ok(())
    }

    fn scores(&mut self, seen: &Seen<'_>) -> Checked {
        let mut scores = BTreeSet::new();
        for (visitor, score) in seen.after.spots.iter().filter_map(|&(v, spot)| Some((v, spot.score()?))) {
            ensure(scores.insert(score), Rule::Scores, || {
                format!("score {score} of {visitor} is somebody else's too")
            })?;
        }
        let Reply::Standings(standings) = seen.reply else { return Ok(()) };
        let mut placed = BTreeSet::new();
        for (visitor, standing) in named(seen.call).zip(standings) {
            let Some(score) = standing_score(standing) else { continue };
            let is_new = matches!(seen.call, Call::Join { .. }) && seen.before.spot(visitor).is_none();
            if is_new && placed.insert(visitor) {
                let highest = self.highest_score;
                ensure(score > highest, Rule::Scores, || format!("{visitor} got {score}, not above {highest}"))?;
            }
            self.highest_score = self.highest_score.max(score);
        }
        Ok(())
    }
}

/// Whether the operation could have called somebody, or set the terms for it.
fn is_chance(seen: &Seen<'_>) -> bool {
    match seen.reply {
        Reply::Ticked(tick) => tick.is_some(),
        Reply::Configured(version) => version.is_ok(),
        Reply::Governed(taken) => *taken == Some(true),
        Reply::Standings(_) => matches!(seen.call, Call::Join { .. }),
        _ => false,
    }
}

/// The visitors that a call names, in the order of its reply.
fn named(call: &Call) -> impl Iterator<Item = VisitorId> {
    let visitors: Vec<VisitorId> = match call {
        Call::Join { visitors, .. } => visitors.clone(),
        Call::Seen { visitors } => visitors.iter().map(|shown| shown.visitor).collect(),
        Call::Claim { visitor, .. } | Call::Depart { visitor, .. } => vec![*visitor],
        _ => Vec::new(),
    };
    visitors.into_iter()
}

fn standing_score(standing: &Standing) -> Option<u64> {
    match standing {
        Standing::Waiting { score, .. } | Standing::Away { score } => Some(score.get()),
        Standing::Called { turn, .. } | Standing::Inside { turn, .. } => Some(turn.score.get()),
        _ => None,
    }
}

/// Who is called now and was not before, with their scores, in the order of calling.
fn newly_called(seen: &Seen<'_>) -> Vec<(VisitorId, u64)> {
    let mut called: Vec<_> = seen
        .after
        .spots
        .iter()
        .filter_map(|&(visitor, spot)| match spot {
            Spot::Called { turn, .. } if !matches!(seen.before.spot(visitor), Some(Spot::Called { .. })) => {
                Some((turn.seq, visitor, turn.score.get()))
            }
            _ => None,
        })
        .collect();
    called.sort_unstable();
    called.into_iter().map(|(_, visitor, score)| (visitor, score)).collect()
}

fn one_place(seen: &Seen<'_>) -> Checked {
    let twice = seen.after.spots.windows(2).find(|pair| pair[0].0 == pair[1].0);
    ensure(twice.is_none(), Rule::OnePlace, || format!("in two places: {twice:?}"))?;
    let orphans = &seen.after.orphans;
    ensure(orphans.is_empty(), Rule::OnePlace, || format!("facts left behind of {orphans:?}"))
}

fn nobody_lost(seen: &Seen<'_>) -> Checked {
    if matches!(seen.call, Call::Lose) {
        return Ok(());
    }
    let now_ms = seen.now_us / 1000;
    let is_old = |score: u64| score <= seen.now_us - PLACE_LIFE_MS * 1000;
    for &(visitor, spot) in &seen.before.spots {
        let old = match spot {
            Spot::Spent { at_ms, .. } => at_ms <= now_ms - PLACE_LIFE_MS,
            // Set aside, and then too old to be kept without a sign of life; the signed place still brings it back.
            _ => spot.score().is_some_and(is_old),
        };
        let kept = old || seen.after.spot(visitor).is_some();
        ensure(kept, Rule::NobodyLost, || format!("{visitor} was {spot:?} and is nowhere"))?;
    }
    let Reply::Standings(standings) = seen.reply else { return Ok(()) };
    for (visitor, standing) in named(seen.call).zip(standings) {
        let over = matches!(
            standing,
            Standing::Absent | Standing::Closed | Standing::Left | Standing::Expired | Standing::Moved
        );
        let over = over || standing_score(standing).is_some_and(is_old) || matches!(seen.call, Call::Claim { .. });
        let kept = over || seen.after.spot(visitor).is_some();
        ensure(kept, Rule::NobodyLost, || format!("{visitor} was told {standing:?} and is nowhere"))?;
    }
    Ok(())
}

fn order(seen: &Seen<'_>, called: &[(VisitorId, u64)]) -> Checked {
    for pair in called.windows(2) {
        ensure(pair[0].1 < pair[1].1, Rule::Order, || format!("called in this order: {pair:?}"))?;
    }
    if let (Some(&(visitor, score)), Some(&first)) = (called.last(), seen.after.line().first()) {
        ensure(score < first, Rule::Order, || format!("{visitor} with {score} was called before {first}"))?;
    }
    let moves = |&(visitor, spot): &(VisitorId, Spot)| {
        let (was, is) = (spot.score()?, seen.after.spot(visitor).and_then(Spot::score)?);
        (was != is).then_some((visitor, was, is))
    };
    let moved = seen.before.spots.iter().find_map(moves);
    ensure(moved.is_none(), Rule::Order, || format!("the score changed: {moved:?}"))
}

/// Right after a rank table was published it is exact for the first thousand and within 0.2 % behind them.
fn positions(seen: &Seen<'_>) -> Checked {
    let (Call::Snapshot { max_age_ms: 0 }, Reply::Snapshot(snapshot)) = (seen.call, seen.reply) else { return Ok(()) };
    let Some(snapshot) = &**snapshot else { return Ok(()) };
    for (rank, &score) in seen.after.line().iter().enumerate() {
        let shown = snapshot.ranks.ahead_of(queue_token::Score::new(score).expect("an exact score"));
        let off = shown.abs_diff(rank as u64);
        let allowed = if rank < 1000 { 0 } else { 1 + rank as u64 / 500 };
        ensure(off <= allowed, Rule::Positions, || format!("rank {rank} is shown as {shown}"))?;
    }
    Ok(())
}
