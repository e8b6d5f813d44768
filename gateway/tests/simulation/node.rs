//! A gateway of the simulation: the real `View`, floor and decisions, with answers that may never come.
//!
//! It does what `gateway/src/line` and `gateway/src/room` do around the pure pieces: notes whether the line answers, gives
//! places alone while it does not, brings back a sale that Redis has lost and the passes that it has seen.

use gateway::admission::{Facts, PlaceFact, Step, Verdict, first_step, verdict};
use gateway::line::rooms::restored_settings;
use gateway::line::view::{UNHEARD_POLL_MAX_S, View, parse_time_us};
use queue::Standing;
use queue::configure::Expect;
use queue::snapshot::Snapshot;
use queue_token::{Score, VisitorId};

use super::link::{Call, START_US};
use super::world::Served;

/// A defect of a gateway, put in on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatewayFlaw {
    /// Joins and places given alone ignore what was signed and seen before.
    IgnoresFloor,
    /// Polls near the front are not passed on.
    KeepsPresence,
    /// A visitor is put back with the time of its poll instead of its own score.
    IgnoresPlace,
    /// A sale that Redis lost stays lost.
    NeverBringsBack,
    /// A sale that Redis lost is made anew, as if nothing had been.
    BringsBackAnew,
    /// Positions are told from a line that is not whole.
    TellsHalfLines,
    /// Everybody is told to ask once a minute.
    CallsNobodyNear,
    /// Everybody's poll asks the line.
    AsksForEverybody,
    /// A lost standing ends the place.
    EndsLostPlaces,
}

impl GatewayFlaw {
    pub(crate) const ALL: [Self; 9] = [
        Self::IgnoresFloor,
        Self::KeepsPresence,
        Self::IgnoresPlace,
        Self::NeverBringsBack,
        Self::BringsBackAnew,
        Self::TellsHalfLines,
        Self::CallsNobodyNear,
        Self::AsksForEverybody,
        Self::EndsLostPlaces,
    ];
}

/// One gateway.
pub(crate) struct Gateway {
    /// Which server it talks to.
    pub(crate) route: usize,
    /// How far its clock is off.
    pub(crate) offset_us: i64,
    /// Another life after each restart: answers to an earlier one are lost.
    pub(crate) life: u32,
    pub(crate) is_running: bool,
    pub(crate) link_works: bool,
    pub(crate) line_up: bool,
    pub(crate) view: Option<View>,
    /// When the view was read at the server, in true time.
    pub(crate) view_us: u64,
    /// The server it was read at, and how often that had lost something.
    pub(crate) view_source: (usize, u32),
    floor: u64,
    passes: Vec<(VisitorId, u64)>,
    flaw: Option<GatewayFlaw>,
}

/// What a poll or join comes to before the line is asked.
#[derive(Debug, Clone)]
pub(crate) enum Move {
    Ask(Call),
    Show,
    Alone,
    /// Not ready, or the sale takes nobody now.
    Later,
}

impl Gateway {
    pub(crate) fn new(offset_us: i64, flaw: Option<GatewayFlaw>) -> Self {
        Self {
            route: 0,
            offset_us,
            life: 0,
            is_running: true,
            link_works: true,
            line_up: true,
            view: None,
            view_us: 0,
            view_source: (0, 0),
            floor: 0,
            passes: Vec::new(),
            flaw,
        }
    }

    pub(crate) fn now_us(&self, true_us: u64) -> u64 {
        (START_US + true_us).saturating_add_signed(self.offset_us)
    }

    /// Stops; whatever it knew is gone.
    pub(crate) fn stop(&mut self) {
        let next = Self { life: self.life + 1, is_running: false, ..Self::new(self.offset_us, self.flaw) };
        *self = Self { route: self.route, link_works: self.link_works, ..next };
    }

    pub(crate) fn floor(&self) -> Score {
        let floor = if self.flaw == Some(GatewayFlaw::IgnoresFloor) { 0 } else { self.floor };
        Score::new(floor).expect("scores of a simulation are exact")
    }

    /// The highest score that it has signed or seen.
    pub(crate) fn known_floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn raise_floor(&mut self, score: Score) {
        self.floor = self.floor.max(score.get());
    }

    /// A score by its own clock.
    pub(crate) fn score_alone(&mut self, true_us: u64) -> Score {
        let score = self.now_us(true_us).max(self.floor().get() + 1);
        self.floor = self.floor.max(score);
        Score::new(score).expect("scores of a simulation are exact")
    }

    /// A visitor without a place comes.
    pub(crate) fn on_join(&self, visitor: VisitorId, true_us: u64) -> Move {
        let Some(view) = &self.view else { return Move::Later };
        match first_step(&self.facts(view, None, true_us)) {
            Step::Join => Move::Ask(Call::Join { visitor, floor: self.floor() }),
            Step::JoinAlone => Move::Alone,
            _ => Move::Later,
        }
    }

    /// A visitor with a place asks.
    pub(crate) fn on_poll(&self, visitor: VisitorId, score: Score, true_us: u64) -> Move {
        let Some(view) = &self.view else { return Move::Later };
        let concerns = view.concerns_the_line(score) || self.flaw == Some(GatewayFlaw::AsksForEverybody);
        let place = if concerns { PlaceFact::Near } else { PlaceFact::Far };
        let score = match self.flaw {
            Some(GatewayFlaw::IgnoresPlace) => Score::new(self.now_us(true_us)).expect("an exact score"),
            _ => score,
        };
        match first_step(&self.facts(view, Some(place), true_us)) {
            Step::AskLine if self.flaw == Some(GatewayFlaw::KeepsPresence) => Move::Show,
            Step::AskLine => Move::Ask(Call::Seen { visitor, score }),
            _ => Move::Show,
        }
    }

    fn facts(&self, view: &View, place: Option<PlaceFact>, true_us: u64) -> Facts {
        Facts {
            pass: false,
            place,
            state: view.state(self.now_us(true_us)),
            line_up: self.line_up,
            outage: view.snapshot.settings.outage,
        }
    }

    /// What a standing means here.
    pub(crate) fn judge(&self, standing: &Standing) -> Verdict {
        match standing {
            Standing::Unknown | Standing::Absent if self.flaw == Some(GatewayFlaw::EndsLostPlaces) => Verdict::Over,
            _ => verdict(standing),
        }
    }

    /// The position to show, and in how many seconds to ask again.
    pub(crate) fn tell(&self, score: Score, ahead: Option<u64>, true_us: u64, jitter: f64) -> Option<(u64, u64)> {
        let view = self.view.as_ref()?;
        let ahead = ahead.filter(|_| !view.is_regrouping() || self.flaw == Some(GatewayFlaw::TellsHalfLines));
        let position = ahead.map_or_else(|| view.position(score).0, |ahead| ahead + 1);
        let near = view.is_near(score) && self.flaw != Some(GatewayFlaw::CallsNobodyNear);
        let poll_s = view.poll_s(position, near, self.now_us(true_us), jitter);
        let poll_s = if near && !self.line_up { poll_s.min(UNHEARD_POLL_MAX_S) } else { poll_s };
        Some((position, if self.flaw == Some(GatewayFlaw::CallsNobodyNear) { 60 } else { poll_s }))
    }

    /// A snapshot came; answers what the gateway wants of the line next.
    pub(crate) fn on_snapshot(&mut self, read: Option<Snapshot>, served: Served, true_us: u64) -> Option<Call> {
        let Some(snapshot) = read else { return self.bring_back() };
        let received_ms = self.now_us(true_us) / 1000;
        if self.view.as_ref().is_some_and(|view| view.overtook(&snapshot, received_ms)) {
            return None;
        }
        if let Some(expect) = self.view.as_ref().and_then(|view| restored_settings(&view.snapshot, &snapshot)) {
            return self.put_back(expect);
        }
        let other = self.view.as_ref().is_some_and(|view| view.snapshot.generation != snapshot.generation);
        self.raise_floor(snapshot.last_score);
        self.passes.retain(|(_, expires_ms)| *expires_ms > snapshot.at_us / 1000);
        self.view = Some(View::new(snapshot, self.view.as_ref(), received_ms));
        (self.view_us, self.view_source) = (served.true_us, served.source);
        (other && !self.passes.is_empty()).then(|| Call::Renew { passes: self.passes.clone() })
    }

    fn bring_back(&self) -> Option<Call> {
        let known = &self.view.as_ref()?.snapshot;
        let expect = match self.flaw {
            Some(GatewayFlaw::NeverBringsBack) => return None,
            Some(GatewayFlaw::BringsBackAnew) => Expect::Absent,
            _ => Expect::Lost(known.version),
        };
        self.put_back(expect)
    }

    fn put_back(&self, expect: Expect) -> Option<Call> {
        let known = &self.view.as_ref()?.snapshot;
        let opens_at_us = known.settings.opens_at.as_deref().and_then(parse_time_us);
        Some(Call::Configure { settings: Box::new(known.settings.clone()), opens_at_us, expect })
    }

    /// A pass that was issued here.
    pub(crate) fn note_pass(&mut self, visitor: VisitorId, expires_ms: u64) {
        self.passes.push((visitor, expires_ms));
    }
}
