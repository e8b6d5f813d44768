//! The Redis servers of a simulated sale, and what gateways ask of them. A server is the model that
//! `queue/tests/conformance.rs` holds to the real functions, with a clock of its own and the rule by which the functions
//! notice that another process holds the line.

use queue::configure::Expect;
use queue::snapshot::Snapshot;
use queue::{Settings, Standing};
use queue_token::{Score, VisitorId};

use crate::model::{Model, Spot};

/// The first moment of every simulation, in microseconds: 2027-01-15T08:00:00Z.
pub(crate) const START_US: u64 = 1_800_000_000_000_000;
/// A rank table younger than this is taken as it was published, as gateways do.
pub(crate) const SNAPSHOT_AGE_MS: u64 = 400;

/// What a gateway asks of the line.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Join { visitor: VisitorId, floor: Score },
    Seen { visitor: VisitorId, score: Score },
    Claim { visitor: VisitorId },
    Depart { visitor: VisitorId },
    Renew { passes: Vec<(VisitorId, u64)> },
    Admit,
    Snapshot,
    Configure { settings: Box<Settings>, opens_at_us: Option<u64>, expect: Expect },
}

impl Call {
    /// What it is called in a story.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Seen { .. } => "seen",
            Self::Claim { .. } => "claim",
            Self::Depart { .. } => "depart",
            Self::Renew { .. } => "renew",
            Self::Admit => "admit",
            Self::Snapshot => "snapshot",
            Self::Configure { .. } => "configure",
        }
    }
}

/// What the line answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Standing(Standing),
    Snapshot(Option<Box<Snapshot>>),
    Done,
}

/// Whose turn came in a call: visitor and score, in the order of calling.
pub(crate) type Called = Vec<(VisitorId, u64)>;

/// One server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) model: Model,
    /// How far its clock is off.
    pub(crate) offset_us: i64,
    /// Another process wrote here last, and nobody noticed yet.
    pub(crate) is_another: bool,
    /// How often it lost something: presence noted before counts no more.
    pub(crate) losses: u32,
    /// What is in force here.
    pub(crate) settings: Option<(Settings, u64)>,
}

impl Server {
    pub(crate) fn new(model: Model) -> Self {
        Self { model, offset_us: 0, is_another: false, losses: 0, settings: None }
    }

    /// Its clock at a moment.
    pub(crate) fn now_us(&self, true_us: u64) -> u64 {
        (START_US + true_us).saturating_add_signed(self.offset_us)
    }

    /// How many may be called per minute now, in thousandths; 0 while the sale is not open.
    pub(crate) fn rate_milli(&self, true_us: u64) -> u64 {
        use queue::SaleState::{Open, Scheduled};
        match &self.settings {
            Some((settings, _)) if settings.state == Open => settings.rate_milli(),
            Some((settings, opens_us)) if settings.state == Scheduled && self.now_us(true_us) >= *opens_us => {
                settings.rate_milli()
            }
            _ => 0,
        }
    }

    /// Does what was asked; answers also whose turn came.
    pub(crate) fn serve(&mut self, call: &Call, true_us: u64) -> (Reply, Called) {
        let now_us = self.now_us(true_us);
        let notices = matches!(call, Call::Admit | Call::Join { .. } | Call::Configure { .. });
        if notices && std::mem::take(&mut self.is_another) {
            self.model.become_another(now_us);
        }
        match call {
            Call::Join { visitor, floor } => {
                let standing = self.model.join(*floor, &[*visitor], now_us)[0];
                let called = match standing {
                    Standing::Called { turn, .. } if turn.called_us == now_us => vec![(*visitor, turn.score.get())],
                    _ => Vec::new(),
                };
                (Reply::Standing(standing), called)
            }
            Call::Admit => {
                let called = match self.model.admit(now_us) {
                    Some(tick) if tick.called > 0 => self.called_at(now_us, tick.called),
                    _ => Vec::new(),
                };
                (Reply::Done, called)
            }
            Call::Seen { visitor, score } => {
                (Reply::Standing(self.model.seen(&[(*visitor, *score)], now_us)[0]), Vec::new())
            }
            Call::Claim { visitor } => (Reply::Standing(self.model.claim(*visitor, now_us)), Vec::new()),
            Call::Depart { visitor } => (Reply::Standing(self.model.depart(*visitor, now_us)), Vec::new()),
            Call::Renew { passes } => {
                self.model.renew(passes, now_us);
                (Reply::Done, Vec::new())
            }
            Call::Snapshot => (Reply::Snapshot(self.model.snapshot(SNAPSHOT_AGE_MS, now_us).map(Box::new)), Vec::new()),
            Call::Configure { settings, opens_at_us, expect } => {
                if self.model.configure(settings, *opens_at_us, *expect, now_us).is_ok() {
                    self.settings = Some(((**settings).clone(), opens_at_us.unwrap_or(0)));
                }
                (Reply::Done, Vec::new())
            }
        }
    }

    /// The last so many turns, which all came at this moment.
    fn called_at(&self, now_us: u64, count: u64) -> Called {
        let turns = self.model.spots().into_iter().filter_map(|(visitor, spot)| match spot {
            Spot::Called { turn, .. } if turn.called_us == now_us => Some((turn.seq, visitor, turn.score.get())),
            _ => None,
        });
        let mut turns: Vec<_> = turns.collect();
        turns.sort_unstable_by_key(|turn| std::cmp::Reverse(turn.0));
        turns.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        turns.into_iter().rev().map(|(_, visitor, score)| (visitor, score)).collect()
    }

    /// Called and inside.
    pub(crate) fn occupied(&self) -> u64 {
        let busy = |spot: &Spot| matches!(spot, Spot::Called { .. } | Spot::Inside { .. });
        self.model.spots().iter().filter(|(_, spot)| busy(spot)).count() as u64
    }
}
