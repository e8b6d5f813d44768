//! In the line: joining, polling as told, claiming, leaving.
//!
//! A poll never runs out of attempts: a fan that has a place asks again until it gets in, leaves,
//! or has waited as long as the scenario allows. So a place that is lost shows as an answer, not
//! as silence.

use http::Method;
use rand::RngExt;

use super::{Call, Class, Fan, Heard, Next, Note, Outcome, Reading, Stage, Step, seconds};
use crate::history::Kind;
use crate::scenario::JoinBy;
use crate::wire::{PlaceDoc, place_in};

/// Told nothing, a fan asks again after so long.
const POLL_UNTOLD_S: f64 = 5.0;
/// Called, or inside without having seen the pass: ask again soon.
const POLL_CALLED_S: f64 = 0.5;

impl Fan {
    pub(super) fn join(&mut self, sale: &str, at_us: u64) -> Next {
        let page = self.page_path();
        let call = match self.fate.join {
            JoinBy::Api => self.call(Kind::Join, Method::POST, format!("/_usher/sales/{sale}/join"), at_us),
            JoinBy::Page => self.call(Kind::Join, Method::GET, page, at_us),
            JoinBy::Browser => Call { html: true, ..self.call(Kind::Join, Method::GET, page, at_us) },
        };
        self.stage = Stage::Joining;
        Next::call(call)
    }

    pub(super) fn on_join(
        &mut self,
        now_us: u64,
        asked: &Call,
        reading: &Reading,
        heard: &Heard,
        step: &mut Step,
    ) -> Next {
        let Heard::Answer(answer) = heard else {
            return self.join_again(now_us, asked, reading);
        };
        if reading.class != Class::Good {
            return self.join_again(now_us, asked, reading);
        }
        self.place.clone_from(&answer.place);
        let doc = place_in(&answer.body).filter(|doc| doc.visitor.is_some()).unwrap_or_default();
        let told_s = answer.retry_after_s.or(doc.poll_s);
        self.take_place(&doc, step);
        if self.place.is_none() {
            // Nothing guards the page just now: the fan is in without a pass.
            return self.look_around(now_us);
        }
        self.joined_us = Some(now_us);
        step.notes.push(Note::Joined);
        if doc.visitor.is_none() {
            // A browser's answer is a page: its script asks for the place at once.
            return self.poll_at(now_us + seconds(0.1));
        }
        self.go_by(now_us, &doc, told_s, step)
    }

    fn join_again(&mut self, now_us: u64, asked: &Call, reading: &Reading) -> Next {
        match self.again(now_us, asked, reading) {
            Some(next) => {
                self.stage = Stage::Joining;
                next
            }
            None if reading.is("sale-closed") => Next::End(Outcome::SaleOver),
            None => Next::End(Outcome::Failed),
        }
    }

    pub(super) fn on_place(
        &mut self,
        now_us: u64,
        asked: &Call,
        reading: &Reading,
        heard: &Heard,
        step: &mut Step,
    ) -> Next {
        let (Class::Good, Heard::Answer(answer)) = (reading.class, heard) else {
            if let Class::Again { after_s } = reading.class {
                let pause_s = self.backoff_s(asked.attempt, after_s);
                return self.keep_waiting(now_us, pause_s, asked.attempt + 1);
            }
            if reading.is("sale-closed") {
                return Next::End(Outcome::SaleOver);
            }
            step.error = true;
            return Next::End(Outcome::PlaceLost);
        };
        let Some(doc) = place_in(&answer.body) else {
            step.error = true;
            return self.keep_waiting(now_us, POLL_UNTOLD_S, asked.attempt + 1);
        };
        let told_s = answer.retry_after_s.or(doc.poll_s);
        self.take_place(&doc, step);
        self.go_by(now_us, &doc, told_s, step)
    }

    /// Remembers what the document says and notes what should not happen.
    fn take_place(&mut self, doc: &PlaceDoc, step: &mut Step) {
        if let (Some(was), Some(is)) = (&self.visitor, &doc.visitor)
            && was != is
        {
            step.notes.push(Note::OtherVisitor { was: was.clone(), is: is.clone() });
        }
        if doc.visitor.is_some() {
            self.visitor.clone_from(&doc.visitor);
        }
        if doc.place.is_some() {
            self.place.clone_from(&doc.place);
        }
        if doc.pass.is_some() {
            self.pass.clone_from(&doc.pass);
        }
        let waiting = doc.state.as_deref() == Some("waiting");
        if let (true, Some(from), Some(to)) = (waiting, self.position, doc.position)
            && to > from
        {
            step.notes.push(Note::MovedBack { from, to });
        }
        self.position = doc.position.filter(|_| waiting).or(self.position);
        step.seen.place_state.clone_from(&doc.state);
        step.seen.position = doc.position;
        step.seen.called_at.clone_from(&doc.called_at);
        step.seen.called_seq = doc.called_seq;
        step.seen.score = doc.score;
        step.seen.updated_at.clone_from(&doc.updated_at);
    }

    fn go_by(&mut self, now_us: u64, doc: &PlaceDoc, told_s: Option<f64>, step: &mut Step) -> Next {
        let told_s = told_s.unwrap_or(POLL_UNTOLD_S);
        match doc.state.as_deref() {
            Some("inside") if self.pass.is_some() => {
                let wait_us = now_us - self.joined_us.unwrap_or(now_us);
                step.notes.push(Note::GotIn { wait_us });
                self.look_around(now_us)
            }
            Some("inside" | "called") => self.keep_waiting(now_us, POLL_CALLED_S, 0),
            Some("left") => Next::End(Outcome::Left),
            Some("expired") => Next::End(Outcome::ClaimExpired),
            _ if matches!(doc.sale_state.as_deref(), Some("closed" | "sold_out")) => Next::End(Outcome::SaleOver),
            _ => {
                step.seen.told_s = Some(told_s);
                let jittered_s = told_s * self.rng.random_range(1.0..1.1);
                self.keep_waiting(now_us, jittered_s, 0)
            }
        }
    }

    /// The next poll, unless the fan leaves, falls silent or gives up before.
    fn keep_waiting(&mut self, now_us: u64, pause_s: f64, attempt: u32) -> Next {
        let limits = &self.world.scenario.limits;
        let joined_us = self.joined_us.unwrap_or(now_us);
        let at_us = now_us + seconds(pause_s.clamp(0.05, limits.poll_s));
        if at_us - joined_us > seconds(limits.wait_s) {
            return Next::End(Outcome::GaveUp);
        }
        if self.fate.silent_after_s.is_some_and(|after_s| at_us > joined_us + seconds(after_s)) {
            return Next::End(Outcome::WentSilent);
        }
        if let Some(after_s) = self.fate.leaves_after_s
            && at_us > joined_us + seconds(after_s)
        {
            return self.leave(now_us.max(joined_us + seconds(after_s)), Outcome::Left);
        }
        match self.poll_at(at_us) {
            Next::Call(call) => Next::call(Call { attempt, ..*call }),
            end => end,
        }
    }

    fn poll_at(&mut self, at_us: u64) -> Next {
        let Some(path) = self.place_path() else { return Next::End(Outcome::Failed) };
        self.stage = Stage::Waiting;
        Next::call(self.call(Kind::Poll, Method::GET, path, at_us))
    }

    /// Leaves the line, or frees the slot inside, and ends so.
    pub(super) fn leave(&mut self, at_us: u64, outcome: Outcome) -> Next {
        match self.place_path() {
            Some(path) if self.place.is_some() => {
                self.stage = Stage::Leaving(outcome);
                Next::call(self.call(Kind::Leave, Method::DELETE, path, at_us))
            }
            _ => Next::End(outcome),
        }
    }

    /// Ends so; a polite fan frees its slot first.
    pub(super) fn finish(&mut self, now_us: u64, outcome: Outcome) -> Next {
        if self.fate.says_goodbye && self.pass.is_some() {
            return self.leave(now_us, outcome);
        }
        Next::End(outcome)
    }

    pub(super) fn on_left(&mut self, now_us: u64, asked: &Call, reading: &Reading, outcome: Outcome) -> Next {
        match self.again(now_us, asked, reading) {
            Some(next) => {
                self.stage = Stage::Leaving(outcome);
                next
            }
            None => Next::End(outcome),
        }
    }

    pub(super) fn page_path(&self) -> String {
        let target = &self.world.scenario.target;
        target.page.clone().unwrap_or_else(|| format!("/events/{}", target.event))
    }

    fn place_path(&self) -> Option<String> {
        self.world.scenario.target.sale.as_ref().map(|sale| format!("/_usher/sales/{sale}/place"))
    }
}
