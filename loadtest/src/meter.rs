//! Counts and latencies of a run.
//!
//! Latency is taken twice: from the moment an operation was due, which no slow answer can hide, and
//! from the moment it was sent. How late the generator itself was is measured apart, so that its
//! own weakness is never blamed on the system.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::fan::{Note, Outcome};
use crate::history::{Kind, Record, Verdict};
use crate::scenario::{Metric, Quantile, Source};

/// When one operation was due, woken for, sent, and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it was due.
    pub due_us: u64,
    /// When the generator got to it.
    pub woke_us: u64,
    /// When it was sent.
    pub sent_us: u64,
    /// When it was over.
    pub end_us: u64,
}

/// One kind of operation.
#[derive(Debug)]
pub struct Operation {
    /// Operations that took effect.
    pub ok: u64,
    /// Refusals that belong to the game.
    pub refused: u64,
    /// Errors.
    pub errors: u64,
    /// Operations whose effect is unknown.
    pub unknown: u64,
    /// Everything but ok, by problem.
    pub problems: BTreeMap<String, u64>,
    /// Microseconds from the moment it was due.
    pub intended: Histogram<u64>,
    /// Microseconds from the moment it was sent.
    pub sent: Histogram<u64>,
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            ok: 0,
            refused: 0,
            errors: 0,
            unknown: 0,
            problems: BTreeMap::new(),
            intended: histogram(),
            sent: histogram(),
        }
    }
}

impl Operation {
    /// All of this kind.
    pub fn count(&self) -> u64 {
        self.ok + self.refused + self.errors
    }
}

/// What happened in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    /// Fans that arrived.
    pub arrived: u64,
    /// Requests that ended.
    pub requests: u64,
    /// Errors.
    pub errors: u64,
    /// Fans that got in.
    pub got_in: u64,
    /// Bookings confirmed.
    pub confirmed: u64,
    /// Fans in the line at its end.
    pub waiting: u64,
    /// Fans with a pass and not gone, at its end.
    pub inside: u64,
}

/// All counts of a run.
#[derive(Debug)]
pub struct Meter {
    /// By kind of operation.
    pub operations: BTreeMap<Kind, Operation>,
    /// Fans by how their visit ended.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// Time from join to pass, in microseconds.
    pub wait: Histogram<u64>,
    /// How late the generator was, in microseconds.
    pub lag: Histogram<u64>,
    /// Fans that arrived.
    pub arrived: u64,
    /// Fans that joined.
    pub joined: u64,
    /// Fans that got in.
    pub got_in: u64,
    /// Holds acknowledged.
    pub holds: u64,
    /// Bookings confirmed.
    pub confirmed: u64,
    /// Seats sold.
    pub seats_sold: u64,
    /// Places in areas sold.
    pub places_sold: u64,
    /// Money taken, minor units by currency.
    pub money: BTreeMap<String, i64>,
    /// Positions that rose.
    pub moved_back: u64,
    waiting: u64,
    inside: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            operations: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            seconds: Vec::new(),
            wait: histogram(),
            lag: histogram(),
            arrived: 0,
            joined: 0,
            got_in: 0,
            holds: 0,
            confirmed: 0,
            seats_sold: 0,
            places_sold: 0,
            money: BTreeMap::new(),
            moved_back: 0,
            waiting: 0,
            inside: 0,
        }
    }
}

impl Meter {
    /// A fan arrived.
    pub fn arrived(&mut self, at_us: u64) {
        self.arrived += 1;
        self.second(at_us).arrived += 1;
    }

    /// An operation is over.
    pub fn operation(&mut self, record: &Record, error: bool, times: Times) {
        let Some(kind) = record.kind else { return };
        let operation = self.operations.entry(kind).or_default();
        match (record.result, error) {
            (_, true) => operation.errors += 1,
            (Verdict::Ok, false) => operation.ok += 1,
            (_, false) => operation.refused += 1,
        }
        if record.result == Verdict::Unknown {
            operation.unknown += 1;
        }
        if let Some(problem) = &record.problem {
            *operation.problems.entry(problem.clone()).or_default() += 1;
        }
        operation.intended.saturating_record(times.end_us.saturating_sub(times.due_us));
        operation.sent.saturating_record(times.end_us.saturating_sub(times.sent_us));
        self.lag.saturating_record(times.woke_us.saturating_sub(times.due_us));
        let second = self.second(times.end_us);
        second.requests += 1;
        second.errors += u64::from(error);
    }

    /// Something happened to a fan.
    pub fn note(&mut self, note: &Note, currency: Option<&str>, at_us: u64) {
        match note {
            Note::Joined => {
                self.joined += 1;
                self.waiting += 1;
            }
            Note::GotIn { wait_us } => {
                self.got_in += 1;
                self.inside += 1;
                self.waiting = self.waiting.saturating_sub(1);
                self.wait.saturating_record(*wait_us);
                self.second(at_us).got_in += 1;
            }
            Note::MovedBack { .. } => self.moved_back += 1,
            Note::Held { .. } => self.holds += 1,
            Note::Bought { seats, places, total, .. } => {
                self.confirmed += 1;
                self.seats_sold += seats.len() as u64;
                self.places_sold += u64::from(*places);
                *self.money.entry(currency.unwrap_or("?").to_owned()).or_default() += total;
                self.second(at_us).confirmed += 1;
            }
            Note::OtherVisitor { .. } | Note::GivingBack { .. } | Note::Paying { .. } => {}
        }
    }

    /// A visit ended; `joined` and `inside` say how far the fan had come.
    pub fn ended(&mut self, outcome: Outcome, joined: bool, inside: bool, at_us: u64) {
        *self.outcomes.entry(outcome).or_default() += 1;
        match (joined, inside) {
            (_, true) => self.inside = self.inside.saturating_sub(1),
            (true, false) => self.waiting = self.waiting.saturating_sub(1),
            (false, false) => {}
        }
        self.second(at_us);
    }

    /// Fans in the line now.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Fans inside now.
    pub fn inside(&self) -> u64 {
        self.inside
    }

    /// All operations, and how many of them were errors.
    pub fn requests(&self) -> (u64, u64) {
        self.operations.values().fold((0, 0), |(all, errors), op| (all + op.count(), errors + op.errors))
    }

    /// The value of a metric; `None` when nothing of the kind was measured.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let count = |value: u64| Some(value as f64);
        match metric {
            Metric::Latency(kind, source, quantile) => {
                let operation = self.operations.get(&kind)?;
                let histogram = match source {
                    Source::Intended => &operation.intended,
                    Source::Sent => &operation.sent,
                };
                quantile_of(histogram, quantile).map(|us| us / 1e3)
            }
            Metric::Wait(quantile) => quantile_of(&self.wait, quantile).map(|us| us / 1e6),
            Metric::Lag(quantile) => quantile_of(&self.lag, quantile).map(|us| us / 1e3),
            Metric::ErrorsRatio => {
                let (all, errors) = self.requests();
                (all > 0).then(|| errors as f64 / all as f64)
            }
            Metric::Errors => count(self.requests().1),
            Metric::LostPlaces => {
                count([Outcome::PlaceLost, Outcome::ClaimExpired].iter().filter_map(|o| self.outcomes.get(o)).sum())
            }
            Metric::MovedBack => count(self.moved_back),
            Metric::Joined => count(self.joined),
            Metric::GotIn => count(self.got_in),
            Metric::Confirmed => count(self.confirmed),
            Metric::Sold => count(self.seats_sold + self.places_sold),
        }
    }

    fn second(&mut self, at_us: u64) -> &mut Second {
        let index = (at_us / 1_000_000) as usize;
        if self.seconds.len() <= index {
            // Levels stay as they were through quiet seconds.
            let level = Second { waiting: self.waiting, inside: self.inside, ..Second::default() };
            self.seconds.resize(index + 1, level);
        }
        let second = &mut self.seconds[index];
        (second.waiting, second.inside) = (self.waiting, self.inside);
        second
    }
}

/// A quantile in microseconds.
pub fn quantile_of(histogram: &Histogram<u64>, quantile: Quantile) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile.share()) as f64)
}

/// Up to an hour, with three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("constant bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, result: Verdict, problem: Option<&str>) -> Record {
        Record { kind: Some(kind), result, problem: problem.map(str::to_owned), ..Record::default() }
    }

    #[test]
    fn latency_counts_from_the_moment_it_was_due() {
        let mut meter = Meter::default();
        let late = Times { due_us: 1_000_000, woke_us: 1_500_000, sent_us: 1_600_000, end_us: 2_000_000 };
        meter.operation(&record(Kind::Hold, Verdict::Ok, None), false, late);
        let ms = |metric| meter.value(metric).expect("measured").round();
        assert_eq!(ms(Metric::Latency(Kind::Hold, Source::Intended, Quantile::P99)), 1_000.0);
        assert_eq!(ms(Metric::Latency(Kind::Hold, Source::Sent, Quantile::P99)), 400.0);
        assert_eq!(ms(Metric::Lag(Quantile::Max)), 500.0);
        assert_eq!(meter.value(Metric::Latency(Kind::Join, Source::Sent, Quantile::P50)), None);
    }

    #[test]
    fn errors_are_counted_apart_from_refusals() {
        let mut meter = Meter::default();
        let times = Times { due_us: 0, woke_us: 0, sent_us: 0, end_us: 1 };
        meter.operation(&record(Kind::Hold, Verdict::Ok, None), false, times);
        meter.operation(&record(Kind::Hold, Verdict::Fail, Some("seats-taken")), false, times);
        meter.operation(&record(Kind::Hold, Verdict::Unknown, Some("timeout")), true, times);
        assert_eq!(meter.value(Metric::Errors), Some(1.0));
        assert!((meter.value(Metric::ErrorsRatio).expect("measured") - 1.0 / 3.0).abs() < 1e-9);
        let hold = &meter.operations[&Kind::Hold];
        assert_eq!((hold.ok, hold.refused, hold.errors, hold.unknown), (1, 1, 1, 1));
        assert_eq!(hold.problems["timeout"], 1);
    }

    #[test]
    fn levels_follow_the_fans() {
        let mut meter = Meter::default();
        meter.arrived(0);
        meter.note(&Note::Joined, None, 100);
        meter.note(&Note::GotIn { wait_us: 3_000_000 }, None, 3_000_100);
        assert_eq!((meter.waiting(), meter.inside()), (0, 1));
        meter.ended(Outcome::Confirmed, true, true, 5_000_000);
        assert_eq!((meter.waiting(), meter.inside()), (0, 0));
        assert_eq!(meter.seconds.len(), 6);
        assert_eq!(meter.seconds[4].inside, 0);
        assert_eq!(meter.seconds[3].got_in, 1);
    }
}
