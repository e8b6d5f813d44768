//! Invariant 2: areas are never oversold, and their counters are the sums of what is held and sold.

use std::collections::BTreeMap;

use super::books::{AreaRow, Books, EventBook};
use super::finding::Finding;

/// Checks all areas.
pub(super) fn check(books: &Books) -> Finding {
    let mut finding = Finding::new("no area oversold");
    let (mut areas, mut sold) = (0, 0);
    for (event, book) in &books.events {
        areas += book.areas.len();
        sold += book.areas.values().map(|area| area.sold as usize).sum::<usize>();
        check_event(&mut finding, event, book);
        for text in &book.replay.area_breaches.shown {
            finding.breach(|| format!("{event}: {text}"));
        }
        finding.broken_count += book.replay.area_breaches.count - book.replay.area_breaches.shown.len() as u64;
    }
    finding.checked("areas", areas);
    finding.checked("places sold", sold);
    finding
}

fn check_event(finding: &mut Finding, event: &str, book: &EventBook) {
    let held = sums_of_holds(book);
    let sold = sums_of_bookings(book);
    for (area, row) in &book.areas {
        if row.held + row.pending + row.sold > row.capacity || row.held < 0 || row.pending < 0 || row.sold < 0 {
            finding.breach(|| format!("{event}: area {area} is overfull or below zero: {row:?}"));
        }
        let counted = held.get(area.as_str()).copied().unwrap_or_default();
        if (counted.held, counted.pending, counted.sold) != (row.held, row.pending, row.sold) {
            finding.breach(|| format!("{event}: area {area} counts {row:?}, its holds come to {counted:?}"));
        }
        let booked = sold.get(area.as_str()).copied().unwrap_or_default();
        if booked != row.sold {
            finding
                .breach(|| format!("{event}: area {area} counts {} sold, confirmed bookings have {booked}", row.sold));
        }
    }
}

fn sums_of_holds(book: &EventBook) -> BTreeMap<&str, AreaRow> {
    let mut sums: BTreeMap<&str, AreaRow> = BTreeMap::new();
    for (area, quantity, state) in book.holds.values().flat_map(|hold| &hold.areas) {
        let sum = sums.entry(area).or_default();
        match state {
            1 => sum.held += quantity,
            2 => sum.pending += quantity,
            3 => sum.sold += quantity,
            _ => {}
        }
    }
    sums
}

fn sums_of_bookings(book: &EventBook) -> BTreeMap<&str, i64> {
    let mut sums = BTreeMap::new();
    for (area, quantity, _) in book.bookings.values().filter(|b| b.is_confirmed()).flat_map(|b| &b.areas) {
        *sums.entry(area.as_str()).or_default() += quantity;
    }
    sums
}
