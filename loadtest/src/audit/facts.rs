//! What the history says, read line by line: memory grows with fans, holds and bookings, not with
//! polls.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use sqlx::types::Uuid;

use super::fans::{FanTrace, wall_us};
use crate::history::{AreaLine, End, Kind, Opening, Record, Settings, Verdict};

/// Oddities kept as text.
const ODDITIES: usize = 20;

/// A hold that was acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AckedHold {
    pub(super) fan: u64,
    pub(super) event: Box<str>,
    pub(super) seats: Vec<u32>,
    pub(super) areas: BTreeMap<Box<str>, u32>,
}

/// A booking that a fan was told is confirmed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AckedBooking {
    pub(super) fan: u64,
    pub(super) event: Box<str>,
    pub(super) seats: Vec<u32>,
    pub(super) areas: BTreeMap<Box<str>, u32>,
    pub(super) total: Option<i64>,
    pub(super) currency: Option<Box<str>>,
}

/// How the payments of one booking were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attempts {
    pub(super) taken: u32,
    pub(super) unknown: u32,
    pub(super) refused: u32,
}

/// What one idempotency key did.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeyTrace {
    pub(super) fan: u64,
    pub(super) kind: Kind,
    /// What the first successful answer named.
    pub(super) effect: Option<Box<str>>,
    /// What another successful answer named instead.
    pub(super) other: Option<Box<str>>,
    /// Whether it may have had an effect.
    pub(super) possible: bool,
    pub(super) attempts: u32,
}

/// Everything the checks need of a history.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) opening: Option<Opening>,
    pub(super) settings: Vec<Settings>,
    pub(super) end: Option<End>,
    pub(super) operations: u64,
    /// Lines that are none, and other oddities.
    pub(super) oddities: Vec<String>,
    pub(super) fans: HashMap<u64, FanTrace>,
    pub(super) holds: HashMap<Uuid, AckedHold>,
    pub(super) bookings: HashMap<Uuid, AckedBooking>,
    /// Payments by booking.
    pub(super) payments: HashMap<Uuid, Attempts>,
    pub(super) keys: HashMap<Box<str>, KeyTrace>,
    /// Seats acknowledged as sold to two bookings.
    pub(super) double_sales: Vec<String>,
    /// A booking acknowledged twice with different contents.
    pub(super) changed_bookings: Vec<String>,
    sold: HashMap<(Box<str>, u32), Uuid>,
    started_us: i64,
    /// When the last operation ended.
    pub(super) last_us: u64,
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error("cannot read the history: {0}")]
    Io(#[from] std::io::Error),
    /// A line in the middle is not what it should be.
    #[error("line {line} of the history is not one: {source}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Facts {
    /// Reads a history file.
    pub(super) fn read(path: &Path) -> Result<Self, HistoryError> {
        Self::read_from(BufReader::with_capacity(1 << 20, File::open(path)?))
    }

    /// Reads a history.
    pub(super) fn read_from(mut lines: impl BufRead) -> Result<Self, HistoryError> {
        let mut facts = Self::default();
        let (mut line, mut number) = (Vec::with_capacity(1 << 10), 0);
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                return Ok(facts);
            }
            number += 1;
            let whole = line.last() == Some(&b'\n');
            match facts.take_line(&line) {
                Ok(()) => {}
                // A run that was killed leaves half a line at the end.
                Err(_) if !whole => facts.odd(format!("line {number} is cut off")),
                Err(source) => return Err(HistoryError::Line { line: number, source }),
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), serde_json::Error> {
        let record: Record = serde_json::from_slice(line)?;
        match record.kind {
            Some(Kind::Run) => {
                let opening: Opening = serde_json::from_slice(line)?;
                self.started_us = wall_us(&opening.started_at).unwrap_or(0);
                self.opening = Some(opening);
            }
            Some(Kind::Settings) => self.settings.push(serde_json::from_slice(line)?),
            Some(Kind::End) => self.end = Some(serde_json::from_slice(line)?),
            Some(_) => self.take(&record),
            None => self.odd("a line without a kind".into()),
        }
        Ok(())
    }

    /// Takes in one operation.
    pub(super) fn take(&mut self, record: &Record) {
        self.operations += 1;
        self.last_us = self.last_us.max(record.end_us);
        if let Some(key) = &record.key {
            self.take_key(key, record);
        }
        match record.kind {
            Some(Kind::Join | Kind::Poll | Kind::Leave) => {
                self.fans.entry(record.fan).or_default().take(record, self.started_us);
            }
            Some(Kind::Hold) if record.result == Verdict::Ok => self.take_hold(record),
            Some(Kind::Confirm) => self.take_payment(record),
            Some(Kind::Booking) if record.state.as_deref() == Some("confirmed") => self.take_confirmed(record),
            _ => {}
        }
    }

    fn take_key(&mut self, key: &str, record: &Record) {
        let Some(kind) = record.kind else { return };
        let trace = self.keys.entry(key.into()).or_insert_with(|| KeyTrace {
            fan: record.fan,
            kind,
            effect: None,
            other: None,
            possible: false,
            attempts: 0,
        });
        trace.attempts += 1;
        trace.possible |= record.result != Verdict::Fail;
        let effect = match kind {
            Kind::Hold => record.hold.as_deref(),
            Kind::Book | Kind::Confirm => record.booking.as_deref(),
            _ => None,
        };
        if let (Verdict::Ok, Some(effect)) = (record.result, effect) {
            match &trace.effect {
                None => trace.effect = Some(effect.into()),
                Some(first) if **first != *effect => trace.other = Some(effect.into()),
                Some(_) => {}
            }
        }
    }

    fn take_hold(&mut self, record: &Record) {
        let Some(hold) = self.id(record.hold.as_deref(), "hold", record) else { return };
        let (event, seats, areas) = contents(record);
        self.holds.entry(hold).or_insert(AckedHold { fan: record.fan, event, seats, areas });
    }

    fn take_payment(&mut self, record: &Record) {
        let Some(booking) = self.id(record.booking.as_deref(), "booking", record) else { return };
        let attempts = self.payments.entry(booking).or_default();
        match record.result {
            Verdict::Ok => attempts.taken += 1,
            Verdict::Unknown => attempts.unknown += 1,
            Verdict::Fail => attempts.refused += 1,
        }
        if record.result == Verdict::Ok && record.state.as_deref() == Some("confirmed") {
            self.take_confirmed(record);
        }
    }

    fn take_confirmed(&mut self, record: &Record) {
        let Some(id) = self.id(record.booking.as_deref(), "booking", record) else { return };
        let (event, seats, areas) = contents(record);
        let currency = record.currency.as_deref().map(Box::from);
        let acked = AckedBooking { fan: record.fan, event, seats, areas, total: record.total, currency };
        if let Some(before) = self.bookings.get(&id) {
            if *before != acked {
                self.changed_bookings.push(format!("booking {id} was answered as {before:?}, then as {acked:?}"));
            }
            return;
        }
        for &seat_no in &acked.seats {
            if let Some(other) = self.sold.insert((acked.event.clone(), seat_no), id) {
                self.double_sales.push(format!(
                    "seat {seat_no} of {} is acknowledged as sold in booking {other} and in booking {id}",
                    acked.event
                ));
            }
        }
        self.bookings.insert(id, acked);
    }

    fn id(&mut self, text: Option<&str>, what: &str, record: &Record) -> Option<Uuid> {
        let id = text.and_then(|text| Uuid::parse_str(text).ok());
        if id.is_none() {
            self.odd(format!("operation {} names no usable {what}: {text:?}", record.op_id));
        }
        id
    }

    fn odd(&mut self, text: String) {
        if self.oddities.len() < ODDITIES {
            self.oddities.push(text);
        }
    }

    /// Seats acknowledged as sold.
    pub(super) fn seats_sold(&self) -> usize {
        self.sold.len()
    }

    /// Microseconds since the start until which fans kept asking.
    pub(super) fn closed_us(&self) -> u64 {
        self.end.as_ref().map_or(self.last_us, |end| end.closed_us)
    }
}

fn contents(record: &Record) -> (Box<str>, Vec<u32>, BTreeMap<Box<str>, u32>) {
    let mut seats = record.seats.clone();
    seats.sort_unstable();
    let event = record.event.as_deref().unwrap_or_default().into();
    (event, seats, places(&record.areas))
}

fn places(lines: &[AreaLine]) -> BTreeMap<Box<str>, u32> {
    let mut places = BTreeMap::new();
    for line in lines {
        *places.entry(line.area.as_str().into()).or_default() += line.quantity;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKING: &str = "01900000-0000-7000-8000-000000000001";

    fn confirmed(booking: &str, seats: &[u32]) -> Record {
        Record {
            kind: Some(Kind::Confirm),
            booking: Some(booking.into()),
            state: Some("confirmed".into()),
            event: Some("e".into()),
            seats: seats.to_vec(),
            total: Some(5),
            ..Record::default()
        }
    }

    #[test]
    fn reads_a_history_with_a_torn_end() {
        let opening = r#"{"burst":20,"event":"e","kind":"run","rate_per_min":600,"sale":"s","scenario":"x","seed":1,"started_at":"1970-01-01T00:00:01Z","targets":[],"version":1}"#;
        let line = serde_json::to_string(&confirmed(BOOKING, &[2, 1])).expect("serialises");
        let text = format!("{opening}\n{line}\n{{\"end_us\":1,\"fa");
        let facts = Facts::read_from(text.as_bytes()).expect("readable");
        assert_eq!((facts.operations, facts.started_us), (1, 1_000_000));
        assert_eq!(facts.bookings.values().next().map(|b| b.seats.clone()), Some(vec![1, 2]));
        assert_eq!(facts.oddities, ["line 3 is cut off"]);
        let torn = format!("{opening}\nnot json\n{line}\n");
        assert!(matches!(Facts::read_from(torn.as_bytes()), Err(HistoryError::Line { line: 2, .. })));
    }

    #[test]
    fn a_seat_acknowledged_twice_is_kept() {
        let mut facts = Facts::default();
        facts.take(&confirmed(BOOKING, &[1, 2]));
        facts.take(&confirmed(BOOKING, &[1, 2]));
        assert!(facts.double_sales.is_empty(), "a repeated answer is none");
        facts.take(&confirmed("01900000-0000-7000-8000-000000000002", &[2]));
        assert_eq!(facts.double_sales.len(), 1);
        facts.take(&confirmed(BOOKING, &[1]));
        assert_eq!(facts.changed_bookings.len(), 1);
    }

    #[test]
    fn a_key_with_two_effects_is_kept() {
        let hold = |hold: &str, result| Record {
            kind: Some(Kind::Hold),
            key: Some("k".into()),
            hold: Some(hold.into()),
            result,
            ..Record::default()
        };
        let mut facts = Facts::default();
        facts.take(&hold("a", Verdict::Unknown));
        facts.take(&hold("a", Verdict::Ok));
        facts.take(&hold("a", Verdict::Ok));
        assert_eq!(facts.keys["k"].other, None);
        facts.take(&hold("b", Verdict::Ok));
        assert_eq!(facts.keys["k"].other.as_deref(), Some("b"));
        assert_eq!(facts.keys["k"].attempts, 4);
    }
}
