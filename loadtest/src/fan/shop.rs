//! Inside: looking at page, event and seats, choosing, holding, choosing again after a lost race.
//!
//! A hold is asked for at most `choose_again + 1` times; each choice has a key of its own, each
//! further attempt of the same choice the same key.

use http::Method;
use serde_json::json;

use super::pay::Order;
use super::{Call, Class, Fan, Heard, Keep, Next, Note, Outcome, Reading, Stage, Step, seconds};
use crate::history::{AreaLine, Kind, Record};
use crate::plan::Snapshot;
use crate::scenario::Want;
use crate::wire::{Money, OrderDoc};

/// What a fan is looking at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Page,
    Event,
    Seats,
}

/// What a fan asks to hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice {
    Best(u32),
    Seats(Vec<u32>),
    Area(String, u32),
}

impl Fan {
    pub(super) fn look_around(&mut self, now_us: u64) -> Next {
        let first = if self.fate.looks_around { Look::Page } else { Look::Seats };
        self.look_at(first, now_us)
    }

    fn look_at(&mut self, look: Look, now_us: u64) -> Next {
        let at_us = self.after(now_us, self.world.scenario.delays.look_s);
        self.stage = Stage::Looking(look);
        let call = match look {
            Look::Page => Call { html: true, ..self.call(Kind::Page, Method::GET, self.page_path(), at_us) },
            Look::Event => self.call(Kind::Event, Method::GET, self.event_path(""), at_us),
            Look::Seats => self.call(Kind::Seats, Method::GET, self.event_path("/seats"), at_us),
        };
        Next::call(call)
    }

    pub(super) fn on_look(&mut self, now_us: u64, asked: &Call, reading: &Reading, heard: &Heard, look: Look) -> Next {
        let answer = match (reading.class, heard) {
            (Class::Good, Heard::Answer(answer)) => answer,
            (Class::PassNeeded, _) => return Next::End(Outcome::PassLost),
            _ => {
                let Some(next) = self.again(now_us, asked, reading) else { return Next::End(Outcome::Failed) };
                self.stage = Stage::Looking(look);
                return next;
            }
        };
        match look {
            Look::Page => self.look_at(Look::Event, now_us),
            Look::Event => self.look_at(Look::Seats, now_us),
            Look::Seats => match Snapshot::parse(&answer.body) {
                Some(snapshot) => self.choose(now_us, &snapshot),
                None => Next::End(Outcome::Failed),
            },
        }
    }

    /// Chooses by what is free: what the fan came for first, then anything else that is left.
    fn choose(&mut self, now_us: u64, snapshot: &Snapshot) -> Next {
        let wishes = match self.fate.want {
            Want::Best => [Want::Best, Want::Seats, Want::Areas],
            Want::Seats => [Want::Seats, Want::Areas, Want::Best],
            Want::Areas => [Want::Areas, Want::Seats, Want::Best],
        };
        // Having lost that often, a fan takes its second wish.
        let start = usize::from(self.choices > 3);
        for wish in wishes.iter().cycle().skip(start).take(3) {
            if let Some(choice) = self.choice_of(*wish, snapshot) {
                return self.hold(now_us, choice);
            }
        }
        self.finish(now_us, Outcome::SoldOut)
    }

    fn choice_of(&mut self, want: Want, snapshot: &Snapshot) -> Option<Choice> {
        let (world, quantity) = (self.world.clone(), self.fate.quantity);
        let behaviour = &world.scenario.behaviour;
        let any_free = || (0..world.plan.len() as u32).any(|seat_no| snapshot.is_free(seat_no));
        match want {
            Want::Best => any_free().then_some(Choice::Best(quantity)),
            Want::Seats => {
                let seats = world.plan.pick(snapshot, quantity, behaviour.herd, &mut self.rng);
                (!seats.is_empty()).then_some(Choice::Seats(seats))
            }
            Want::Areas => {
                snapshot.area_with(&behaviour.areas, quantity, &mut self.rng).map(|area| Choice::Area(area, quantity))
            }
        }
    }

    fn hold(&mut self, now_us: u64, choice: Choice) -> Next {
        let body = match &choice {
            Choice::Best(quantity) => json!({ "best": { "quantity": quantity } }),
            Choice::Area(area, quantity) => json!({ "areas": [{ "area": area, "quantity": quantity }] }),
            Choice::Seats(seats) => {
                let names: Vec<&str> = seats.iter().filter_map(|seat_no| self.world.plan.seat(*seat_no)).collect();
                json!({ "seats": names })
            }
        };
        self.choices += 1;
        let at_us = self.after(now_us, self.world.scenario.delays.choose_s);
        let path = self.event_path("/holds");
        self.stage = Stage::Holding(choice);
        Next::call(self.write(Kind::Hold, path, &body, at_us))
    }

    pub(super) fn on_hold(
        &mut self,
        now_us: u64,
        asked: &Call,
        reading: &Reading,
        heard: &Heard,
        choice: Choice,
        step: &mut Step,
    ) -> Next {
        let answer = match (reading.class, heard) {
            (Class::Good, Heard::Answer(answer)) => answer,
            (Class::PassNeeded, _) => return Next::End(Outcome::PassLost),
            (Class::Refusal, _) if reading.is("limit-exceeded") => return self.finish(now_us, Outcome::Limited),
            (Class::Refusal, _) => return self.choose_again(now_us),
            _ => {
                let Some(next) = self.again(now_us, asked, reading) else { return Next::End(Outcome::Failed) };
                self.stage = Stage::Holding(choice);
                return next;
            }
        };
        let doc = serde_json::from_slice::<OrderDoc>(&answer.body).unwrap_or_default();
        let Some(hold) = doc.hold.clone() else {
            step.error = true;
            return Next::End(Outcome::Failed);
        };
        record_order(&mut step.seen, &doc);
        if doc.buyer.is_some() {
            self.buyer.clone_from(&doc.buyer);
        }
        step.notes.push(Note::Held {
            hold: hold.clone(),
            seats: step.seen.seats.clone(),
            for_us: seconds(doc.expires_in_s.unwrap_or(0.0)),
        });
        self.with_hold(now_us, Order::of_hold(hold), step)
    }

    /// After a lost race: a fresh look, another choice, not for ever.
    fn choose_again(&mut self, now_us: u64) -> Next {
        if self.choices > self.world.scenario.behaviour.choose_again {
            return self.finish(now_us, Outcome::SoldOut);
        }
        self.look_at(Look::Seats, now_us)
    }

    fn with_hold(&mut self, now_us: u64, order: Order, step: &mut Step) -> Next {
        match self.fate.keep {
            Keep::Abandon => Next::End(Outcome::Abandoned),
            Keep::Pay => self.book(now_us, order),
            Keep::Release => self.release(now_us, &order.hold, Outcome::Released, step),
        }
    }

    pub(super) fn release(&mut self, now_us: u64, hold: &str, outcome: Outcome, step: &mut Step) -> Next {
        let at_us = self.after(now_us, self.world.scenario.delays.choose_s);
        step.notes.push(Note::GivingBack { hold: hold.to_owned() });
        let path = self.event_path(&format!("/holds/{hold}"));
        self.stage = Stage::Releasing(outcome);
        Next::call(self.call(Kind::Release, Method::DELETE, path, at_us))
    }

    pub(super) fn on_released(&mut self, now_us: u64, asked: &Call, reading: &Reading, outcome: Outcome) -> Next {
        match self.again(now_us, asked, reading) {
            Some(next) => {
                self.stage = Stage::Releasing(outcome);
                next
            }
            None => self.finish(now_us, outcome),
        }
    }
}

/// Puts what a hold or booking document says into the record of the operation.
pub(super) fn record_order(seen: &mut Record, doc: &OrderDoc) {
    seen.hold = doc.hold.clone().or_else(|| seen.hold.take());
    seen.booking = doc.booking.clone().or_else(|| seen.booking.take());
    seen.state.clone_from(&doc.state);
    seen.seats = doc.seats.iter().map(|seat| seat.seat_no).collect();
    seen.areas = doc.areas.iter().map(|line| AreaLine { area: line.area.clone(), quantity: line.quantity }).collect();
    seen.total = doc.total.as_ref().map(Money::amount);
    seen.currency = doc.total.as_ref().and_then(|total| total.currency().map(str::to_owned));
    seen.expires_at.clone_from(&doc.expires_at);
    seen.tickets = doc.tickets.as_ref().map(|tickets| tickets.len() as u32);
}
