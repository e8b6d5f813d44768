//! Invariant 8: one idempotency key, one effect: no key was answered with two, and nobody has more
//! holds or bookings in the books than keys that may have made them.

use std::collections::HashMap;

use super::books::Books;
use super::facts::Facts;
use super::finding::Finding;
use crate::history::Kind;

/// Checks keys and what they can have done.
pub(super) fn check(facts: &Facts, books: &Books) -> Finding {
    let mut finding = Finding::new("one key, one effect");
    for (key, trace) in &facts.keys {
        if let Some(other) = &trace.other {
            finding.breach(|| {
                format!("key {key} of fan {} ({}) made {:?} and {other}", trace.fan, trace.kind.name(), trace.effect)
            });
        }
    }
    let repeated = facts.keys.values().filter(|trace| trace.attempts > 1).count();
    finding.checked("keys", facts.keys.len());
    finding.checked("sent more than once", repeated);
    check_counts(&mut finding, facts, books);
    finding
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    holds: usize,
    bookings: usize,
}

fn check_counts(finding: &mut Finding, facts: &Facts, books: &Books) {
    // Where nothing guards the event, an owner is a buyer whose id the history does not know.
    let mut possible: HashMap<String, Counts> = HashMap::new();
    for trace in facts.keys.values().filter(|trace| trace.possible) {
        let Some(visitor) = facts.fans.get(&trace.fan).and_then(|fan| fan.visitor.as_deref()) else { continue };
        let counts = possible.entry(format!("visitor:{visitor}")).or_default();
        match trace.kind {
            Kind::Hold => counts.holds += 1,
            Kind::Book => counts.bookings += 1,
            _ => {}
        }
    }
    let mut found: HashMap<&str, Counts> = HashMap::new();
    for book in books.events.values() {
        for hold in book.holds.values() {
            found.entry(&hold.owner).or_default().holds += 1;
        }
        for booking in book.bookings.values() {
            found.entry(&booking.owner).or_default().bookings += 1;
        }
    }
    for (owner, most) in &possible {
        let is = found.get(owner.as_str()).copied().unwrap_or_default();
        if is.holds > most.holds || is.bookings > most.bookings {
            finding.breach(|| format!("{owner} has {is:?} by keys that can have made {most:?}"));
        }
    }
    finding.checked("visitors compared with the books", possible.len());
}
