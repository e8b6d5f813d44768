//! What fans do, and what becomes of it: joining, asking, claiming, leaving, and every answer or lack of one.

use gateway::admission::Verdict;
use queue::{SaleState, Standing};
use queue_token::Score;
use rand::RngExt;

use super::fan::{Stage, Tab};
use super::link::{Call, Reply};
use super::node::Move;
use super::plan::{Habit, S};
use super::rules::{Checked, Rule, Shown, ensure, interval, position};
use super::world::{Request, Served, Why, World};

/// A line that lost something is whole again after this, and quiet for some more.
const WHOLE_US: u64 = 145 * S;

type Answer = Option<(Reply, Served)>;
/// A standing, and where and when it was so; `None` when no answer came.
type Stood = Option<(Standing, Served)>;

fn stood(answer: &Answer) -> Stood {
    match answer {
        Some((Reply::Standing(standing), served)) => Some((*standing, *served)),
        _ => None,
    }
}

impl World {
    /// A tab does what is due.
    pub(crate) fn acts(&mut self, fan: usize, tab: usize) -> Checked {
        let guest = self.plan.guests[fan];
        if let Habit::Sleeps { from_us, to_us } = guest.habit
            && (S + from_us..S + to_us).contains(&self.now_us)
        {
            self.fans[fan].tabs[tab].is_told = false;
            self.at_fan(S + to_us, fan, tab);
            return Ok(());
        }
        let is_ghost = guest.habit == Habit::Ghost && self.fans[fan].place.is_some();
        if is_ghost || matches!(self.fans[fan].stage, Stage::Inside | Stage::Gone) {
            return Ok(());
        }
        let Some(gateway) = self.some_gateway() else {
            self.tries_again(fan, tab);
            return Ok(());
        };
        let visitor = self.fans[fan].visitor;
        let Some(score) = self.fans[fan].place else {
            match self.gateways[gateway].on_join(visitor, self.now_us) {
                Move::Ask(call) => {
                    self.fans[fan].joins += 1;
                    self.asks(gateway, call, Why::Join { fan });
                }
                Move::Alone => self.joins_alone(gateway, fan)?,
                Move::Show | Move::Later => self.tries_again(fan, tab),
            }
            return Ok(());
        };
        match self.gateways[gateway].on_poll(visitor, score, self.now_us) {
            Move::Ask(call) => {
                self.must_be_near(gateway, fan, tab)?;
                self.asks(gateway, call, Why::Poll { fan, tab });
            }
            Move::Show => self.shows(gateway, fan, tab, None)?,
            Move::Alone | Move::Later => self.tries_again(fan, tab),
        }
        Ok(())
    }

    /// A poll that asks the line comes from near the front, or from a line that lost something.
    fn must_be_near(&self, gateway: usize, fan: usize, tab: usize) -> Checked {
        let (Some(view), Some(shown)) = (&self.gateways[gateway].view, self.fans[fan].tabs[tab].shown) else {
            return Ok(());
        };
        let reach = (view.snapshot.settings.rate_per_min * 1.5).ceil().max(100.0) as u64;
        let behind = view.position(self.fans[fan].place.unwrap_or_default()).0;
        let near = shown.position.min(behind) <= reach + 1 || view.is_regrouping();
        ensure(near, Rule::FarPolls, || format!("fan {fan} asked the line from position {behind}"))
    }

    /// The visitor tries to give its place or pass back.
    pub(crate) fn leaves(&mut self, fan: usize) {
        let left = self.fans[fan].left.is_some();
        if self.fans[fan].place.is_none() || left || self.fans[fan].stage == Stage::Gone {
            return;
        }
        match self.some_gateway() {
            Some(gateway) => {
                self.asks(gateway, Call::Depart { visitor: self.fans[fan].visitor }, Why::Leave { fan });
            }
            None => self.at_leave(self.now_us + 2 * S, fan),
        }
    }

    /// An answer, or the end of patience with it.
    pub(crate) fn answered(&mut self, request: &Request, answer: Answer) -> Checked {
        let gateway = request.gateway;
        let is_same = self.is_same_life(request);
        if is_same {
            self.gateways[gateway].line_up = answer.is_some();
        }
        match request.why {
            Why::Tick | Why::Mending => {}
            Why::Look if is_same => self.looked(gateway, answer),
            Why::Look => {}
            Why::Leave { fan } => self.left(fan, stood(&answer).filter(|_| is_same)),
            // The gateway died, and with it whatever it had to say.
            Why::Join { fan } if !is_same => self.tries_again(fan, 0),
            Why::Poll { fan, tab } | Why::Claim { fan, tab } if !is_same => self.tries_again(fan, tab),
            Why::Join { fan } => self.joined(request, fan, stood(&answer))?,
            Why::Poll { fan, tab } => self.polled(gateway, (fan, tab), stood(&answer))?,
            Why::Claim { fan, tab } => self.claimed(gateway, (fan, tab), stood(&answer))?,
        }
        Ok(())
    }

    fn looked(&mut self, gateway: usize, answer: Answer) {
        let Some((Reply::Snapshot(read), served)) = answer else { return };
        let wants = self.gateways[gateway].on_snapshot(read.map(|read| *read), served, self.now_us);
        if let Some(call) = wants {
            self.asks(gateway, call, Why::Mending);
        }
    }

    fn left(&mut self, fan: usize, answer: Stood) {
        let Some((before, _)) = answer else {
            self.at_leave(self.now_us + 2 * S, fan);
            return;
        };
        if before == Standing::Absent {
            self.at_leave(self.now_us + 2 * S, fan);
            return;
        }
        self.note(|| format!("fan {fan} left"));
        let inside = self.fans[fan].stage == Stage::Inside;
        if inside || self.fans[fan].tabs.len() == 1 {
            self.fans[fan].stage = Stage::Gone;
        }
    }

    fn joins_alone(&mut self, gateway: usize, fan: usize) -> Checked {
        let floor = self.gateways[gateway].known_floor();
        let score = self.gateways[gateway].score_alone(self.now_us);
        self.note(|| format!("gateway {gateway} gives fan {fan} {score} alone"));
        self.signs(fan, score, None, floor)?;
        self.has_place(gateway, fan, None)
    }

    fn joined(&mut self, request: &Request, fan: usize, answer: Stood) -> Checked {
        let gateway = request.gateway;
        let Some((standing, served)) = answer else { return self.joins_alone(gateway, fan) };
        let (score, is_called, ahead) = match standing {
            Standing::Waiting { score, ahead } => (score, false, Some((ahead, served))),
            Standing::Called { turn, .. } | Standing::Inside { turn, .. } => (turn.score, true, None),
            Standing::Away { score } => (score, false, None),
            Standing::Closed => {
                self.tries_again(fan, 0);
                return Ok(());
            }
            _ => return self.joins_alone(gateway, fan),
        };
        self.gateways[gateway].raise_floor(score);
        // A second try may be answered with the place that the first one took.
        let floor = if self.fans[fan].joins > 1 { 0 } else { request.floor };
        self.signs(fan, score, Some(served.source.0), floor)?;
        if is_called {
            let visitor = self.fans[fan].visitor;
            self.asks(gateway, Call::Claim { visitor }, Why::Claim { fan, tab: 0 });
            return Ok(());
        }
        self.has_place(gateway, fan, ahead)
    }

    /// The place is known: all tabs begin to ask.
    fn has_place(&mut self, gateway: usize, fan: usize, ahead: Option<(u64, Served)>) -> Checked {
        for tab in 1..self.fans[fan].tabs.len() {
            let at_us = self.now_us + self.dice.random_range(0..2 * S);
            self.at_fan(at_us, fan, tab);
        }
        self.shows(gateway, fan, 0, ahead)
    }

    fn polled(&mut self, gateway: usize, (fan, tab): (usize, usize), answer: Stood) -> Checked {
        let Some((standing, served)) = answer else { return self.shows(gateway, fan, tab, None) };
        match (self.gateways[gateway].judge(&standing), standing) {
            (Verdict::Claim | Verdict::Enter, _) => {
                let visitor = self.fans[fan].visitor;
                self.asks(gateway, Call::Claim { visitor }, Why::Claim { fan, tab });
                Ok(())
            }
            (Verdict::Over, _) => {
                let knows = self.fans[fan].was_inside || self.fans[fan].left.is_some();
                let leaves = matches!(self.plan.guests[fan].habit, Habit::Leaves { .. });
                self.fans[fan].stage = Stage::Gone;
                ensure(knows || leaves, Rule::NobodyLost, || format!("fan {fan} was told {standing:?}"))
            }
            (_, Standing::Waiting { ahead, .. }) => self.shows(gateway, fan, tab, Some((ahead, served))),
            _ => self.shows(gateway, fan, tab, None),
        }
    }

    fn claimed(&mut self, gateway: usize, (fan, tab): (usize, usize), answer: Stood) -> Checked {
        match answer {
            Some((Standing::Inside { expires_ms, .. }, _)) => {
                let visitor = self.fans[fan].visitor;
                self.gateways[gateway].note_pass(visitor, expires_ms);
                let guest = self.plan.guests[fan];
                if self.fans[fan].stage == Stage::Waiting {
                    self.note(|| format!("fan {fan} is inside"));
                    self.fans[fan].stage = Stage::Inside;
                    if guest.says_goodbye {
                        self.at_leave(self.now_us + guest.visit_us, fan);
                    }
                }
                self.fans[fan].was_inside = true;
                Ok(())
            }
            Some((Standing::Waiting { ahead, .. }, served)) => self.shows(gateway, fan, tab, Some((ahead, served))),
            _ => self.shows(gateway, fan, tab, None),
        }
    }

    /// The tab is told where it stands and when to ask again.
    fn shows(&mut self, gateway: usize, fan: usize, tab: usize, ahead: Option<(u64, Served)>) -> Checked {
        let (now_us, jitter) = (self.now_us, self.dice.random_range(-1.0..1.0));
        let score = self.fans[fan].place.unwrap_or(Score::MAX);
        let at = &self.gateways[gateway];
        let Some((place, poll_s)) = at.tell(score, ahead.map(|ahead| ahead.0), now_us, jitter) else {
            self.tries_again(fan, tab);
            return Ok(());
        };
        let Some(view) = &at.view else { return Ok(()) };
        let (true_at_us, source) = match ahead {
            Some((_, served)) => (served.true_us, served.source),
            None => (at.view_us.saturating_sub(500_000), at.view_source),
        };
        let is_open = view.state(at.now_us(now_us)) == SaleState::Open && !view.is_regrouping();
        let is_fresh = now_us < at.view_us + 2 * S && at.line_up;
        let since_loss_us = view.snapshot.at_us.saturating_sub(view.snapshot.generation);
        let is_quiet = view.snapshot.whole_at_us == 0 || since_loss_us > WHOLE_US;
        let shown = Shown { position: place, true_at_us, source };
        interval(place, poll_s, is_open && is_fresh && is_quiet)?;
        let cause_us = self.cause_us;
        // A join whose answer was lost: the line has the visitor earlier than the place that was then signed alone.
        let one_spot = self.fans[fan].heard.is_none_or(|heard| heard.score == score.get());
        let (before, heard) = (self.fans[fan].tabs[tab], self.fans[fan].heard);
        // A view from before the place was given cannot count who came in between.
        let is_known = true_at_us >= self.fans[fan].placed_us;
        let is_comparable = is_quiet && !view.is_regrouping() && one_spot && is_known;
        if is_comparable {
            position(before.shown, shown, cause_us).map_err(|mut violation| {
                violation.detail = format!("fan {fan}, heard {heard:?}: {}", violation.detail);
                violation
            })?;
        }
        let travel_us = self.dice.random_range(0..300_000);
        let frozen = view.is_regrouping().then_some((gateway, at.life, view.snapshot.generation, place));
        if let (Some(then), Some(now)) = (before.frozen, frozen) {
            // The same gateway tells from the same table until the line is whole.
            let same = (then.0, then.1, then.2) == (now.0, now.1, now.2);
            ensure(!same || now.3 <= then.3, Rule::Position, || format!("fan {fan}: {then:?} became {now:?}"))?;
        }
        let asks_us = now_us + poll_s * S + travel_us;
        let told = Tab { frozen, asks_us, shown: is_comparable.then_some(shown), is_told: true };
        self.fans[fan].tabs[tab] = told;
        self.at_fan(told.asks_us, fan, tab);
        Ok(())
    }

    /// Nobody answered, or nobody could: again in a moment.
    fn tries_again(&mut self, fan: usize, tab: usize) {
        self.fans[fan].tabs[tab].is_told = false;
        let at_us = self.now_us + self.dice.random_range(S..3 * S);
        self.at_fan(at_us, fan, tab);
    }
}
