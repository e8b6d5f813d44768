//! The snapshot: numbers that are always fresh, and a rank table that is published and then reused for a while.

use queue::snapshot::{Numbers, Ranks, Snapshot};
use queue_token::VisitorId;

use super::{ASK_US, Asked, CALM_US, Flaw, PLACE_LIFE_MS, PRESENCE_MS, SLOWEST_MS, Sale, Spot, WHOLE_US, to_score};

/// Ranks whose scores are published exactly.
const HEAD: usize = 1000;
/// Points at most behind them.
const TAIL: usize = 1024;
/// Who will be called within this time is within the horizon; but never fewer than [`HORIZON_MIN`].
const HORIZON_S: u64 = 90;
const HORIZON_MIN: usize = 100;

/// Who left is told for this long, and at most so many at a time.
const LEFT_MS: u64 = 5_000;
const LEFT_MAX: usize = 1000;

/// A rank table and the horizon, as of one moment.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    at_us: u64,
    horizon: Option<u64>,
    head: Vec<u64>,
    tail: Vec<u64>,
    step: usize,
}

fn reach(rate_milli: u64) -> usize {
    usize::try_from((rate_milli * HORIZON_S).div_ceil(60_000)).expect("a small number").max(HORIZON_MIN)
}

impl Sale {
    pub(super) fn snapshot(&mut self, max_age_ms: u64, now_us: u64, flaw: Option<Flaw>) -> Snapshot {
        let still_good = |p: &Published| p.at_us <= now_us && now_us - p.at_us < max_age_ms * 1000;
        if !self.published.as_ref().is_some_and(still_good) {
            let published = self.publish(now_us, flaw);
            let asked = self.asked_reach(now_us, flaw);
            self.ask(self.line.keys().nth(asked).copied().unwrap_or(self.last_score), now_us, flaw);
            self.published = Some(published);
            self.forget_what_is_old(now_us);
        }
        let published = self.published.clone().expect("just published");
        let waiting = self.line.len() as u64;
        Snapshot {
            version: self.version,
            settings: self.settings.clone(),
            at_us: now_us,
            last_score: to_score(self.last_score),
            numbers: self.numbers(),
            horizon: published.horizon.map(to_score),
            ranks: Ranks::new(published.head, published.tail, published.step as u64, waiting),
            generation: self.generation,
            calm_until_us: self.lost_at_us.map_or(0, |lost_us| lost_us + CALM_US),
            whole_at_us: self.lost_at_us.map_or(0, |lost_us| lost_us + WHOLE_US),
            left: self.lately_left(now_us / 1000),
            governed: self.governed.clone(),
            rate_in_force_per_min: self.rate_in_force_milli() as f64 / 1000.0,
            file_digest: self.file_digest.clone(),
        }
    }

    fn publish(&self, at_us: u64, flaw: Option<Flaw>) -> Published {
        let scores: Vec<u64> = self.line.keys().copied().collect();
        let skipped = usize::from(flaw == Some(Flaw::SkipsARank));
        let head = scores.iter().copied().skip(skipped).take(HEAD).collect();
        let step = scores.len().saturating_sub(HEAD).div_ceil(TAIL);
        // Every step-th rank behind the head, beginning one step behind it.
        let tail = match step {
            0 => Vec::new(),
            _ => scores.iter().copied().skip(HEAD + step).step_by(step).collect(),
        };
        Published { at_us, horizon: scores.get(self.reach()).copied(), head, tail, step }
    }

    /// How many ranks are within the horizon.
    pub(super) fn reach(&self) -> usize {
        reach(self.settings.rate_milli())
    }

    /// Below how many ranks silence may count: a raised rate widens the horizon at once, this one at the pace at which
    /// those it newly covers were told to ask.
    fn asked_reach(&self, now_us: u64, flaw: Option<Flaw>) -> usize {
        if flaw == Some(Flaw::SweepsAfterARaise) {
            return self.reach();
        }
        let not_over = self.raises.iter().filter_map(|&(rose_us, from_milli)| {
            let since_ms = now_us.checked_sub(rose_us)? / 1000;
            let heard =
                usize::try_from(from_milli * since_ms.saturating_sub(3_000) / 2_400_000).expect("a small number");
            (since_ms < SLOWEST_MS).then(|| reach(from_milli).max(heard))
        });
        not_over.min().map_or(self.reach(), |slowest| self.reach().min(slowest))
    }

    /// A horizon that has stood long enough is one below which everybody was asked.
    fn ask(&mut self, horizon: u64, now_us: u64, flaw: Option<Flaw>) {
        let stepped_back = now_us < self.asked.since_us;
        if stepped_back || now_us - self.asked.since_us >= ASK_US {
            let below = if stepped_back { self.asked.below } else { self.asked.below.max(self.asked.next) };
            self.asked = Asked { below, next: horizon, since_us: now_us, horizon };
        }
        self.asked.horizon = horizon;
        // Whoever is beyond a horizon that came nearer is told to ask rarely.
        if flaw != Some(Flaw::SweepsAfterALowering) {
            self.asked.below = self.asked.below.min(horizon);
        }
    }

    /// Who gave a place or pass back in the last seconds, in order; bounded as the reply is.
    fn lately_left(&self, now_ms: u64) -> Vec<VisitorId> {
        let mut spent: Vec<(u64, bool, String, VisitorId)> = self
            .spots
            .iter()
            .filter_map(|(&visitor, spot)| match *spot {
                Spot::Spent { at_ms, left } if at_ms >= now_ms - LEFT_MS => {
                    Some((at_ms, left, visitor.to_string(), visitor))
                }
                _ => None,
            })
            .collect();
        spent.sort();
        spent.into_iter().take(LEFT_MAX).filter(|spent| spent.1).map(|spent| spent.3).collect()
    }

    /// Forgets presence, silent places and used-up ones that are older than they can matter.
    fn forget_what_is_old(&mut self, now_us: u64) {
        let now_ms = now_us / 1000;
        self.devices.forget_what_is_old(now_us);
        self.seen_ms.retain(|_, seen| *seen > now_ms - 60 * PRESENCE_MS);
        self.spots.retain(|_, spot| match *spot {
            Spot::Away { score } => score > now_us - PLACE_LIFE_MS * 1000,
            Spot::Spent { at_ms, left } => at_ms > now_ms - PLACE_LIFE_MS || (left && at_ms == now_ms - PLACE_LIFE_MS),
            Spot::Waiting { .. } | Spot::Called { .. } | Spot::Inside { .. } => true,
        });
    }

    fn numbers(&self) -> Numbers {
        let count = |is: fn(&Spot) -> bool| self.spots.values().filter(|spot| is(spot)).count() as u64;
        Numbers {
            waiting: self.line.len() as u64,
            near: self.seen_ms.len() as u64,
            away: count(|spot| matches!(spot, Spot::Away { .. })),
            called: count(|spot| matches!(spot, Spot::Called { .. })),
            inside: count(|spot| matches!(spot, Spot::Inside { .. })),
            joined_total: self.totals.joined,
            called_total: self.totals.called,
            claimed_total: self.totals.claimed,
            departed_total: self.totals.departed,
            expired_total: self.totals.expired,
        }
    }
}
