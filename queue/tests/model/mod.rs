//! The line as a plain in-memory model: the executable specification of `lua/`.
//!
//! Owns: what every operation does to a sale and what it answers, in ordinary data structures, with the time as a
//! parameter. A visitor has exactly one [`Spot`], so it cannot stand in two places. `operations.rs` holds what visitors
//! and gateways do, `devices.rs` how places move between devices, `bucket.rs` the permits, `published.rs` the snapshot, `flaw.rs` the defects that can be put in on
//! purpose, to show that the suite would notice them.
//!
//! Leaves out: Redis, connections, the log stream, and the order of visitors whose deadlines fall on one millisecond
//! beyond what is needed to be definite.

mod bucket;
mod devices;
mod flaw;
mod operations;
mod published;

use std::collections::BTreeMap;

use queue::configure::Expect;
use queue::govern::{Cause, FULL_MILLI, Governed, rate_in_force_milli};
use queue::snapshot::Snapshot;
use queue::{SaleState, Settings, Standing, Turn};
use queue_token::{Score, VisitorId};

use bucket::Bucket;
pub(crate) use devices::{CODE_LIFE_MS, Devices, Holder, Offer};
pub(crate) use flaw::Flaw;
pub(crate) use operations::WHY;
use published::Published;

/// Somebody near the front who was not seen for longer than this is set aside.
pub(crate) const PRESENCE_MS: u64 = 10_000;
/// Most visitors that one tick calls, sets aside, or expires, each.
const TICK_MAX: usize = 500;
/// A horizon must have stood for this long before silence below it counts.
const ASK_US: u64 = 5_000_000;
/// For so long after the rate was raised, those whom the wider horizon covers may not have asked yet.
const SLOWEST_MS: u64 = 70_000;
/// Most raises that are remembered.
const RAISES_MAX: usize = 8;
/// After a loss nobody is called for this long.
const CALM_US: u64 = 5_000_000;
/// For so long after a loss silence counts for nobody.
const HUSH_US: u64 = 6_000_000;
/// And for this long every poll is presence.
const WHOLE_US: u64 = 140_000_000;
/// How long silent places and used-up ones are remembered.
pub(crate) const PLACE_LIFE_MS: u64 = 86_400_000;

/// Where a visitor stands, with the facts that hold there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot {
    Waiting { score: u64 },
    Away { score: u64 },
    Called { turn: Turn, deadline_ms: u64 },
    Inside { turn: Turn, expires_ms: u64 },
    Spent { at_ms: u64, left: bool },
}

impl Spot {
    /// The score kept there; none of places used up and of passes whose turn was lost.
    pub(crate) fn score(self) -> Option<u64> {
        match self {
            Self::Waiting { score } | Self::Away { score } => Some(score),
            Self::Called { turn, .. } | Self::Inside { turn, .. } => Some(turn.score.get()).filter(|&score| score > 0),
            Self::Spent { .. } => None,
        }
    }
}

/// How many ever did what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Totals {
    joined: u64,
    called: u64,
    claimed: u64,
    departed: u64,
    expired: u64,
}

/// Below which score visitors were told long enough ago to show that they are there.
#[derive(Debug, Clone, Copy)]
struct Asked {
    below: u64,
    /// Takes its place when it has stood for [`ASK_US`].
    next: u64,
    since_us: u64,
    /// The last one published.
    horizon: u64,
}

/// One sale.
#[derive(Debug, Clone)]
struct Sale {
    version: u64,
    settings: Settings,
    opens_at_us: u64,
    asked: Asked,
    /// When the rate was raised, and from what; those that are not over.
    raises: Vec<(u64, u64)>,
    /// When it was created, or brought back after a loss.
    generation: u64,
    /// When it was brought back after a loss, if it was.
    lost_at_us: Option<u64>,
    bucket: Bucket,
    last_score: u64,
    last_seq: u64,
    spots: BTreeMap<VisitorId, Spot>,
    /// Those who wait, first come first.
    line: BTreeMap<u64, VisitorId>,
    /// When those who wait were last seen; forgotten for the long silent.
    seen_ms: BTreeMap<VisitorId, u64>,
    devices: Devices,
    totals: Totals,
    governed: Governed,
    file_digest: Option<String>,
    published: Option<Published>,
}

/// A line that may or may not know its sale.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    sale: Option<Sale>,
    flaw: Option<Flaw>,
}

impl Model {
    /// A model with a defect put in on purpose.
    pub(crate) fn with(flaw: Flaw) -> Self {
        Self { sale: None, flaw: Some(flaw) }
    }

    /// Everything is lost, as by `FLUSHALL`.
    pub(crate) fn lose(&mut self) {
        self.sale = None;
    }

    /// Another process holds the line from now on, restarted, restored or failed over: it regroups.
    #[allow(dead_code, reason = "played by the simulation of whole sales alone")]
    pub(crate) fn become_another(&mut self, now_us: u64) {
        let flaw = self.flaw;
        let Some(sale) = &mut self.sale else { return };
        sale.generation = now_us;
        sale.lost_at_us = (flaw != Some(Flaw::CallsAtOnceAfterLoss)).then_some(now_us);
        if flaw != Some(Flaw::FullAfterLoss) {
            sale.bucket = Bucket::empty(now_us);
        }
        sale.asked = Asked { below: 0, next: sale.asked.horizon, since_us: now_us, ..sale.asked };
        sale.published = None;
    }

    /// Creates the sale or changes its settings; answers the version, or the one that stands in the way.
    pub(crate) fn configure(
        &mut self,
        settings: &Settings,
        opens_at_us: Option<u64>,
        expect: Expect,
        now_us: u64,
    ) -> Result<u64, u64> {
        let current = self.sale.as_ref().map_or(0, |sale| sale.version);
        let (expected, at_least) = match expect {
            Expect::Any => (current, 1),
            Expect::Absent => (0, 1),
            Expect::Version(version) => (version, 1),
            Expect::Lost(version) => (0, version),
            Expect::Restored { found, known } => (found, known),
        };
        if expected != current {
            return Err(current);
        }
        let version = (current + 1).max(at_least);
        let burst = settings.burst();
        let bucket = match (&mut self.sale, expect) {
            (Some(sale), _) => {
                // What was earned until now was earned at the old rate.
                sale.refill(now_us, self.flaw);
                sale.bucket.holding_at_most(burst)
            }
            (None, Expect::Lost(_)) if self.flaw != Some(Flaw::FullAfterLoss) => Bucket::empty(now_us),
            (None, _) => Bucket::full(burst, now_us),
        };
        let sale = self.sale.get_or_insert_with(|| {
            let lost = matches!(expect, Expect::Lost(_)) && self.flaw != Some(Flaw::CallsAtOnceAfterLoss);
            Sale::new(settings.clone(), bucket, now_us, lost.then_some(now_us))
        });
        sale.version = version;
        let before_milli = sale.settings.rate_milli();
        if version > 1 && settings.rate_milli() > before_milli {
            sale.raises.retain(|&(rose_us, _)| rose_us <= now_us && now_us < rose_us + SLOWEST_MS * 1000);
            sale.raises.push((now_us, before_milli));
            if sale.raises.len() > RAISES_MAX {
                let (_, from_milli) = sale.raises.remove(0);
                sale.raises[0].1 = sale.raises[0].1.min(from_milli);
            }
        }
        sale.settings = settings.clone();
        sale.opens_at_us = opens_at_us.unwrap_or(0);
        sale.bucket = bucket;
        let has_no_say = settings.health_path.is_none() && sale.governed.factor_milli != FULL_MILLI;
        if has_no_say || self.flaw == Some(Flaw::ForgetsTheOrigin) && sale.governed.factor_milli != FULL_MILLI {
            sale.set_governed(FULL_MILLI, Cause::Removed, "Full rate: the origin has no say any more.", now_us);
        }
        sale.published = None;
        Ok(version)
    }

    /// What a gateway sees of the sale; `None` when it is not known.
    pub(crate) fn snapshot(&mut self, max_age_ms: u64, now_us: u64) -> Option<Snapshot> {
        let flaw = self.flaw;
        self.sale.as_mut().map(|sale| sale.snapshot(max_age_ms, now_us, flaw))
    }

    /// Everybody's spot.
    pub(crate) fn spots(&self) -> Vec<(VisitorId, Spot)> {
        let spots = self.sale.iter().flat_map(|sale| &sale.spots).map(|(&visitor, &spot)| (visitor, spot));
        // The one flaw that a model of single spots has to fake: those inside also stand where they waited.
        let twice = |(visitor, spot)| match spot {
            Spot::Inside { turn, .. } if self.flaw == Some(Flaw::StaysInLine) => {
                vec![(visitor, spot), (visitor, Spot::Waiting { score: turn.score.get() })]
            }
            _ => vec![(visitor, spot)],
        };
        spots.flat_map(twice).collect()
    }

    /// When those who wait were last seen, as far as remembered.
    pub(crate) fn seen_ms(&self) -> BTreeMap<VisitorId, u64> {
        self.sale.as_ref().map(|sale| sale.seen_ms.clone()).unwrap_or_default()
    }
}

impl Sale {
    fn new(settings: Settings, bucket: Bucket, now_us: u64, lost_at_us: Option<u64>) -> Self {
        Self {
            version: 0,
            settings,
            opens_at_us: 0,
            asked: Asked { below: 0, next: 0, since_us: now_us, horizon: 0 },
            raises: Vec::new(),
            generation: now_us,
            lost_at_us,
            bucket,
            last_score: 0,
            last_seq: 0,
            spots: BTreeMap::new(),
            line: BTreeMap::new(),
            seen_ms: BTreeMap::new(),
            devices: Devices::default(),
            totals: Totals::default(),
            governed: Governed::default(),
            file_digest: None,
            published: None,
        }
    }

    /// From when on visitors are called; `None` while they are not.
    fn open_since(&self, now_us: u64) -> Option<u64> {
        let opened = match self.settings.state {
            SaleState::Open => 0,
            SaleState::Scheduled if (1..=now_us).contains(&self.opens_at_us) => self.opens_at_us,
            _ => return None,
        };
        let Some(lost_us) = self.lost_at_us else { return Some(opened) };
        if (lost_us..lost_us + CALM_US).contains(&now_us) {
            return None;
        }
        // A clock that stepped back behind the loss is out of the calm, and earns as if there had been none.
        Some(if now_us < lost_us { opened } else { opened.max(lost_us + CALM_US) })
    }

    fn takes_nobody(&self) -> bool {
        matches!(self.settings.state, SaleState::Closed | SaleState::SoldOut)
    }

    fn refill(&mut self, now_us: u64, flaw: Option<Flaw>) {
        let since = self.open_since(now_us);
        let since = match flaw {
            Some(Flaw::FillsWhilePaused) => Some(0),
            Some(Flaw::EarnsBeforeOpening) => since.map(|_| 0),
            _ => since,
        };
        let rate_milli = match flaw {
            Some(Flaw::IgnoresTheOrigin) => self.settings.rate_milli(),
            _ => self.rate_in_force_milli(),
        };
        self.bucket.refill(now_us, since, rate_milli, self.settings.burst(), flaw);
    }

    fn rate_in_force_milli(&self) -> u64 {
        rate_in_force_milli(self.settings.rate_milli(), self.governed.factor_milli)
    }

    fn set_governed(&mut self, factor_milli: u64, cause: Cause, why: &str, now_us: u64) {
        let seq = self.governed.seq + 1;
        self.governed = Governed { seq, factor_milli, cause, why: why.to_owned(), changed_us: now_us };
    }

    /// How many may be called now: bounded by permits, by room, and by what one tick does.
    fn budget(&self, now_us: u64, flaw: Option<Flaw>) -> usize {
        let is_stopped = self.governed.factor_milli == 0 && flaw != Some(Flaw::CallsWhenStopped);
        if self.open_since(now_us).is_none() || is_stopped {
            return 0;
        }
        let busy = |spot: &&Spot| match spot {
            Spot::Called { .. } => flaw != Some(Flaw::CalledTakeNoRoom),
            Spot::Inside { .. } => true,
            _ => false,
        };
        let occupied = self.spots.values().filter(busy).count() as u64;
        let room = self.settings.max_inside.saturating_sub(occupied);
        let extra = u64::from(flaw == Some(Flaw::ExtraPermit));
        let n = (self.bucket.permits() + extra).min(room).min(TICK_MAX as u64);
        usize::try_from(n).expect("bounded by TICK_MAX")
    }

    /// The turn of somebody who is at no spot right now has come.
    fn call(&mut self, visitor: VisitorId, score: u64, now_us: u64) {
        self.last_seq += 1;
        self.totals.called += 1;
        self.bucket.take();
        let turn = Turn { score: to_score(score), called_us: now_us, seq: self.last_seq };
        let deadline_ms = now_us / 1000 + self.settings.claim_window_s * 1000;
        self.spots.insert(visitor, Spot::Called { turn, deadline_ms });
    }

    fn put_in_line(&mut self, visitor: VisitorId, score: u64) {
        self.spots.insert(visitor, Spot::Waiting { score });
        self.line.insert(score, visitor);
        self.last_score = self.last_score.max(score);
    }

    /// Takes a visitor from wherever it is.
    fn take_out(&mut self, visitor: VisitorId) {
        if let Some(Spot::Waiting { score }) = self.spots.remove(&visitor) {
            self.line.remove(&score);
        }
        self.seen_ms.remove(&visitor);
    }

    fn standing(&self, visitor: VisitorId) -> Standing {
        match self.spots.get(&visitor) {
            None => Standing::Unknown,
            Some(&Spot::Waiting { score }) => {
                let ahead = self.line.range(..score).count() as u64;
                Standing::Waiting { score: to_score(score), ahead }
            }
            Some(&Spot::Away { score }) => Standing::Away { score: to_score(score) },
            Some(&Spot::Called { turn, deadline_ms }) => Standing::Called { turn, deadline_ms },
            Some(&Spot::Inside { turn, expires_ms }) => Standing::Inside { turn, expires_ms },
            Some(Spot::Spent { left: true, .. }) => Standing::Left,
            Some(Spot::Spent { left: false, .. }) => Standing::Expired,
        }
    }
}

fn to_score(score: u64) -> Score {
    Score::new(score).expect("the suite stays within exact scores")
}
