//! What Postgres holds, event by event, in the audit's own words.

use std::collections::{BTreeMap, HashMap};

use sqlx::types::Uuid;

use super::replay::Replay;

/// All events.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) events: BTreeMap<String, EventBook>,
}

/// One event.
#[derive(Debug, Default)]
pub(super) struct EventBook {
    pub(super) version: i64,
    pub(super) seats: BTreeMap<i32, SeatRow>,
    pub(super) areas: BTreeMap<String, AreaRow>,
    pub(super) holds: HashMap<Uuid, HoldRow>,
    pub(super) bookings: HashMap<Uuid, BookingRow>,
    /// The replayed changes.
    pub(super) replay: Replay,
}

/// A seat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SeatRow {
    pub(super) state: i16,
    pub(super) hold: Option<Uuid>,
    pub(super) booking: Option<Uuid>,
    /// Taken out of the sale by an organiser: in the state of a sold seat, and nobody's.
    pub(super) blocked: bool,
    pub(super) version: i64,
}

/// An area's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AreaRow {
    pub(super) capacity: i64,
    pub(super) held: i64,
    pub(super) pending: i64,
    pub(super) sold: i64,
}

/// A hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HoldRow {
    pub(super) owner: String,
    pub(super) seats: Vec<i32>,
    /// Area, quantity, and as what the area counts it.
    pub(super) areas: Vec<(String, i64, i16)>,
}

/// A booking.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct BookingRow {
    pub(super) owner: String,
    pub(super) state: String,
    pub(super) total: i64,
    pub(super) currency: String,
    /// Seats with their price.
    pub(super) seats: BTreeMap<i32, i64>,
    /// Area, quantity, price of one place.
    pub(super) areas: Vec<(String, i64, i64)>,
    pub(super) payments: Vec<PaymentRow>,
    /// Tickets that open the door.
    pub(super) tickets: i64,
}

/// One attempt to pay.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PaymentRow {
    pub(super) provider: String,
    pub(super) reference: String,
    pub(super) state: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    /// What goes back of it, by all refunds that were decided.
    pub(super) refund_due: i64,
    /// What of that has gone back.
    pub(super) refunded: i64,
    /// Whether it came after it was given up, and was tried on the places all the same.
    pub(super) late: bool,
    /// Whether its deadline is still to come.
    pub(super) in_time: bool,
}

impl PaymentRow {
    /// What the organiser keeps of money that was taken for a booking: all of a sale but its refunds, the policy's
    /// share of one that was cancelled, and nothing otherwise.
    pub(super) fn kept(&self, booking: &BookingRow) -> i64 {
        let sold = matches!(booking.state.as_str(), "confirmed" | "cancelled" | "refunded");
        if sold && self.state == "captured" { self.amount - self.refund_due } else { 0 }
    }
}

impl BookingRow {
    /// Whether the fan has paid and keeps its seats.
    pub(super) fn is_confirmed(&self) -> bool {
        self.state == "confirmed"
    }

    /// Seats and places of it.
    pub(super) fn entries(&self) -> i64 {
        self.seats.len() as i64 + self.areas.iter().map(|(_, quantity, _)| quantity).sum::<i64>()
    }

    /// Prices of all its lines.
    pub(super) fn sum(&self) -> i64 {
        self.seats.values().sum::<i64>() + self.areas.iter().map(|(_, quantity, price)| quantity * price).sum::<i64>()
    }
}

impl Books {
    /// All bookings with their event.
    pub(super) fn bookings(&self) -> impl Iterator<Item = (&str, &Uuid, &BookingRow)> {
        self.events
            .iter()
            .flat_map(|(event, book)| book.bookings.iter().map(move |(id, booking)| (event.as_str(), id, booking)))
    }

    /// A booking by its id alone.
    pub(super) fn booking(&self, event: &str, id: &Uuid) -> Option<&BookingRow> {
        self.events.get(event)?.bookings.get(id)
    }

    /// A hold.
    pub(super) fn hold(&self, event: &str, id: &Uuid) -> Option<&HoldRow> {
        self.events.get(event)?.holds.get(id)
    }
}
