//! What can happen to a line. An [`Intent`] names visitors by number and leaves open what only the moment knows (the
//! score a place was signed with, the floor of the gateway), so that any part of a script can be played again. The
//! [`Gateway`] turns it into a [`Call`] and learns from the [`Reply`].

use std::collections::BTreeMap;

use queue::admit::Tick;
use queue::configure::Expect;
use queue::snapshot::Snapshot;
use queue::{Settings, Standing};
use queue_token::{Score, VisitorId};

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
    Join { visitors: Vec<VisitorId>, floor: Score },
    Admit,
    Seen { visitors: Vec<(VisitorId, Score)> },
    Claim { visitor: VisitorId },
    Renew { visitors: Vec<(VisitorId, u64)> },
    Depart { visitor: VisitorId },
    Snapshot { max_age_ms: u64 },
    Lose,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// The version, or the one that stood in the way.
    Configured(Result<u64, u64>),
    Standings(Vec<Standing>),
    Ticked(Option<Tick>),
    Renewed(Vec<Option<u64>>),
    Snapshot(Box<Option<Snapshot>>),
    Lost,
}

/// The id of a visitor: scattered, so that the order of ids says nothing about the order of arrival.
pub(crate) fn visitor_id(number: u32) -> VisitorId {
    let mixed = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    VisitorId::from_bytes(mixed.to_be_bytes())
}

/// What the gateways of a deployment know besides Redis: signed places and passes, and the highest score.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    places: BTreeMap<VisitorId, Score>,
    passes_ms: BTreeMap<VisitorId, u64>,
    floor: Score,
    /// Redis may not know every score that was signed: it lost them, or was never told.
    ahead_of_redis: bool,
}

impl Gateway {
    /// Fills in what the intent leaves open; also whether it goes to the sale under test (else to one unknown).
    pub(crate) fn resolve(&mut self, intent: &Intent, now_us: u64) -> (bool, Call) {
        let call = match intent {
            Intent::Elsewhere(inner) => return (false, self.resolve(inner, now_us).1),
            Intent::Configure { settings, opens_at_us, expect } => {
                Call::Configure { settings: settings.clone(), opens_at_us: *opens_at_us, expect: *expect }
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
                Call::Seen { visitors: visitors.iter().map(|&n| self.place_of(visitor_id(n), now_us)).collect() }
            }
            Intent::Claim { visitor } => Call::Claim { visitor: visitor_id(*visitor) },
            Intent::Renew { visitors } => {
                Call::Renew { visitors: visitors.iter().map(|&(n, shown)| self.pass_of(n, shown, now_us)).collect() }
            }
            Intent::Depart { visitor } => Call::Depart { visitor: visitor_id(*visitor) },
            Intent::Snapshot { max_age_ms } => Call::Snapshot { max_age_ms: *max_age_ms },
            Intent::Lose => Call::Lose,
        };
        (true, call)
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
            (Call::Claim { visitor }, Reply::Standings(standings)) => {
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

fn higher(score: Score, by: u64) -> Score {
    Score::new(score.get() + by).expect("the suite stays within exact scores")
}
