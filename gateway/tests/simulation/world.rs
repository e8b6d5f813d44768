//! One sale from its first moment to its end, event by event: what happens when, and to whom answers go.

use std::collections::{BTreeMap, VecDeque};

use queue::configure::Expect;
use queue::{SaleState, Standing};
use queue_token::{Score, VisitorId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::fan::{Fan, Heard, Stage};
use super::link::{Call, Called, Reply, Server};
use super::node::{Gateway, GatewayFlaw};
use super::plan::{Fault, Habit, PEACE_US, Plan, S};
use super::rules::{Checked, PRESENCE_MS, Rule, Scores, Terms, Violation, ensure};
use crate::model::{Flaw, Model};

/// Between two ticks, and two looks, of a gateway.
const TICK_US: u64 = 300_000;
const LOOK_US: u64 = 500_000;
/// Longest that a gateway waits for the line.
const PATIENCE_US: u64 = 1_000_000;
/// Peace may last so long until everybody who asks is in.
const END_US: u64 = PEACE_US + 400 * S;
/// Notes kept for the story of a failure.
const NOTES: usize = 40;

/// Whom an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Tick,
    Look,
    Mending,
    Join { fan: usize },
    Poll { fan: usize, tab: usize },
    Claim { fan: usize, tab: usize },
    Leave { fan: usize },
}

/// A call under way.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) gateway: usize,
    pub(crate) life: u32,
    pub(crate) why: Why,
    /// The highest score that the gateway knew when it asked.
    pub(crate) floor: u64,
}

/// When and where a server did what it was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) true_us: u64,
    pub(crate) source: (usize, u32),
}

/// Something that is due.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Acts { fan: usize, tab: usize },
    Leaves { fan: usize },
    Tick { gateway: usize },
    Look { gateway: usize },
    Arrives { ticket: u64, server: usize, call: Call, is_answered: bool },
    Answered { ticket: u64, reply: Reply, served: Served },
    GivesUp { ticket: u64 },
    Fault(Fault),
    Starts { gateway: usize },
    Reaches { gateway: usize },
    Talks { gateway: usize, server: usize },
    Speaks,
    Resumes,
    Peace,
}

/// What is put in to be found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flaws {
    pub(crate) line: Option<Flaw>,
    pub(crate) gateway: Option<GatewayFlaw>,
}

/// The sale at a moment.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) dice: StdRng,
    pub(crate) now_us: u64,
    pub(crate) fans: Vec<Fan>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) servers: Vec<Server>,
    pub(crate) main: usize,
    pub(crate) scores: Scores,
    /// When somebody last came back into the line ahead of others.
    pub(crate) cause_us: u64,
    pub(crate) terms: Vec<Terms>,
    pub(crate) memory: Option<Server>,
    pub(crate) is_silent: bool,
    events: BTreeMap<(u64, u64), Event>,
    numbered: u64,
    requests: BTreeMap<u64, Request>,
    by_visitor: BTreeMap<VisitorId, usize>,
    tells: bool,
    notes: VecDeque<String>,
}

/// A promise broken, with the last that happened.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) violation: Violation,
    pub(crate) at_us: u64,
    pub(crate) notes: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, flaws: Flaws, tells: bool) -> Self {
        let plan = Plan::of(seed);
        let mut server = Server::new(flaws.line.map_or_else(Model::default, Model::with));
        let opens_at_us = plan.settings.opens_at.as_deref().and_then(gateway::line::view::parse_time_us);
        let settings = Box::new(plan.settings.clone());
        server.serve(&Call::Configure { settings, opens_at_us, expect: Expect::Absent }, 0);
        let fan = |(number, guest): (usize, &super::plan::Guest)| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
            Fan::new(VisitorId::from_bytes(id), guest.tabs)
        };
        let fans: Vec<Fan> = plan.guests.iter().enumerate().map(fan).collect();
        let by_visitor = fans.iter().enumerate().map(|(number, fan)| (fan.visitor, number)).collect();
        let mut world = Self {
            dice: StdRng::seed_from_u64(seed ^ 0x5eed),
            now_us: 0,
            gateways: plan.clocks_us.iter().map(|us| Gateway::new(*us, flaws.gateway)).collect(),
            servers: vec![server],
            main: 0,
            scores: Scores::default(),
            cause_us: 0,
            terms: vec![Terms::default()],
            memory: None,
            is_silent: false,
            events: BTreeMap::new(),
            numbered: 0,
            requests: BTreeMap::new(),
            by_visitor,
            tells,
            notes: VecDeque::new(),
            fans,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for gateway in 0..self.gateways.len() {
            let first_us = self.dice.random_range(0..LOOK_US);
            self.at(first_us / 2, Event::Look { gateway });
            self.at(first_us, Event::Tick { gateway });
        }
        for (fan, guest) in self.plan.guests.clone().into_iter().enumerate() {
            self.at(S + guest.comes_us, Event::Acts { fan, tab: 0 });
            if let Habit::Leaves { at_us } = guest.habit {
                self.at(S + at_us, Event::Leaves { fan });
            }
        }
        for (at_us, fault) in self.plan.faults.clone() {
            self.at(at_us, Event::Fault(fault));
        }
        self.at(PEACE_US, Event::Peace);
    }

    /// Plays to the end.
    pub(crate) fn play(mut self) -> Result<u64, Failure> {
        let last_us = self.plan.faults.last().map_or(0, |fault| fault.0);
        while let Some(((at_us, _), event)) = self.events.pop_first() {
            self.now_us = at_us;
            let looks = matches!(event, Event::Look { gateway: 0 });
            if let Err(violation) = self.happens(event) {
                return Err(Failure { violation, at_us, notes: self.notes.into() });
            }
            if looks && at_us > last_us && self.all_are_in() {
                break;
            }
        }
        Ok(self.now_us)
    }

    fn happens(&mut self, event: Event) -> Checked {
        match event {
            Event::Acts { fan, tab } => self.acts(fan, tab)?,
            Event::Leaves { fan } => self.leaves(fan),
            Event::Tick { gateway } => self.round(gateway, TICK_US, Event::Tick { gateway }, (Call::Admit, Why::Tick)),
            Event::Look { gateway } => {
                self.round(gateway, LOOK_US, Event::Look { gateway }, (Call::Snapshot, Why::Look));
            }
            Event::Arrives { ticket, server, call, is_answered } => {
                let (reply, served) = self.serves(server, &call)?;
                let whom = self.whom(&call);
                self.note(|| format!("server {server} {}{whom}: {}", call.word(), told(&reply)));
                if is_answered {
                    let at_us = self.now_us + self.delay_us();
                    self.at(at_us, Event::Answered { ticket, reply, served });
                }
            }
            Event::Answered { ticket, reply, served } => {
                if let Some(request) = self.requests.remove(&ticket) {
                    self.answered(&request, Some((reply, served)))?;
                }
            }
            Event::GivesUp { ticket } => {
                if let Some(request) = self.requests.remove(&ticket) {
                    self.answered(&request, None)?;
                }
            }
            Event::Fault(fault) => {
                self.note(|| format!("FAULT {fault:?}"));
                self.breaks(fault);
            }
            Event::Starts { gateway } => self.gateways[gateway].is_running = true,
            Event::Reaches { gateway } => self.gateways[gateway].link_works = true,
            Event::Talks { gateway, server } => self.gateways[gateway].route = server,
            Event::Speaks => self.is_silent = false,
            Event::Resumes => {
                if !self.configure(|settings| settings.state = SaleState::Open) {
                    self.at(self.now_us + S, Event::Resumes);
                }
            }
            Event::Peace => {
                let is_set = self.configure(|settings| {
                    (settings.state, settings.rate_per_min, settings.max_inside) = (SaleState::Open, 1200.0, 1000);
                });
                if !is_set {
                    self.at(self.now_us + S, Event::Peace);
                }
            }
        }
        ensure(self.now_us < END_US, Rule::NobodyLost, || format!("never called: {:?}", self.who_is_not_in()))
    }

    pub(crate) fn at_fan(&mut self, at_us: u64, fan: usize, tab: usize) {
        self.at(at_us, Event::Acts { fan, tab });
    }

    pub(crate) fn at_leave(&mut self, at_us: u64, fan: usize) {
        self.at(at_us, Event::Leaves { fan });
    }

    pub(crate) fn at(&mut self, at_us: u64, event: Event) {
        self.numbered += 1;
        self.events.insert((at_us, self.numbered), event);
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.tells {
            if self.notes.len() == NOTES {
                self.notes.pop_front();
            }
            let text = what();
            if !text.contains("snapshot") {
                self.notes.push_back(format!("{:>10.3} s  {text}", self.now_us as f64 / 1e6));
            }
        }
    }

    /// The fan that a call speaks of.
    fn whom(&self, call: &Call) -> String {
        let (Call::Join { visitor, .. }
        | Call::Seen { visitor, .. }
        | Call::Claim { visitor }
        | Call::Depart { visitor }) = call
        else {
            return String::new();
        };
        format!(" of fan {}", self.by_visitor[visitor])
    }

    fn delay_us(&mut self) -> u64 {
        // Mostly quick, sometimes as slow as this link can be.
        let slowest = if self.now_us > PEACE_US { 500 } else { self.plan.links.slowest_us };
        let most = if self.dice.random_bool(0.1) { slowest } else { slowest.min(2_000) };
        self.dice.random_range(100..=most.max(101))
    }

    /// A gateway asks the line.
    pub(crate) fn asks(&mut self, gateway: usize, call: Call, why: Why) {
        self.numbered += 1;
        let ticket = self.numbered;
        let from = &self.gateways[gateway];
        let (server, reaches) = (from.route, from.link_works && !self.is_silent);
        let floor = from.known_floor();
        self.requests.insert(ticket, Request { gateway, life: from.life, why, floor });
        let lost = if self.now_us > PEACE_US { 0.0 } else { self.plan.links.lost };
        if reaches && !self.dice.random_bool(lost) {
            let is_answered = !self.dice.random_bool(lost);
            let at_us = self.now_us + self.delay_us();
            self.at(at_us, Event::Arrives { ticket, server, call, is_answered });
        }
        self.at(self.now_us + PATIENCE_US, Event::GivesUp { ticket });
    }

    fn round(&mut self, gateway: usize, every_us: u64, again: Event, (call, why): (Call, Why)) {
        if self.gateways[gateway].is_running {
            self.asks(gateway, call, why);
        }
        let next_us = self.now_us + every_us + self.dice.random_range(0..every_us / 10);
        self.at(next_us, again);
    }

    /// A server does what it was asked, and is held to the rules.
    pub(crate) fn serves(&mut self, index: usize, call: &Call) -> Result<(Reply, Served), Violation> {
        let now_us = self.now_us;
        let before = self.returns(index, call);
        let (server, terms) = (&mut self.servers[index], &mut self.terms[index]);
        terms.pass(server, now_us);
        let noticed = server.is_another;
        let (reply, called) = server.serve(call, now_us);
        if noticed && !server.is_another || matches!(call, Call::Configure { .. }) {
            terms.notice(now_us);
        }
        if !called.is_empty() {
            terms.call(called.len(), server, now_us)?;
        }
        let served = Served { true_us: now_us, source: (index, server.losses) };
        self.are_called(index, &called)?;
        self.is_heard(index, call, &reply, before)?;
        Ok((reply, served))
    }

    /// Whether this call may bring somebody back into the line, ahead of others.
    fn returns(&self, index: usize, call: &Call) -> bool {
        let Call::Seen { visitor, score } = call else { return false };
        let heard = self.by_visitor.get(visitor).and_then(|fan| self.fans[*fan].heard);
        let server = &self.servers[index];
        let lately = |heard: Heard| {
            heard.score <= score.get()
                && (heard.server, heard.losses) == (index, server.losses)
                && self.now_us < heard.true_us + 9 * S
        };
        if heard.is_some_and(lately) && !self.plan.steps_clock {
            return false;
        }
        // A place signed alone is earlier than the spot that a late join took: then the visitor moves up to it.
        let waits = |spot: &(VisitorId, crate::model::Spot)| {
            spot.0 == *visitor && matches!(spot.1, crate::model::Spot::Waiting { score: at } if at <= score.get())
        };
        !server.model.spots().iter().any(waits)
    }

    /// Notes that a server has heard of a fan.
    fn is_heard(&mut self, index: usize, call: &Call, reply: &Reply, returns: bool) -> Checked {
        if let (Call::Depart { visitor }, Reply::Standing(before)) = (call, reply)
            && *before != Standing::Absent
        {
            let source = (index, self.servers[index].losses);
            let fan = &mut self.fans[self.by_visitor[visitor]];
            (fan.heard, fan.left) = (None, Some(source));
        }
        // A claim whose answer was lost still let the visitor in; a pass that sleeps through its life is used up.
        if let (Call::Claim { visitor }, Reply::Standing(Standing::Inside { .. })) = (call, reply) {
            self.fans[self.by_visitor[visitor]].was_inside = true;
        }
        let (Call::Join { visitor, .. } | Call::Seen { visitor, .. }, Reply::Standing(standing)) = (call, reply) else {
            return Ok(());
        };
        let Standing::Waiting { score, ahead } = standing else { return Ok(()) };
        if returns {
            self.cause_us = self.now_us;
        }
        let server = &self.servers[index];
        // Whoever joins behind the horizon was not asked yet, and counts as silent until it asks.
        if matches!(call, Call::Join { .. }) && *ahead >= 100 {
            return Ok(());
        }
        let at_ms = server.now_us(self.now_us) / 1000;
        let (losses, score) = (server.losses, score.get());
        if let Some(fan) = self.by_visitor.get(visitor) {
            let number = *fan;
            let fan = &mut self.fans[number];
            // A place signed alone may be earlier than the spot that a late join took; the poll after next mends it.
            let kept = fan.place.is_none_or(|place| score <= place.get() || self.scores.is_alone(place.get()));
            ensure(kept || matches!(call, Call::Join { .. }), Rule::Order, || {
                format!("fan {number} with {:?} was put back at {score}", fan.place)
            })?;
            if fan.heard.is_some_and(|heard| heard.score != score) {
                self.cause_us = self.now_us;
            }
            fan.called.retain(|source| *source != (index, losses));
            fan.heard = Some(Heard { server: index, losses, at_ms, true_us: self.now_us, score });
        }
        Ok(())
    }

    /// A server has called these, in this order.
    fn are_called(&mut self, index: usize, called: &Called) -> Checked {
        let Some(&(_, last)) = called.last() else { return Ok(()) };
        for pair in called.windows(2) {
            ensure(pair[0].1 < pair[1].1, Rule::Order, || format!("called in this order: {pair:?}"))?;
        }
        let source = (index, self.servers[index].losses);
        let now_ms = self.servers[index].now_us(self.now_us) / 1000;
        self.note(|| format!("server {index} called {:?}", called.iter().map(|call| call.1).collect::<Vec<u64>>()));
        for (visitor, score) in called {
            let number = self.by_visitor[visitor];
            let fan = &mut self.fans[number];
            let heard = fan.heard.is_none_or(|heard| self.now_us <= heard.true_us + 10_100_000);
            ensure(heard || self.plan.steps_clock, Rule::Presence, || {
                format!("fan {number} with {score} was called after {:?}", fan.heard)
            })?;
            ensure(fan.left != Some(source), Rule::Presence, || format!("fan {number} had left and was called"))?;
            fan.called.push(source);
        }
        for (number, fan) in self.fans.iter().enumerate() {
            if fan.stage != Stage::Waiting || fan.called.contains(&source) || fan.left.is_some() {
                continue;
            }
            // Seen within ten seconds, both truly and by a clock that may have stepped.
            let is_present = |heard: &Heard| {
                let here = (heard.server, heard.losses) == source;
                here && now_ms <= heard.at_ms + PRESENCE_MS && self.now_us <= heard.true_us + PRESENCE_MS * 1000
            };
            let present = fan.heard.filter(is_present);
            if let Some(heard) = present {
                ensure(heard.score > last, Rule::Order, || {
                    format!("fan {number} with {} was present and overtaken by {last}", heard.score)
                })?;
            }
            let obeys = self.plan.is_gentle
                && !matches!(self.plan.guests[number].habit, Habit::Ghost | Habit::Leaves { .. })
                && fan.obeys(self.now_us, S);
            if let Some(place) = fan.place.filter(|_| obeys) {
                ensure(place.get() > last, Rule::Order, || {
                    format!(
                        "fan {number} with {place} did as told and was overtaken by {last}: {:?}, {:?}",
                        fan.tabs, fan.heard
                    )
                })?;
            }
        }
        Ok(())
    }

    fn who_is_not_in(&self) -> Vec<usize> {
        let waits = |(number, fan): (usize, &Fan)| {
            let asks = self.plan.goes_on_asking(number) && !matches!(fan.stage, Stage::Inside | Stage::Gone);
            asks.then_some(number)
        };
        self.fans.iter().enumerate().filter_map(waits).collect()
    }

    fn all_are_in(&self) -> bool {
        self.who_is_not_in().is_empty()
    }

    /// Whether the answer comes back to the gateway that asked.
    pub(crate) fn is_same_life(&self, request: &Request) -> bool {
        let gateway = &self.gateways[request.gateway];
        gateway.is_running && gateway.life == request.life
    }

    /// A gateway that runs, if there is one.
    pub(crate) fn some_gateway(&mut self) -> Option<usize> {
        let running: Vec<usize> = (0..self.gateways.len()).filter(|g| self.gateways[*g].is_running).collect();
        (!running.is_empty()).then(|| running[self.dice.random_range(0..running.len())])
    }

    /// The place that a gateway gives, alone or with the line's score.
    pub(crate) fn signs(&mut self, fan: usize, score: Score, server: Option<usize>, floor: u64) -> Checked {
        let unique = self.scores.sign(score.get(), server, floor)?;
        if server.is_none() {
            self.cause_us = self.now_us;
        }
        let fan = &mut self.fans[fan];
        (fan.place, fan.placed_us, fan.stage) = (Some(score), self.now_us, Stage::Waiting);
        if !unique {
            // The model cannot hold two visitors with one score, as Redis can: this fan gives up.
            fan.stage = Stage::Gone;
        }
        Ok(())
    }
}

fn told(reply: &Reply) -> String {
    match reply {
        Reply::Standing(Standing::Waiting { score, ahead }) => format!("waiting with {score} behind {ahead}"),
        Reply::Standing(Standing::Called { turn, .. }) => format!("called with {}", turn.score),
        Reply::Standing(Standing::Inside { .. }) => "inside".to_owned(),
        Reply::Standing(standing) => format!("{standing:?}"),
        Reply::Snapshot(_) | Reply::Done => "done".to_owned(),
    }
}
