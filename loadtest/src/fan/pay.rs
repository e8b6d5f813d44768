//! From hold to tickets: booking, payment, a second card, looking at a pending payment.

use http::Method;
use serde_json::json;

use super::shop::record_order;
use super::{Answer, Call, Class, Fan, Heard, Next, Note, Outcome, Reading, Stage, Step, seconds};
use crate::history::Kind;
use crate::scenario::Span;
use crate::wire::OrderDoc;

/// Told nothing, a fan looks at a pending payment again after so long.
const PENDING_UNTOLD_S: f64 = 1.0;

/// A purchase on its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    pub(super) hold: String,
    booking: String,
    /// Cards declined so far.
    declined: u32,
    /// Looks at the pending payment so far.
    looks: u32,
}

impl Order {
    pub(super) fn of_hold(hold: String) -> Self {
        Self { hold, booking: String::new(), declined: 0, looks: 0 }
    }
}

impl Fan {
    pub(super) fn book(&mut self, now_us: u64, order: Order) -> Next {
        let at_us = self.after(now_us, self.world.scenario.delays.details_s);
        let body = json!({
            "hold": order.hold,
            "buyer": { "name": format!("Fan {}", self.number), "email": format!("fan{}@example.test", self.number) },
        });
        let path = self.event_path("/bookings");
        self.stage = Stage::Booking(order);
        Next::call(self.write(Kind::Book, path, &body, at_us))
    }

    pub(super) fn on_booking(
        &mut self,
        now_us: u64,
        asked: &Call,
        reading: &Reading,
        heard: &Heard,
        order: Order,
        step: &mut Step,
    ) -> Next {
        step.seen.hold = Some(order.hold.clone());
        let Some(doc) = good_document(reading, heard) else {
            return self.purchase_refused(now_us, asked, reading, order, Stage::Booking);
        };
        let Some(booking) = doc.booking.clone() else {
            step.error = true;
            return Next::End(Outcome::Failed);
        };
        record_order(&mut step.seen, &doc);
        let token = self.fate.token.clone();
        let delay = self.world.scenario.delays.pay_s;
        self.pay(now_us, Order { booking, ..order }, &token, delay)
    }

    fn pay(&mut self, now_us: u64, order: Order, token: &str, delay: Span) -> Next {
        let at_us = self.after(now_us, delay);
        let body = json!({ "payment": { "method": "sandbox", "token": token } });
        let path = self.event_path(&format!("/bookings/{}/confirm", order.booking));
        self.stage = Stage::Paying(order);
        Next::call(self.write(Kind::Confirm, path, &body, at_us))
    }

    pub(super) fn on_payment(
        &mut self,
        now_us: u64,
        asked: &Call,
        reading: &Reading,
        heard: &Heard,
        order: Order,
        step: &mut Step,
    ) -> Next {
        step.seen.hold = Some(order.hold.clone());
        step.seen.booking = Some(order.booking.clone());
        if let (Some(doc), Heard::Answer(answer)) = (good_document(reading, heard), heard) {
            record_order(&mut step.seen, &doc);
            return self.go_by_payment(now_us, order, &doc, answer, step);
        }
        if reading.status == Some(402) {
            return self.declined(now_us, order, step);
        }
        self.purchase_refused(now_us, asked, reading, order, Stage::Paying)
    }

    fn declined(&mut self, now_us: u64, order: Order, step: &mut Step) -> Next {
        if self.fate.second_card && order.declined == 0 {
            let delay = self.world.scenario.delays.pay_s;
            return self.pay(now_us, Order { declined: 1, ..order }, "tok_ok", delay);
        }
        if self.fate.says_goodbye {
            return self.release(now_us, &order.hold, Outcome::Declined, step);
        }
        Next::End(Outcome::Declined)
    }

    fn go_by_payment(&mut self, now_us: u64, order: Order, doc: &OrderDoc, answer: &Answer, step: &mut Step) -> Next {
        match doc.state.as_deref() {
            Some("confirmed") => {
                step.notes.push(Note::Bought {
                    hold: order.hold.clone(),
                    booking: order.booking.clone(),
                    seats: step.seen.seats.clone(),
                    places: step.seen.areas.iter().map(|line| line.quantity).sum(),
                    total: step.seen.total.unwrap_or(0),
                });
                let path = self.booking_path(&order);
                self.stage = Stage::Collecting(order);
                Next::call(self.call(Kind::Booking, Method::GET, path, now_us))
            }
            Some("failed" | "cancelled" | "refunded") => self.finish(now_us, Outcome::Declined),
            Some("expired") => self.finish(now_us, Outcome::HoldExpired),
            _ if order.looks >= self.world.scenario.limits.pending_polls => Next::End(Outcome::PendingTooLong),
            _ => {
                step.notes.push(Note::Paying { hold: order.hold.clone() });
                let pause_s = answer.retry_after_s.unwrap_or(PENDING_UNTOLD_S).clamp(0.1, 30.0);
                let call = self.call(Kind::Booking, Method::GET, self.booking_path(&order), now_us + seconds(pause_s));
                self.stage = Stage::Pending(Order { looks: order.looks + 1, ..order });
                Next::call(call)
            }
        }
    }

    pub(super) fn on_pending(
        &mut self,
        now_us: u64,
        asked: &Call,
        reading: &Reading,
        heard: &Heard,
        order: Order,
        step: &mut Step,
    ) -> Next {
        step.seen.hold = Some(order.hold.clone());
        step.seen.booking = Some(order.booking.clone());
        if let (Some(doc), Heard::Answer(answer)) = (good_document(reading, heard), heard) {
            record_order(&mut step.seen, &doc);
            return self.go_by_payment(now_us, order, &doc, answer, step);
        }
        self.purchase_refused(now_us, asked, reading, order, Stage::Pending)
    }

    pub(super) fn on_tickets(
        &mut self,
        now_us: u64,
        asked: &Call,
        reading: &Reading,
        heard: &Heard,
        order: &Order,
        step: &mut Step,
    ) -> Next {
        step.seen.booking = Some(order.booking.clone());
        if let Some(doc) = good_document(reading, heard) {
            record_order(&mut step.seen, &doc);
            return self.finish(now_us, Outcome::Confirmed);
        }
        match self.purchase_refused(now_us, asked, reading, order.clone(), Stage::Collecting) {
            next @ Next::Call(_) => next,
            Next::End(_) => self.finish(now_us, Outcome::Confirmed),
        }
    }

    /// Anything but success: another attempt in the same stage, or the end that fits.
    fn purchase_refused(
        &mut self,
        now_us: u64,
        asked: &Call,
        reading: &Reading,
        order: Order,
        stage: fn(Order) -> Stage,
    ) -> Next {
        match reading.class {
            Class::PassNeeded if self.buyer.is_some() && self.pass.is_some() && asked.kind == Kind::Booking => {
                // One's own booking opens with the buyer token when the pass is gone.
                self.pass = None;
                let call = self.call(Kind::Booking, Method::GET, asked.path.clone(), now_us);
                self.stage = stage(order);
                Next::call(call)
            }
            Class::PassNeeded => Next::End(Outcome::PassLost),
            Class::Refusal if reading.is("hold-expired") => self.finish(now_us, Outcome::HoldExpired),
            Class::Refusal | Class::Wrong | Class::Good => Next::End(Outcome::Failed),
            Class::Again { .. } => match self.again(now_us, asked, reading) {
                Some(next) => {
                    self.stage = stage(order);
                    next
                }
                None => Next::End(Outcome::Failed),
            },
        }
    }

    fn booking_path(&self, order: &Order) -> String {
        self.event_path(&format!("/bookings/{}", order.booking))
    }
}

fn good_document(reading: &Reading, heard: &Heard) -> Option<OrderDoc> {
    match (reading.class, heard) {
        (Class::Good, Heard::Answer(answer)) => serde_json::from_slice(&answer.body).ok(),
        _ => None,
    }
}
