//! Replays the history of seats and areas of one event, change by change, and keeps what does not
//! fit: gaps in the versions, transitions that the state machine does not have, areas overfull on
//! the way although full again at the end.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::types::Uuid;

use super::books::{AreaRow, SeatRow};

/// Breaches kept as text.
const KEPT: usize = 20;

/// One committed change.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Change {
    pub(super) version: i64,
    pub(super) op: String,
    pub(super) state: i16,
    pub(super) seats: Vec<i32>,
    pub(super) areas: Vec<AreaChange>,
    pub(super) hold: Option<Uuid>,
    pub(super) booking: Option<Uuid>,
}

/// What a change did to an area: the counters are those after it, `held` with the pending ones.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct AreaChange {
    pub(super) area: String,
    pub(super) quantity: i64,
    pub(super) capacity: i64,
    pub(super) held: i64,
    pub(super) sold: i64,
}

/// The state that the changes lead to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Replay {
    pub(super) changes: u64,
    version: i64,
    seats: BTreeMap<i32, SeatRow>,
    areas: BTreeMap<String, (i64, i64)>,
    pub(super) seat_breaches: Breaches,
    pub(super) area_breaches: Breaches,
}

/// Breaches, the first as text, all counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Breaches {
    pub(super) shown: Vec<String>,
    pub(super) count: u64,
}

impl Breaches {
    fn add(&mut self, text: String) {
        self.count += 1;
        if self.shown.len() < KEPT {
            self.shown.push(text);
        }
    }
}

/// From which state to which an operation may move a seat.
fn moves(op: &str) -> Option<(i16, &'static [i16])> {
    Some(match op {
        "hold" => (0, &[1]),
        "release" | "expire" => (1, &[0]),
        "pend" => (1, &[2]),
        // A payment that failed gives the hold back its time, or frees what has none left.
        "unpend" => (2, &[1, 0]),
        "sell" => (2, &[3]),
        "cancel" => (3, &[0]),
        "extend" => (1, &[1]),
        // What an organiser does. A blocked seat is in the state of a sold one; prices and capacities move no seat.
        "block" => (0, &[3]),
        "unblock" => (3, &[0]),
        "reprice" | "enlarge" => (0, &[0]),
        _ => return None,
    })
}

impl Replay {
    /// Takes in the next change in the order of versions.
    pub(super) fn apply(&mut self, change: &Change) {
        self.changes += 1;
        if change.version != self.version + 1 {
            self.seat_breaches.add(format!("version {} follows version {}", change.version, self.version));
        }
        self.version = change.version;
        let Some((from, to)) = moves(&change.op) else {
            self.seat_breaches.add(format!("version {}: unknown operation `{}`", change.version, change.op));
            return;
        };
        if !to.contains(&change.state) {
            self.seat_breaches
                .add(format!("version {}: `{}` leads to state {}", change.version, change.op, change.state));
        }
        for &seat_no in &change.seats {
            self.move_seat(change, from, seat_no);
        }
        for area in &change.areas {
            self.move_area(change, area);
        }
    }

    fn move_seat(&mut self, change: &Change, from: i16, seat_no: i32) {
        let seat = self.seats.entry(seat_no).or_default();
        let at = format!("version {}: `{}` of seat {seat_no}", change.version, change.op);
        if seat.state != from {
            self.seat_breaches.add(format!("{at} finds it in state {}, not {from}", seat.state));
        }
        if from != 0 && seat.hold != change.hold {
            self.seat_breaches.add(format!("{at} names hold {:?}, the seat is with {:?}", change.hold, seat.hold));
        }
        *seat = SeatRow {
            state: change.state,
            hold: change.hold.filter(|_| change.state != 0),
            booking: change.booking.filter(|_| change.state >= 2),
            blocked: change.op == "block",
            version: change.version,
        };
    }

    fn move_area(&mut self, change: &Change, area: &AreaChange) {
        let at = format!("version {}: area {}", change.version, area.area);
        let (held, sold) = self.areas.get(&area.area).copied().unwrap_or_default();
        let q = area.quantity;
        let (held, sold) = match (change.op.as_str(), change.state) {
            ("hold", _) => (held + q, sold),
            ("release" | "expire", _) | ("unpend", 0) => (held - q, sold),
            ("sell", _) => (held - q, sold + q),
            ("cancel", _) => (held, sold - q),
            _ => (held, sold),
        };
        if (held, sold) != (area.held, area.sold) {
            self.area_breaches.add(format!(
                "{at}: `{}` of {q} should lead to {held} held and {sold} sold, it says {} and {}",
                change.op, area.held, area.sold
            ));
        }
        if area.held + area.sold > area.capacity || area.held < 0 || area.sold < 0 {
            self.area_breaches.add(format!("{at}: {} held and {} sold of {}", area.held, area.sold, area.capacity));
        }
        self.areas.insert(area.area.clone(), (area.held, area.sold));
    }

    /// Compares the end of the replay with the tables.
    pub(super) fn finish(&mut self, version: i64, seats: &BTreeMap<i32, SeatRow>, areas: &BTreeMap<String, AreaRow>) {
        if self.version != version {
            self.seat_breaches.add(format!("the last change has version {}, the event has {version}", self.version));
        }
        for (seat_no, row) in seats {
            let replayed = self.seats.get(seat_no).copied().unwrap_or_default();
            if replayed != *row {
                self.seat_breaches.add(format!("seat {seat_no} is {row:?}, its changes lead to {replayed:?}"));
            }
        }
        for seat_no in self.seats.keys().filter(|seat_no| !seats.contains_key(seat_no)) {
            self.seat_breaches.add(format!("seat {seat_no} has changes but no row"));
        }
        for (area, row) in areas {
            let replayed = self.areas.get(area).copied().unwrap_or_default();
            if replayed != (row.held + row.pending, row.sold) {
                self.area_breaches
                    .add(format!("area {area} is {row:?}, its changes lead to {replayed:?} held and sold"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(n: u128) -> Option<Uuid> {
        Some(Uuid::from_u128(n))
    }

    fn change(version: i64, op: &str, state: i16, who: u128) -> Change {
        let booking = hold(who + 100).filter(|_| state >= 2);
        Change { version, op: op.into(), state, seats: vec![7], hold: hold(who), booking, ..Change::default() }
    }

    fn replayed(changes: &[Change]) -> Replay {
        let mut replay = Replay::default();
        for change in changes {
            replay.apply(change);
        }
        replay
    }

    #[test]
    fn a_whole_life_is_clean() {
        let mut replay = replayed(&[
            change(1, "hold", 1, 1),
            change(2, "expire", 0, 1),
            change(3, "hold", 1, 2),
            change(4, "pend", 2, 2),
            change(5, "unpend", 1, 2),
            change(6, "pend", 2, 2),
            change(7, "sell", 3, 2),
        ]);
        let row = SeatRow { state: 3, hold: hold(2), booking: hold(102), blocked: false, version: 7 };
        replay.finish(7, &BTreeMap::from([(7, row)]), &BTreeMap::new());
        assert_eq!(replay.seat_breaches, Breaches::default());
    }

    #[test]
    fn each_fault_is_found() {
        let faults: [(&str, Vec<Change>); 5] = [
            ("gap", vec![change(1, "hold", 1, 1), change(3, "pend", 2, 1)]),
            ("double hold", vec![change(1, "hold", 1, 1), change(2, "hold", 1, 2)]),
            ("sold from held", vec![change(1, "hold", 1, 1), change(2, "sell", 3, 1)]),
            ("another's hold", vec![change(1, "hold", 1, 1), change(2, "pend", 2, 2)]),
            ("unknown operation", vec![change(1, "steal", 3, 1)]),
        ];
        for (name, changes) in faults {
            assert!(replayed(&changes).seat_breaches.count > 0, "{name}");
        }
        let mut short = replayed(&[change(1, "hold", 1, 1)]);
        short.finish(2, &BTreeMap::from([(7, SeatRow::default())]), &BTreeMap::new());
        assert_eq!(short.seat_breaches.count, 2, "version and row");
    }

    fn by_organiser(version: i64, op: &str, state: i16) -> Change {
        Change { version, op: op.into(), state, seats: vec![7], ..Change::default() }
    }

    #[test]
    fn blocked_seats_are_told_from_sold_ones() {
        let blocked = [by_organiser(1, "block", 3), by_organiser(2, "unblock", 0), by_organiser(3, "block", 3)];
        let mut clean = replayed(&blocked);
        let row = SeatRow { state: 3, blocked: true, version: 3, ..SeatRow::default() };
        clean.finish(3, &BTreeMap::from([(7, row)]), &BTreeMap::new());
        assert_eq!(clean.seat_breaches, Breaches::default());
        let mut sold = replayed(&blocked);
        sold.finish(3, &BTreeMap::from([(7, SeatRow { blocked: false, ..row })]), &BTreeMap::new());
        assert_eq!(sold.seat_breaches.count, 1, "the row says that it is sold");
        let held = replayed(&[change(1, "hold", 1, 1), by_organiser(2, "block", 3)]);
        assert_eq!(held.seat_breaches.count, 1, "a held seat was blocked");
        let life = ["hold", "pend", "sell"].into_iter().zip(1i16..);
        let mut life: Vec<Change> = life.map(|(op, step)| change(step.into(), op, step, 1)).collect();
        life.push(by_organiser(4, "unblock", 0));
        assert_eq!(replayed(&life).seat_breaches.count, 1, "a sold seat was put back");
    }

    fn places(version: i64, op: &str, state: i16, held: i64, sold: i64) -> Change {
        let area = AreaChange { area: "floor".into(), quantity: 2, capacity: 4, held, sold };
        Change { version, op: op.into(), state, areas: vec![area], hold: hold(1), ..Change::default() }
    }

    #[test]
    fn areas_are_counted_at_each_step() {
        let mut clean = replayed(&[
            places(1, "hold", 1, 2, 0),
            places(2, "pend", 2, 2, 0),
            places(3, "sell", 3, 0, 2),
            places(4, "hold", 1, 2, 2),
            places(5, "release", 0, 0, 2),
        ]);
        let row = AreaRow { capacity: 4, held: 0, pending: 0, sold: 2 };
        clean.finish(5, &BTreeMap::new(), &BTreeMap::from([("floor".into(), row)]));
        assert_eq!((clean.area_breaches.count, clean.seat_breaches.count), (0, 0));
        let over = replayed(&[places(1, "hold", 1, 2, 0), places(2, "hold", 1, 4, 0), places(3, "hold", 1, 6, 0)]);
        assert_eq!(over.area_breaches.count, 1);
        let lost = replayed(&[places(1, "hold", 1, 2, 0), places(2, "release", 0, 1, 0)]);
        assert_eq!(lost.area_breaches.count, 1);
        let mut end = replayed(&[places(1, "hold", 1, 2, 0)]);
        end.finish(
            1,
            &BTreeMap::new(),
            &BTreeMap::from([("floor".into(), AreaRow { capacity: 4, ..AreaRow::default() })]),
        );
        assert_eq!(end.area_breaches.count, 1);
    }
}
