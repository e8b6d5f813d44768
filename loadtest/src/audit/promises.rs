//! Invariant 3: what was acknowledged to a fan is in the books, exactly; what was refused is not.

use std::collections::BTreeMap;

use super::books::{BookingRow, Books};
use super::facts::{AckedBooking, Facts};
use super::finding::Finding;

/// States a booking can be in after it was confirmed.
const AFTER_CONFIRMED: [&str; 3] = ["confirmed", "cancelled", "refunded"];

/// Checks holds, bookings and payments of the history against the books.
pub(super) fn check(facts: &Facts, books: &Books) -> Finding {
    let mut finding = Finding::new("acknowledged is kept");
    for text in &facts.changed_bookings {
        finding.breach(|| text.clone());
    }
    check_holds(&mut finding, facts, books);
    for (id, acked) in &facts.bookings {
        match books.booking(&acked.event, id) {
            None => finding.breach(|| format!("booking {id} of fan {} was confirmed and does not exist", acked.fan)),
            Some(row) => {
                if let Some(fault) = difference(acked, row) {
                    finding.breach(|| format!("booking {id} of fan {}: {fault}", acked.fan));
                }
            }
        }
    }
    check_refused(&mut finding, facts, books);
    finding.checked("holds", facts.holds.len());
    finding.checked("bookings", facts.bookings.len());
    finding.checked("bookings with payments", facts.payments.len());
    finding
}

fn check_holds(finding: &mut Finding, facts: &Facts, books: &Books) {
    for (id, acked) in &facts.holds {
        let Some(row) = books.hold(&acked.event, id) else {
            finding.breach(|| format!("hold {id} of fan {} was acknowledged and does not exist", acked.fan));
            continue;
        };
        let mut seats: Vec<i64> = row.seats.iter().map(|seat_no| i64::from(*seat_no)).collect();
        seats.sort_unstable();
        if !seats.iter().copied().eq(acked.seats.iter().map(|seat_no| i64::from(*seat_no))) {
            finding.breach(|| {
                format!("hold {id} of fan {} has seats {seats:?}, acknowledged {:?}", acked.fan, acked.seats)
            });
        }
        let places: BTreeMap<&str, i64> =
            row.areas.iter().map(|(area, quantity, _)| (area.as_str(), *quantity)).collect();
        if !same_places(&places, &acked.areas) {
            finding.breach(|| {
                format!("hold {id} of fan {} has places {places:?}, acknowledged {:?}", acked.fan, acked.areas)
            });
        }
    }
}

/// A booking whose every payment was refused with certainty is not sold.
fn check_refused(finding: &mut Finding, facts: &Facts, books: &Books) {
    for (event, id, row) in books.bookings().filter(|(_, _, row)| row.is_confirmed()) {
        let Some(attempts) = facts.payments.get(id) else { continue };
        // Money that came after its attempt was given up, as the answer said that it may.
        if row.payments.iter().any(|payment| payment.late && payment.state == "captured") {
            finding.note(format!("booking {id} of {} was bought by late money", row.owner));
            continue;
        }
        if attempts.taken == 0 && attempts.unknown == 0 {
            finding.breach(|| {
                format!("{event}: booking {id} is confirmed, all its {} payments were refused", attempts.refused)
            });
        }
        if attempts.taken == 0 && attempts.unknown > 0 {
            finding.note(format!("booking {id} of {} was confirmed by an attempt without an answer", row.owner));
        }
    }
}

fn difference(acked: &AckedBooking, row: &BookingRow) -> Option<String> {
    if !AFTER_CONFIRMED.contains(&row.state.as_str()) {
        return Some(format!("was confirmed, is {}", row.state));
    }
    if !row.seats.keys().map(|seat_no| i64::from(*seat_no)).eq(acked.seats.iter().map(|seat_no| i64::from(*seat_no))) {
        return Some(format!("has seats {:?}, confirmed with {:?}", row.seats.keys().collect::<Vec<_>>(), acked.seats));
    }
    let places: BTreeMap<&str, i64> = row.areas.iter().map(|(area, quantity, _)| (area.as_str(), *quantity)).collect();
    if !same_places(&places, &acked.areas) {
        return Some(format!("has places {places:?}, confirmed with {:?}", acked.areas));
    }
    if acked.total.is_some_and(|total| total != row.total) {
        return Some(format!("costs {}, confirmed with {:?}", row.total, acked.total));
    }
    if acked.currency.as_deref().is_some_and(|currency| currency != row.currency) {
        return Some(format!("is in {}, confirmed in {:?}", row.currency, acked.currency));
    }
    None
}

fn same_places(row: &BTreeMap<&str, i64>, acked: &BTreeMap<Box<str>, u32>) -> bool {
    row.len() == acked.len()
        && row.iter().zip(acked).all(|((area, quantity), (acked_area, acked_quantity))| {
            **area == **acked_area && *quantity == i64::from(*acked_quantity)
        })
}
