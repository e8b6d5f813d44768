//! Invariant 1: no seat is sold twice, by what fans were told and by what Postgres holds.

use std::collections::HashMap;

use sqlx::types::Uuid;

use super::books::{Books, EventBook, SeatRow};
use super::facts::Facts;
use super::finding::Finding;

const SOLD: i16 = 3;

/// Checks seats in history, tables and their changes.
pub(super) fn check(facts: &Facts, books: &Books) -> Finding {
    let mut finding = Finding::new("no seat sold twice");
    let (mut seats, mut sold, mut changes) = (0, 0, 0);
    for text in &facts.double_sales {
        finding.breach(|| text.clone());
    }
    for (event, book) in &books.events {
        seats += book.seats.len();
        sold += book.seats.values().filter(|seat| is_sold(seat)).count();
        changes += book.replay.changes as usize;
        check_bookings(&mut finding, event, book);
        check_rows(&mut finding, event, book);
        for text in &book.replay.seat_breaches.shown {
            finding.breach(|| format!("{event}: {text}"));
        }
        // What was not kept as text counts too.
        finding.broken_count += book.replay.seat_breaches.count - book.replay.seat_breaches.shown.len() as u64;
    }
    finding.checked("seats", seats);
    finding.checked("sold", sold);
    finding.checked("acknowledged as sold", facts.seats_sold());
    finding.checked("changes replayed", changes);
    finding
}

/// Each seat of a confirmed booking is in no other one, and its row says so.
fn check_bookings(finding: &mut Finding, event: &str, book: &EventBook) {
    let mut owners: HashMap<i32, &Uuid> = HashMap::new();
    for (id, booking) in book.bookings.iter().filter(|(_, booking)| booking.is_confirmed()) {
        for seat_no in booking.seats.keys() {
            if let Some(other) = owners.insert(*seat_no, id) {
                finding.breach(|| format!("{event}: seat {seat_no} is in the confirmed bookings {other} and {id}"));
            }
            let row = book.seats.get(seat_no);
            if !row.is_some_and(|row| is_sold(row) && row.booking == Some(*id)) {
                finding.breach(|| format!("{event}: seat {seat_no} of confirmed booking {id} is {row:?}"));
            }
        }
    }
}

const fn is_sold(seat: &SeatRow) -> bool {
    seat.state == SOLD && !seat.blocked
}

/// Each sold row belongs to a confirmed booking that has it.
fn check_rows(finding: &mut Finding, event: &str, book: &EventBook) {
    for (seat_no, row) in book.seats.iter().filter(|(_, row)| is_sold(row)) {
        let booking = row.booking.and_then(|id| book.bookings.get(&id));
        if !booking.is_some_and(|booking| booking.is_confirmed() && booking.seats.contains_key(seat_no)) {
            finding.breach(|| {
                format!("{event}: seat {seat_no} is sold to {:?}, which is no confirmed booking of it", row.booking)
            });
        }
    }
}
