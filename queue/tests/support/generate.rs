//! Makes up what happens, from a seed: mostly what a sale sees, and everything that may go wrong.

use std::collections::BTreeMap;

use queue::configure::Expect;
use queue::govern::Cause;
use queue::{Code, SaleState, Settings};
use queue_token::VisitorId;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::observation::Observation;
use super::operations::{Floor, Intent, ShownPass, Step, visitor_id};
use super::profiles::Profile;
use crate::model::{CODE_LIFE_MS, PRESENCE_MS, Spot};

const SECOND_US: i64 = 1_000_000;

/// A source of steps that always says the same for the same seed and the same answers.
pub(crate) struct Generator {
    rng: StdRng,
    profile: Profile,
    newcomers: u32,
    numbers: BTreeMap<VisitorId, u32>,
    version: u64,
    configured: bool,
    lost: bool,
}

impl Generator {
    pub(crate) fn new(profile: &Profile, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self {
            rng,
            profile: *profile,
            newcomers: 0,
            numbers: BTreeMap::new(),
            version: 1,
            configured: false,
            lost: false,
        }
    }

    /// The next step, given how things stand.
    pub(crate) fn next(&mut self, seen: &Observation, now_us: u64) -> Step {
        let advance_us = self.advance(seen, now_us);
        let at_us = now_us.saturating_add_signed(advance_us);
        let intent = self.intent(seen, at_us);
        let elsewhere = !matches!(intent, Intent::Configure { .. } | Intent::Lose) && self.chance(15);
        Step { advance_us, intent: if elsewhere { Intent::Elsewhere(Box::new(intent)) } else { intent } }
    }

    /// What version the settings have now.
    pub(crate) fn learn_version(&mut self, version: u64) {
        self.version = version;
    }

    fn chance(&mut self, in_a_thousand: u32) -> bool {
        self.rng.random_range(0..1000) < in_a_thousand
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.rng).expect("something to choose from")
    }

    fn advance(&mut self, seen: &Observation, now_us: u64) -> i64 {
        if self.chance(self.profile.steps_back) {
            let most = self.one(&[1, 1000, SECOND_US, 30 * SECOND_US, 3600 * SECOND_US]);
            return -self.rng.random_range(1..=most);
        }
        if self.chance(self.profile.leaps) {
            let most = self.one(&[20, 60, 600, 3600, 90_000]) * SECOND_US;
            return self.rng.random_range(SECOND_US..=most);
        }
        if self.chance(100)
            && let Some(edge_us) = self.edge(seen, now_us)
        {
            return edge_us;
        }
        match self.rng.random_range(0..100) {
            0..30 => 0,
            30..75 => self.rng.random_range(0..300_000),
            75..96 => self.rng.random_range(300_000..=2 * SECOND_US),
            _ => self.rng.random_range(2 * SECOND_US..6 * SECOND_US),
        }
    }

    /// How far it is to a millisecond around the moment at which something near falls due.
    fn edge(&mut self, seen: &Observation, now_us: u64) -> Option<i64> {
        let now_ms = now_us / 1000;
        let kind = self.rng.random_range(0..if self.profile.moves > 0 { 4 } else { 3 });
        let spots = seen.spots.iter().filter_map(|(_, spot)| match (kind, spot) {
            (0, Spot::Called { deadline_ms, .. }) => Some(*deadline_ms),
            (1, Spot::Inside { expires_ms, .. }) => Some(*expires_ms),
            _ => None,
        });
        let silent = seen.seen_ms.values().filter(|_| kind == 2).map(|seen_ms| seen_ms + PRESENCE_MS);
        let codes = seen.devices.offers.values().filter(|_| kind == 3);
        let codes = codes.flat_map(|offer| [offer.until_ms, offer.until_ms - CODE_LIFE_MS / 2]);
        let soon = now_ms + 1..now_ms + if kind == 3 { CODE_LIFE_MS } else { 20_000 };
        let near: Vec<u64> = spots.chain(silent).chain(codes).filter(|due_ms| soon.contains(due_ms)).collect();
        let due_ms = *near.choose(&mut self.rng)? + self.rng.random_range(0..=2) - 1;
        Some(i64::try_from((due_ms * 1000).saturating_sub(now_us)).expect("a few seconds"))
    }

    fn intent(&mut self, seen: &Observation, now_us: u64) -> Intent {
        // Sales begin unknown, and after a loss somebody soon brings back what was lost.
        if (!self.configured || self.lost) && self.chance(300) {
            let expect = if self.lost { Expect::Lost(self.version) } else { Expect::Absent };
            (self.configured, self.lost) = (true, false);
            return self.configure(expect, now_us);
        }
        if self.configured && !self.lost && self.chance(self.profile.losses) {
            self.lost = true;
            return Intent::Lose;
        }
        if self.configured && !self.lost && self.chance(self.profile.changes) {
            let stale = self.version.saturating_sub(1);
            let version = self.version;
            let expect = self.one(&[
                Expect::Any,
                Expect::Version(version),
                Expect::Version(version),
                Expect::Version(stale),
                Expect::Absent,
                Expect::Lost(version),
                Expect::Restored { found: version, known: version + 3 },
                Expect::Restored { found: stale, known: version },
            ]);
            return self.configure(expect, now_us);
        }
        if self.configured && self.profile.says > 0 && self.chance(self.profile.says) {
            let some = self.rng.random_range(1..1000);
            let cause = self.one(&[Cause::Stock, Cause::Silent, Cause::Slow, Cause::Recovering]);
            return Intent::Govern { stale: self.chance(200), factor_milli: self.one(&[0, some, some, 1000]), cause };
        }
        if self.profile.moves > 0 && self.chance(self.profile.moves) {
            return self.moving(seen);
        }
        match self.rng.random_range(0..100) {
            0..26 => self.join(seen),
            26..54 => Intent::Admit,
            54..72 => Intent::Seen { visitors: self.polling(seen) },
            72..83 => Intent::Claim { visitor: self.somebody(seen, |s| matches!(s, Spot::Called { .. })) },
            83..85 => Intent::Claim { visitor: self.somebody(seen, |s| matches!(s, Spot::Inside { .. })) },
            85..91 => self.renew(seen),
            91..94 => Intent::Depart { visitor: self.anybody() },
            94..96 => Intent::Depart { visitor: self.somebody(seen, |s| matches!(s, Spot::Inside { .. })) },
            _ => Intent::Snapshot { max_age_ms: self.one(&[0, 0, 500, 60_000]) },
        }
    }

    fn configure(&mut self, expect: Expect, now_us: u64) -> Intent {
        let p = self.profile;
        let state = self.one(&[
            SaleState::Open,
            SaleState::Open,
            SaleState::Open,
            SaleState::Open,
            SaleState::Open,
            SaleState::Open,
            SaleState::Scheduled,
            SaleState::Scheduled,
            SaleState::Paused,
            SaleState::SoldOut,
            SaleState::Closed,
        ]);
        let opening = (state == SaleState::Scheduled)
            .then(|| now_us.saturating_add_signed(self.rng.random_range(-SECOND_US..20 * SECOND_US)));
        // Where the origin has a say, the organiser now and then takes it away.
        let health_path = (p.says > 0 && !self.chance(250)).then(|| "/health".to_owned());
        let settings = Settings {
            rate_per_min: self.one(p.rates_per_min),
            burst: self.one(p.bursts),
            max_inside: self.one(p.max_inside),
            pass_ttl_s: self.one(p.pass_ttl_s),
            claim_window_s: self.one(p.claim_window_s),
            state,
            opens_at: opening.map(|_| "2026-01-01T00:00:00Z".to_owned()),
            health_path,
            ..serde_json::from_str(r#"{"rate_per_min": 1, "max_inside": 1}"#).expect("settings")
        };
        Intent::Configure { settings: Box::new(settings), opens_at_us: opening, expect }
    }

    fn join(&mut self, seen: &Observation) -> Intent {
        let full = seen.seen_ms.len() >= self.profile.waiting;
        let count = self.rng.random_range(1..=self.profile.batch);
        let mut visitors = Vec::with_capacity(count);
        for _ in 0..count {
            if full || self.chance(120) {
                visitors.push(self.anybody());
            } else {
                visitors.push(self.newcomers);
                self.newcomers += 1;
            }
            if self.chance(80) {
                let again = visitors[self.rng.random_range(0..visitors.len())];
                visitors.push(again);
            }
        }
        let above = self.rng.random_range(1..1_000_000);
        Intent::Join {
            visitors,
            floor: self.one(&[Floor::Own, Floor::Own, Floor::Own, Floor::Zero, Floor::Above(above)]),
        }
    }

    /// Most of those who hold a place: one in five is of the silent kind. After a loss they are nowhere, and still poll.
    fn polling(&mut self, seen: &Observation) -> Vec<u32> {
        let heed = self.one(&[1000, 900, 300]);
        let mut visitors = Vec::new();
        for number in self.newcomers.saturating_sub(4 * self.profile.waiting as u32)..self.newcomers {
            let waits = matches!(seen.spot(visitor_id(number)), None | Some(Spot::Waiting { .. } | Spot::Away { .. }));
            let polls = if number % 5 == 0 { 60 } else { heed };
            if waits && self.chance(polls) && visitors.len() < 500 {
                visitors.push(number);
            }
        }
        visitors.push(self.anybody());
        visitors
    }

    /// Somebody offers a code, takes a place, or still uses the device that the place has left.
    fn moving(&mut self, seen: &Observation) -> Intent {
        let codes: Vec<Code> = seen.devices.offers.keys().copied().collect();
        let some_code = Code::from_bits(self.rng.random_range(0..40));
        let code = if codes.is_empty() || self.chance(100) { some_code } else { self.one(&codes) };
        let moved = |visitor: &VisitorId| seen.devices.holders.contains_key(visitor);
        match self.rng.random_range(0..100) {
            0..30 => Intent::Offer { visitor: self.somebody(seen, |_| true), code: some_code },
            30..65 => Intent::Take { code, taker: self.rng.random_range(0..3) },
            65..75 => Intent::ByOldDevice(Box::new(Intent::Seen { visitors: self.polling(seen) })),
            75..90 => {
                let called = |v: &VisitorId| matches!(seen.spot(*v), Some(Spot::Called { .. }));
                let visitor = self.somebody_who(seen, |v| moved(v) && called(v));
                Intent::ByOldDevice(Box::new(Intent::Claim { visitor }))
            }
            90..96 => Intent::ByOldDevice(Box::new(Intent::Depart { visitor: self.somebody_who(seen, moved) })),
            _ => {
                let visitor = self.somebody_who(seen, moved);
                Intent::ByOldDevice(Box::new(Intent::Offer { visitor, code: some_code }))
            }
        }
    }

    fn renew(&mut self, seen: &Observation) -> Intent {
        let count = self.rng.random_range(1..=3);
        let mut visitors = Vec::new();
        for _ in 0..count {
            let visitor = self.somebody(seen, |spot| matches!(spot, Spot::Inside { .. }));
            let ms = self.rng.random_range(1..60_000);
            visitors.push((visitor, self.one(&[ShownPass::Own, ShownPass::Own, ShownPass::LiveFor { ms }])));
        }
        Intent::Renew { visitors }
    }

    /// Usually a visitor at such a spot, now and then anybody.
    fn somebody(&mut self, seen: &Observation, is: impl Fn(&Spot) -> bool) -> u32 {
        self.somebody_who(seen, |visitor| seen.spot(*visitor).as_ref().is_some_and(&is))
    }

    /// Usually such a visitor among those who are somewhere, now and then anybody.
    fn somebody_who(&mut self, seen: &Observation, is: impl Fn(&VisitorId) -> bool) -> u32 {
        for number in self.numbers.len() as u32..self.newcomers {
            self.numbers.insert(visitor_id(number), number);
        }
        let numbered = |(visitor, _): &(VisitorId, Spot)| self.numbers.get(visitor).filter(|_| is(visitor)).copied();
        let there: Vec<u32> = seen.spots.iter().filter_map(numbered).collect();
        if there.is_empty() || self.chance(100) { self.anybody() } else { self.one(&there) }
    }

    /// Anybody who ever came, or who never did.
    fn anybody(&mut self) -> u32 {
        if self.chance(50) {
            // Somebody whom Redis has never heard of.
            self.newcomers += 1;
            return self.newcomers - 1;
        }
        self.rng.random_range(0..=self.newcomers)
    }
}
