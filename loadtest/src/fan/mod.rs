//! One fan as a state machine without I/O: time, answers and randomness come in, the next request
//! goes out. The engine and the tests drive the same code.
//!
//! A fan does one thing at a time: [`Fan::start`] and [`Fan::hear`] each say what comes next, a
//! request with the moment it is due, or the end. All its draws come from a generator of its own,
//! seeded by the run's seed and its number, so what a fan is like does not depend on how fast the
//! system answers.
//!
//! | file | what |
//! |---|---|
//! | `call.rs` | requests and answers |
//! | `outcome.rs` | how visits end, what is noted on the way |
//! | `fate.rs` | what a fan is like, drawn at birth |
//! | `reading.rs` | what an answer means for the operation |
//! | `line.rs` | joining, waiting, leaving |
//! | `shop.rs` | looking, choosing, holding |
//! | `pay.rs` | booking and payment |

mod call;
mod fate;
mod line;
mod outcome;
mod pay;
mod reading;
mod shop;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::Method;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

pub use call::{Answer, Auth, Call, Heard, Lost, Next, Step};
pub use fate::{Fate, Keep};
pub use outcome::{Note, Outcome};
use pay::Order;
pub use reading::{Class, Reading};
use shop::{Choice, Look};

use crate::history::{Kind, Record};
use crate::plan::Plan;
use crate::scenario::{Scenario, Span};

/// What all fans of a run share and none changes.
#[derive(Debug)]
pub struct World {
    /// The scenario.
    pub scenario: Scenario,
    /// The seats of the event; empty when it has none.
    pub plan: Plan,
    /// How many targets there are.
    pub targets: usize,
    /// Makes the idempotency keys of this run unlike those of any other.
    pub run_tag: String,
}

/// Where a fan stands. Each variant owns what is true only there.
#[derive(Debug)]
enum Stage {
    New,
    Joining,
    Waiting,
    /// Leaving the line or the slot inside; then the visit ends so.
    Leaving(Outcome),
    Looking(Look),
    Holding(Choice),
    /// Giving the hold back; then the visit ends so.
    Releasing(Outcome),
    Booking(Order),
    Paying(Order),
    /// Payment is pending; looking at the booking until it is not.
    Pending(Order),
    /// Confirmed; looking at the tickets.
    Collecting(Order),
    Done,
}

/// One fan.
#[derive(Debug)]
pub struct Fan {
    number: u64,
    world: Arc<World>,
    fate: Fate,
    rng: Xoshiro256PlusPlus,
    stage: Stage,
    /// The request on its way, kept for another attempt.
    asked: Option<Call>,
    /// Which target is asked next.
    target: usize,
    /// Idempotency keys used.
    keys: u32,
    visitor: Option<String>,
    place: Option<String>,
    pass: Option<String>,
    buyer: Option<String>,
    joined_us: Option<u64>,
    position: Option<u64>,
    /// Holds asked for, over all choices.
    choices: u32,
}

impl Fan {
    /// A fan of this run.
    pub fn new(number: u64, world: Arc<World>) -> Self {
        let seed = world.scenario.seed ^ number.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let fate = Fate::draw(&world.scenario.behaviour, &mut rng);
        let target = (number % world.targets.max(1) as u64) as usize;
        Self {
            number,
            world,
            fate,
            rng,
            stage: Stage::New,
            asked: None,
            target,
            keys: 0,
            visitor: None,
            place: None,
            pass: None,
            buyer: None,
            joined_us: None,
            position: None,
            choices: 0,
        }
    }

    /// The fan's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What the fan is like.
    pub fn fate(&self) -> &Fate {
        &self.fate
    }

    /// The fan arrives.
    pub fn start(&mut self, now_us: u64) -> Next {
        let next = match self.world.scenario.target.sale.clone() {
            Some(sale) => self.join(&sale, now_us),
            None => self.look_around(now_us),
        };
        self.remember(next)
    }

    /// The answer to what the fan asked for last has come, or will not come.
    pub fn hear(&mut self, now_us: u64, heard: &Heard) -> Step {
        let asked = self.asked.take().expect("an engine only reports on a call that it was given");
        let reading = Reading::of(asked.kind, heard);
        let mut step = Step::of(&reading, self.seen_by(&asked));
        if matches!(reading.class, Class::Again { .. }) && heard.is_trouble() {
            // Another gateway may be well.
            self.target = (self.target + 1) % self.world.targets.max(1);
        }
        if let Heard::Answer(Answer { pass: Some(pass), .. }) = heard {
            // The first pass, or a longer one in place of one that is half over.
            self.pass = Some(pass.clone());
        }
        step.next = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Joining => self.on_join(now_us, &asked, &reading, heard, &mut step),
            Stage::Waiting => self.on_place(now_us, &asked, &reading, heard, &mut step),
            Stage::Leaving(outcome) => self.on_left(now_us, &asked, &reading, outcome),
            Stage::Looking(look) => self.on_look(now_us, &asked, &reading, heard, look),
            Stage::Holding(choice) => self.on_hold(now_us, &asked, &reading, heard, choice, &mut step),
            Stage::Releasing(outcome) => self.on_released(now_us, &asked, &reading, outcome),
            Stage::Booking(order) => self.on_booking(now_us, &asked, &reading, heard, order, &mut step),
            Stage::Paying(order) => self.on_payment(now_us, &asked, &reading, heard, order, &mut step),
            Stage::Pending(order) => self.on_pending(now_us, &asked, &reading, heard, order, &mut step),
            Stage::Collecting(order) => self.on_tickets(now_us, &asked, &reading, heard, &order, &mut step),
            Stage::New | Stage::Done => Next::End(Outcome::Failed),
        };
        step.seen.visitor.clone_from(&self.visitor);
        let next = std::mem::replace(&mut step.next, Next::End(Outcome::Failed));
        step.next = self.remember(next);
        step
    }

    /// The run is closing: the outcome when the fan goes now, `None` when it is in mid-purchase and
    /// may finish.
    pub fn close(&self) -> Option<Outcome> {
        match self.stage {
            Stage::New | Stage::Joining | Stage::Waiting => Some(Outcome::StillWaiting),
            Stage::Looking(_) | Stage::Holding(_) => Some(Outcome::StillShopping),
            _ => None,
        }
    }

    fn remember(&mut self, next: Next) -> Next {
        if let Next::Call(call) = &next {
            self.asked = Some((**call).clone());
        }
        next
    }

    /// A request that is due at `at_us`.
    fn call(&self, kind: Kind, method: Method, path: String, at_us: u64) -> Call {
        let auth = match kind {
            Kind::Join => None,
            Kind::Poll | Kind::Leave => self.place.clone().map(Auth::Place),
            _ => self.pass.clone().map(Auth::Pass).or_else(|| self.buyer.clone().map(Auth::Buyer)),
        };
        Call { kind, at_us, method, path, html: false, auth, body: None, key: None, attempt: 0, target: self.target }
    }

    /// A write: the same key goes with every attempt of it.
    fn write(&mut self, kind: Kind, path: String, body: &serde_json::Value, at_us: u64) -> Call {
        self.keys += 1;
        let key = format!("{}-{}-{}", self.world.run_tag, self.number, self.keys);
        Call { body: Some(body.to_string()), key: Some(key), ..self.call(kind, Method::POST, path, at_us) }
    }

    /// Another attempt of the same request after a pause, `None` when there were enough.
    fn again(&mut self, now_us: u64, asked: &Call, reading: &Reading) -> Option<Next> {
        let Class::Again { after_s } = reading.class else { return None };
        if asked.attempt >= self.world.scenario.limits.retries {
            return None;
        }
        let pause_s = self.backoff_s(asked.attempt, after_s);
        let call =
            Call { attempt: asked.attempt + 1, at_us: now_us + seconds(pause_s), target: self.target, ..asked.clone() };
        Some(Next::call(call))
    }

    /// Doubling pauses with jitter, at least what the server asked for.
    fn backoff_s(&mut self, attempt: u32, after_s: Option<f64>) -> f64 {
        let limit_s = self.world.scenario.limits.backoff_s;
        let doubled_s = (0.2 * f64::from(1u32 << attempt.min(16))).min(limit_s);
        let jittered_s = doubled_s * self.rng.random_range(0.5..1.5);
        jittered_s.max(after_s.unwrap_or(0.0).min(60.0))
    }

    /// The moment after thinking for a while.
    fn after(&mut self, now_us: u64, span: Span) -> u64 {
        let spread = span.to_s - span.from_s;
        now_us + seconds(span.from_s + spread * self.rng.random::<f64>())
    }

    fn seen_by(&self, asked: &Call) -> Record {
        let target = &self.world.scenario.target;
        let of_line = matches!(asked.kind, Kind::Join | Kind::Poll | Kind::Leave);
        Record {
            attempt: asked.attempt,
            event: (!of_line).then(|| target.event.clone()),
            fan: self.number,
            intended_us: asked.at_us,
            key: asked.key.clone(),
            kind: Some(asked.kind),
            sale: target.sale.clone().filter(|_| of_line),
            target: asked.target,
            ..Record::default()
        }
    }

    fn event_path(&self, rest: &str) -> String {
        format!("/v1/events/{}{rest}", self.world.scenario.target.event)
    }
}

/// Seconds as microseconds.
fn seconds(value_s: f64) -> u64 {
    (value_s * 1e6) as u64
}
