//! What can happen to a line. An [`Intent`] names visitors by number and leaves open what only the moment knows (the
//! score a place was signed with, the floor of the gateway), so that any part of a script can be played again. The
//! [`Gateway`] turns it into a [`Call`] and learns from the [`Reply`].

use std::collections::BTreeMap;

use queue::admit::Tick;
use queue::configure::Expect;
use queue::govern::Cause;
use queue::offer::Offered;
use queue::seen::Shown;
use queue::snapshot::Snapshot;
use queue::take::Taken;
use queue::{Code, Settings, Standing};
use queue_token::{Device, Score, Taker, VisitorId};

/// One step of a script.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// How far the clock moves before it, in microseconds; steps back are negative.
    pub(crate) advance_us: i64,
    pub(crate) intent: Intent,
}

/// What is to be done. Visitors are numbers.
#[derive(Debug, Clone)]
pub(crate) enum Intent {
    Configure {
        settings: Box<Settings>,
        opens_at_us: Option<u64>,
        expect: Expect,
    },
    /// The origin's say; a stale one replaces another than the last.
    Govern {
        stale: bool,
        factor_milli: u64,
        cause: Cause,
    },
    Join {
        visitors: Vec<u32>,
        floor: Floor,
    },
    Admit,
    Seen {
        visitors: Vec<u32>,
    },
    Claim {
        visitor: u32,
    },
    Renew {
        visitors: Vec<(u32, ShownPass)>,
    },
    Depart {
        visitor: u32,
    },
    Offer {
        visitor: u32,
        code: Code,
    },
    Take {
        code: Code,
        taker: u32,
    },
    /// The same by the device before the one that holds the place.
    ByOldDevice(Box<Intent>),
    Snapshot {
        max_age_ms: u64,
    },
    /// The same on a sale that nobody ever configured.
    Elsewhere(Box<Intent>),
    /// Redis loses everything.
    Lose,
}

/// Which floor a gateway sends along.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Floor {
    /// The highest score it has signed or seen, as it should.
    Own,
    /// That much above: another gateway saw more.
    Above(u64),
    /// None, like a gateway that just started; its own where only that is safe.
    Zero,
}

/// Which pass a visitor shows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ShownPass {
    /// The one it got; an expired one when it never got any.
    Own,
    /// One that is live for so long.
    LiveFor { ms: u64 },
}

/// An operation with everything filled in.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Configure { settings: Box<Settings>, opens_at_us: Option<u64>, expect: Expect },
    Govern { seq: u64, factor_milli: u64, cause: Cause },
    Join { visitors: Vec<VisitorId>, floor: Score },
    Admit,
    Seen { visitors: Vec<Shown> },
    Claim { visitor: VisitorId, device: Device },
    Renew { visitors: Vec<(VisitorId, u64)> },
    Depart { visitor: VisitorId, device: Option<Device> },
    Offer { shown: Shown, code: Code },
    Take { code: Code, taker: Taker },
    Snapshot { max_age_ms: u64 },
    Lose,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// The version, or the one that stood in the way.
    Configured(Result<u64, u64>),
    /// Whether the origin's say was taken; `None` when the sale is not known.
    Governed(Option<bool>),
    Standings(Vec<Standing>),
    Ticked(Option<Tick>),
    Renewed(Vec<Option<u64>>),
    Offered(Offered),
    Taken(Taken),
    Snapshot(Box<Option<Snapshot>>),
    Lost,
}

/// The id of a visitor: scattered, so that the order of ids says nothing about the order of arrival.
pub(crate) fn visitor_id(number: u32) -> VisitorId {
    let mixed = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    VisitorId::from_bytes(mixed.to_be_bytes())
}

fn taker_id(number: u32) -> Taker {
    Taker::from_bytes(u128::from(number).to_be_bytes())
}

/// What the gateways of a deployment know besides Redis: signed places and passes, and the highest score.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    places: BTreeMap<VisitorId, Score>,
    passes_ms: BTreeMap<VisitorId, u64>,
    /// The latest device for which each visitor's place was signed.
    devices: BTreeMap<VisitorId, Device>,
    floor: Score,
    governed_seq: u64,
    /// Redis may not know every score that was signed: it lost them, or was never told.
    ahead_of_redis: bool,
}

impl Gateway {
    /// Fills in what the intent leaves open; also whether it goes to the sale under test (else to one unknown).
    pub(crate) fn resolve(&mut self, intent: &Intent, now_us: u64) -> (bool, Call) {
        let call = match intent {
            Intent::Elsewhere(inner) => return (false, self.resolve(inner, now_us).1),
            Intent::ByOldDevice(inner) => by_old_device(self.resolve(inner, now_us).1),
            Intent::Configure { settings, opens_at_us, expect } => {
                Call::Configure { settings: settings.clone(), opens_at_us: *opens_at_us, expect: *expect }
            }
            Intent::Govern { stale, factor_milli, cause } => {
                let seq = if *stale { self.governed_seq + 1 } else { self.governed_seq };
                Call::Govern { seq, factor_milli: *factor_milli, cause: *cause }
            }
            Intent::Join { visitors, floor } => {
                let floor = match floor {
                    Floor::Above(by) => higher(self.floor, *by),
                    Floor::Zero if !self.ahead_of_redis => Score::default(),
                    Floor::Zero | Floor::Own => self.floor,
                };
                Call::Join { visitors: visitors.iter().map(|&n| visitor_id(n)).collect(), floor }
            }
            Intent::Admit => Call::Admit,
            Intent::Seen { visitors } => {
                Call::Seen { visitors: visitors.iter().map(|&n| self.shown_by(visitor_id(n), now_us)).collect() }
            }
            Intent::Claim { visitor } => {
                let visitor = visitor_id(*visitor);
                Call::Claim { visitor, device: self.device_of(visitor) }
            }
            Intent::Renew { visitors } => {
                Call::Renew { visitors: visitors.iter().map(|&(n, shown)| self.pass_of(n, shown, now_us)).collect() }
            }
            Intent::Depart { visitor } => {
                let (number, visitor) = (*visitor, visitor_id(*visitor));
                // Some show a pass, which names no device.
                let device = (number % 3 > 0).then(|| self.device_of(visitor));
                Call::Depart { visitor, device }
            }
            Intent::Offer { visitor, code } => {
                Call::Offer { shown: self.shown_by(visitor_id(*visitor), now_us), code: *code }
            }
            Intent::Take { code, taker } => Call::Take { code: *code, taker: taker_id(*taker) },
            Intent::Snapshot { max_age_ms } => Call::Snapshot { max_age_ms: *max_age_ms },
            Intent::Lose => Call::Lose,
        };
        (true, call)
    }

    fn device_of(&self, visitor: VisitorId) -> Device {
        self.devices.get(&visitor).copied().unwrap_or_default()
    }

    /// What the visitor's latest device shows.
    fn shown_by(&mut self, visitor: VisitorId, now_us: u64) -> Shown {
        let (visitor, score) = self.place_of(visitor, now_us);
        Shown { visitor, score, device: self.device_of(visitor) }
    }

    /// The signed place; where there is none, one signed now, as while Redis is away: by the gateway's own clock,
    /// above its floor.
    fn place_of(&mut self, visitor: VisitorId, now_us: u64) -> (VisitorId, Score) {
        if let Some(&score) = self.places.get(&visitor) {
            return (visitor, score);
        }
        let own = Score::new(now_us).expect("a time is a score");
        let score = own.max(higher(self.floor, 1));
        self.places.insert(visitor, score);
        self.floor = score;
        self.ahead_of_redis = true;
        (visitor, score)
    }

    fn pass_of(&self, number: u32, shown: ShownPass, now_us: u64) -> (VisitorId, u64) {
        let visitor = visitor_id(number);
        let expires_ms = match shown {
            ShownPass::Own => self.passes_ms.get(&visitor).copied().unwrap_or(now_us / 1000),
            ShownPass::LiveFor { ms } => now_us / 1000 + ms,
        };
        (visitor, expires_ms)
    }

    /// Remembers what replies say of places and passes.
    pub(crate) fn learn(&mut self, call: &Call, reply: &Reply, snapshot: Option<&Snapshot>) {
        if let Some(snapshot) = snapshot {
            self.floor = self.floor.max(snapshot.last_score);
            self.governed_seq = snapshot.governed.seq;
        }
        match (call, reply) {
            (Call::Lose, _) => self.ahead_of_redis = true,
            (Call::Join { visitors, .. }, Reply::Standings(standings)) => {
                for (&visitor, standing) in visitors.iter().zip(standings) {
                    if let Standing::Waiting { score, .. } | Standing::Called { turn: queue::Turn { score, .. }, .. } =
                        *standing
                    {
                        self.places.insert(visitor, score);
                        self.floor = self.floor.max(score);
                    }
                }
            }
            (Call::Take { .. }, Reply::Taken(Taken::Place(Shown { visitor, device, .. }))) => {
                self.devices.insert(*visitor, *device);
            }
            (Call::Claim { visitor, .. }, Reply::Standings(standings)) => {
                if let [Standing::Inside { expires_ms, .. }] = standings[..] {
                    self.passes_ms.insert(*visitor, expires_ms);
                }
            }
            (Call::Renew { visitors }, Reply::Renewed(until_ms)) => {
                let renewed = visitors.iter().zip(until_ms).filter_map(|(&(v, _), until)| Some((v, (*until)?)));
                self.passes_ms.extend(renewed);
            }
            _ => {}
        }
    }
}

/// The same call by the device before, if there was one.
fn by_old_device(call: Call) -> Call {
    let before = |device: Device| Device::new(device.get().saturating_sub(1)).expect("below one that is");
    match call {
        Call::Seen { visitors } => {
            let old = |shown: Shown| Shown { device: before(shown.device), ..shown };
            Call::Seen { visitors: visitors.into_iter().map(old).collect() }
        }
        Call::Claim { visitor, device } => Call::Claim { visitor, device: before(device) },
        Call::Depart { visitor, device } => Call::Depart { visitor, device: device.map(before) },
        Call::Offer { shown, code } => Call::Offer { shown: Shown { device: before(shown.device), ..shown }, code },
        other => other,
    }
}

fn higher(score: Score, by: u64) -> Score {
    Score::new(score.get() + by).expect("the suite stays within exact scores")
}
