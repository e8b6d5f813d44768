//! What the history says about one fan in the line: when it joined, how it was answered, whether it
//! was always there.

use crate::history::{Kind, Record, Verdict};

/// Asking again so much later than told still counts as on time: jitter, a busy machine.
const ON_TIME_SHARE: f64 = 1.25;
const ON_TIME_EXTRA_US: f64 = 1_000_000.0;

/// One fan's way through the line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct FanTrace {
    pub(super) visitor: Option<Box<str>>,
    /// Its place in the order of joining.
    pub(super) score: Option<f64>,
    pub(super) called_at_us: Option<i64>,
    pub(super) called_seq: Option<u64>,
    pub(super) joined: bool,
    pub(super) left: bool,
    /// It asked on time, from joining until it was called.
    pub(super) absent: bool,
    /// It was inside, or had its turn.
    pub(super) got_in: bool,
    /// The last answer that said anything about the place.
    pub(super) last_state: Option<Box<str>>,
    pub(super) last_position: Option<u64>,
    /// When that answer was made, by the gateway's clock, else by ours.
    pub(super) last_seen_wall_us: Option<i64>,
    /// When it came.
    pub(super) last_answer_us: u64,
    pub(super) told_s: Option<f64>,
    /// A poll was refused for good.
    pub(super) refused: Option<Box<str>>,
    /// Polls without an answer since the last one with.
    pub(super) unanswered: u32,
    /// It was answered as another visitor.
    pub(super) other_visitor: Option<Box<str>>,
    /// The score changed on the way.
    pub(super) other_score: Option<f64>,
}

impl FanTrace {
    /// Takes in one operation in the line; `started_us` is the wall clock at the run's start.
    pub(super) fn take(&mut self, record: &Record, started_us: i64) {
        match record.kind {
            // Freeing one's slot after the visit is no leaving of the line.
            Some(Kind::Leave) if record.result != Verdict::Fail => self.left |= !self.got_in,
            Some(Kind::Join | Kind::Poll) => self.take_place(record, started_us),
            _ => {}
        }
    }

    fn take_place(&mut self, record: &Record, started_us: i64) {
        if record.result != Verdict::Ok {
            let for_good = record.kind == Some(Kind::Poll)
                && record.result == Verdict::Fail
                // A sale that is over has no places to lose.
                && record.problem.as_deref() != Some("sale-closed")
                && record.status.is_some_and(|status| status < 500 && status != 429 && status != 409);
            if for_good {
                self.refused = Some(record.problem.clone().unwrap_or_else(|| "refused".into()).into());
            }
            self.unanswered += 1;
            return;
        }
        self.unanswered = 0;
        self.joined = true;
        self.check_presence(record);
        self.take_identity(record);
        if let Some(at) = record.called_at.as_deref().and_then(wall_us) {
            self.called_at_us.get_or_insert(at);
        }
        self.called_seq = self.called_seq.or(record.called_seq);
        if let Some(state) = &record.place_state {
            self.got_in |= state == "inside" || state == "called";
            self.last_state = Some(state.as_str().into());
            self.last_position = record.position;
            let ours = started_us + record.end_us as i64;
            self.last_seen_wall_us = record.updated_at.as_deref().and_then(wall_us).or(Some(ours));
        }
        self.last_answer_us = record.end_us;
        self.told_s = record.told_s;
    }

    /// A fan that asked too late once may have been set aside: its order is then not promised.
    fn check_presence(&mut self, record: &Record) {
        if self.got_in || self.last_answer_us == 0 {
            return;
        }
        let gap_us = record.end_us.saturating_sub(self.last_answer_us) as f64;
        let told_us = self.told_s.unwrap_or(1.0) * 1e6;
        if gap_us > told_us.mul_add(ON_TIME_SHARE, ON_TIME_EXTRA_US) {
            self.absent = true;
        }
    }

    fn take_identity(&mut self, record: &Record) {
        if let Some(visitor) = record.visitor.as_deref() {
            match &self.visitor {
                None => self.visitor = Some(visitor.into()),
                Some(was) if **was != *visitor => self.other_visitor = Some(visitor.into()),
                Some(_) => {}
            }
        }
        if let Some(score) = record.score {
            match self.score {
                None => self.score = Some(score),
                Some(was) if was != score => self.other_score = Some(score),
                Some(_) => {}
            }
        }
    }

    /// Whether the fan was always there from joining to its turn.
    pub(super) fn present(&self) -> bool {
        self.joined && !self.absent && !self.left && self.unanswered == 0
    }
}

/// An RFC 3339 time in microseconds since 1970.
pub(super) fn wall_us(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|at| at.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(end_us: u64, state: &str) -> Record {
        Record {
            kind: Some(Kind::Poll),
            end_us,
            place_state: Some(state.into()),
            told_s: Some(2.0),
            visitor: Some("v".into()),
            score: Some(1.0),
            ..Record::default()
        }
    }

    #[test]
    fn a_fan_that_asks_as_told_is_present() {
        let mut trace = FanTrace::default();
        for end_us in [1_000_000, 3_100_000, 5_300_000] {
            trace.take(&poll(end_us, "waiting"), 0);
        }
        assert!(trace.present() && trace.joined);
        trace.take(&poll(30_000_000, "waiting"), 0);
        assert!(!trace.present());
    }

    #[test]
    fn refusals_and_other_identities_are_kept() {
        let mut trace = FanTrace::default();
        trace.take(&poll(1_000_000, "waiting"), 0);
        trace.take(&Record { visitor: Some("w".into()), score: Some(2.0), ..poll(2_000_000, "waiting") }, 0);
        assert_eq!((trace.other_visitor.as_deref(), trace.other_score), (Some("w"), Some(2.0)));
        let gone = Record {
            result: Verdict::Fail,
            status: Some(404),
            problem: Some("not-found".into()),
            ..poll(3_000_000, "")
        };
        trace.take(&gone, 0);
        assert_eq!(trace.refused.as_deref(), Some("not-found"));
        let busy = Record { result: Verdict::Fail, status: Some(429), ..poll(3_000_000, "") };
        let mut patient = FanTrace::default();
        patient.take(&busy, 0);
        assert_eq!((patient.refused, patient.unanswered), (None, 1));
    }

    #[test]
    fn freeing_the_slot_is_not_leaving_the_line() {
        let leave = Record { kind: Some(Kind::Leave), ..Record::default() };
        let mut guest = FanTrace::default();
        guest.take(&poll(1_000_000, "inside"), 0);
        guest.take(&leave, 0);
        assert!(guest.present() && !guest.left);
        let mut leaver = FanTrace::default();
        leaver.take(&poll(1_000_000, "waiting"), 0);
        leaver.take(&leave, 0);
        assert!(leaver.left);
    }

    #[test]
    fn times_are_read_to_the_microsecond() {
        assert_eq!(wall_us("1970-01-01T00:00:01.000002Z"), Some(1_000_002));
        assert_eq!(wall_us("yesterday"), None);
    }
}
