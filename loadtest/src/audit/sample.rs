//! A small sale, clean in all three sources, for tests to break in one place at a time.

use std::collections::BTreeMap;

use sqlx::types::Uuid;

use super::books::{AreaRow, BookingRow, Books, EventBook, HoldRow, PaymentRow, SeatRow};
use super::facts::Facts;
use super::finding::Finding;
use super::ledger::{LedgerLine, ProviderLedger};
use super::rate::RateLine;
use super::replay::{AreaChange, Change};
use crate::history::{AreaLine, Kind, Record};

const EVENT: &str = "arena";

/// History, books, ledger and rate of one sale.
pub(super) struct Sale {
    pub(super) records: Vec<Record>,
    pub(super) books: Books,
    pub(super) changes: Vec<Change>,
    pub(super) ledger: ProviderLedger,
    pub(super) rate: RateLine,
}

pub(super) fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// Fan 1 buys seats 4 and 5, fan 2 buys two places of the floor, fan 3 still waits.
pub(super) fn sale() -> Sale {
    let mut records: Vec<Record> = (1..=3).flat_map(line_of).collect();
    records.extend(purchase(1, 11, 21, &[4, 5], &[], 9_000));
    records.extend(purchase(2, 12, 22, &[], &[("floor", 2)], 5_000));
    let bookings = [(id(21), booking(1, 11, 9_000)), (id(22), booking(2, 12, 5_000))];
    let book = EventBook {
        version: 6,
        seats: (0..8).map(|seat_no| (seat_no, seat(seat_no))).collect(),
        areas: BTreeMap::from([("floor".into(), AreaRow { capacity: 10, held: 0, pending: 0, sold: 2 })]),
        holds: [(id(11), hold(1, &[4, 5], &[])), (id(12), hold(2, &[], &[("floor".into(), 2, 3)]))].into(),
        bookings: bookings.into(),
        ..EventBook::default()
    };
    Sale {
        records,
        books: Books { events: BTreeMap::from([(EVENT.into(), book)]) },
        changes: changes(),
        ledger: ProviderLedger::of(vec![paid("21/1", 9_000), paid("22/1", 5_000)]),
        rate: RateLine::constant(60.0, 1.0),
    }
}

impl Sale {
    pub(super) fn book(&mut self) -> &mut EventBook {
        self.books.events.get_mut(EVENT).expect("the sample has this event")
    }

    pub(super) fn booking(&mut self, n: u128) -> &mut BookingRow {
        self.book().bookings.get_mut(&id(n)).expect("the sample has this booking")
    }

    /// The record of this kind of this fan.
    pub(super) fn record(&mut self, fan: u64, kind: Kind) -> &mut Record {
        self.records
            .iter_mut()
            .rfind(|record| record.fan == fan && record.kind == Some(kind))
            .expect("the sample has this record")
    }

    /// All findings over the sale as it is now.
    pub(super) fn findings(mut self) -> Vec<Finding> {
        let mut facts = Facts::default();
        for record in &self.records {
            facts.take(record);
        }
        let changes = std::mem::take(&mut self.changes);
        let book = self.book();
        for change in &changes {
            book.replay.apply(change);
        }
        let (version, seats, areas) = (book.version, book.seats.clone(), book.areas.clone());
        book.replay.finish(version, &seats, &areas);
        super::conduct::check_all(&facts, &self.books, Some(&self.ledger), Some(&self.rate))
    }
}

/// Joins, waits once; fans 1 and 2 are called a second apart.
fn line_of(fan: u64) -> Vec<Record> {
    let place = |kind, end_us, state: &str| Record {
        kind: Some(kind),
        fan,
        end_us,
        visitor: Some(format!("visitor{fan}")),
        score: Some(fan as f64),
        place_state: Some(state.into()),
        position: Some(fan),
        told_s: Some(2.0),
        ..Record::default()
    };
    let joined = place(Kind::Join, 1_000_000, "waiting");
    let mut polled = place(Kind::Poll, 3_000_000, "waiting");
    if fan < 3 {
        polled.place_state = Some("inside".into());
        polled.position = None;
        polled.called_at = Some(format!("1970-01-01T00:00:0{}Z", fan + 1));
        polled.called_seq = Some(fan);
    }
    vec![joined, polled]
}

fn purchase(fan: u64, hold: u128, booking: u128, seats: &[u32], areas: &[(&str, u32)], total: i64) -> Vec<Record> {
    let base = Record {
        fan,
        event: Some(EVENT.into()),
        hold: Some(id(hold).to_string()),
        seats: seats.to_vec(),
        areas: areas.iter().map(|(area, quantity)| AreaLine { area: (*area).into(), quantity: *quantity }).collect(),
        total: Some(total),
        currency: Some("EUR".into()),
        end_us: 4_000_000,
        ..Record::default()
    };
    let booking = Some(id(booking).to_string());
    vec![
        Record { kind: Some(Kind::Hold), key: Some(format!("{fan}-h")), state: Some("active".into()), ..base.clone() },
        Record {
            kind: Some(Kind::Book),
            key: Some(format!("{fan}-b")),
            state: Some("held".into()),
            booking: booking.clone(),
            ..base.clone()
        },
        Record {
            kind: Some(Kind::Confirm),
            key: Some(format!("{fan}-c")),
            state: Some("confirmed".into()),
            booking,
            ..base
        },
    ]
}

fn booking(fan: u64, hold: u128, total: i64) -> BookingRow {
    let seated = hold == 11;
    BookingRow {
        owner: format!("visitor:visitor{fan}"),
        state: "confirmed".into(),
        total,
        currency: "EUR".into(),
        seats: if seated { BTreeMap::from([(4, 4_500), (5, 4_500)]) } else { BTreeMap::new() },
        areas: if seated { vec![] } else { vec![("floor".into(), 2, 2_500)] },
        payments: vec![PaymentRow {
            provider: "sandbox".into(),
            reference: format!("{}/1", hold + 10),
            state: "captured".into(),
            amount: total,
            currency: "EUR".into(),
            in_time: true,
            ..PaymentRow::default()
        }],
        tickets: 2,
    }
}

fn hold(fan: u64, seats: &[i32], areas: &[(String, i64, i16)]) -> HoldRow {
    HoldRow { owner: format!("visitor:visitor{fan}"), seats: seats.to_vec(), areas: areas.to_vec() }
}

fn seat(seat_no: i32) -> SeatRow {
    if seat_no == 4 || seat_no == 5 {
        return SeatRow { state: 3, hold: Some(id(11)), booking: Some(id(21)), blocked: false, version: 3 };
    }
    SeatRow::default()
}

fn changes() -> Vec<Change> {
    let seats = |version, op: &str, state, booking: Option<Uuid>| Change {
        version,
        op: op.into(),
        state,
        seats: vec![4, 5],
        hold: Some(id(11)),
        booking,
        ..Change::default()
    };
    let places = |version, op: &str, state, held, sold| Change {
        version,
        op: op.into(),
        state,
        areas: vec![AreaChange { area: "floor".into(), quantity: 2, capacity: 10, held, sold }],
        hold: Some(id(12)),
        ..Change::default()
    };
    vec![
        seats(1, "hold", 1, None),
        seats(2, "pend", 2, Some(id(21))),
        seats(3, "sell", 3, Some(id(21))),
        places(4, "hold", 1, 2, 0),
        places(5, "pend", 2, 2, 0),
        places(6, "sell", 3, 0, 2),
    ]
}

pub(super) fn paid(reference: &str, amount: i64) -> LedgerLine {
    LedgerLine {
        reference: reference.into(),
        currency: "EUR".into(),
        status: "captured".into(),
        amount,
        captured: amount,
        refunded: 0,
    }
}
