//! The seats of an event, and how a fan picks among the free ones.
//!
//! A plan is read once per run; a snapshot is looked at by each fan before it chooses. Both follow
//! the contract alone: seats are numbered in document order, a snapshot has two bits per seat.

use base64::Engine;
use rand::{Rng, RngExt};
use serde::Deserialize;

use crate::wire::{AreaState, SnapshotDoc};

/// Rows looked through before a fan takes any free seats.
const ROWS_TRIED: usize = 60;

/// Seats in rows, numbered in document order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    seats: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    first: u32,
    length: u32,
}

#[derive(Deserialize)]
struct PlanDoc {
    zones: Vec<ZoneDoc>,
}

#[derive(Deserialize)]
struct ZoneDoc {
    rows: Vec<RowDoc>,
}

#[derive(Deserialize)]
struct RowDoc {
    seats: Vec<SeatDoc>,
}

#[derive(Deserialize)]
struct SeatDoc {
    seat_guid: String,
}

impl Plan {
    /// Reads a seating plan.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let doc: PlanDoc = serde_json::from_slice(body)?;
        let mut plan = Self::default();
        for row in doc.zones.into_iter().flat_map(|zone| zone.rows) {
            plan.rows.push(Row { first: plan.seats.len() as u32, length: row.seats.len() as u32 });
            plan.seats.extend(row.seats.into_iter().map(|seat| seat.seat_guid));
        }
        plan.rows.retain(|row| row.length > 0);
        Ok(plan)
    }

    /// How many seats there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The name of a seat on the wire.
    pub fn seat(&self, seat_no: u32) -> Option<&str> {
        self.seats.get(seat_no as usize).map(String::as_str)
    }

    /// Free seats side by side, else any free ones, else none. The larger `herd`, the more a fan
    /// wants the first rows, which is where everybody wants to be.
    pub fn pick(&self, snapshot: &Snapshot, quantity: u32, herd: f64, rng: &mut impl Rng) -> Vec<u32> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let wish = rng.random::<f64>().powf(1.0 + herd);
        let start = ((wish * self.rows.len() as f64) as usize).min(self.rows.len() - 1);
        for row in self.rows.iter().cycle().skip(start).take(self.rows.len().min(ROWS_TRIED)) {
            if let Some(seats) = side_by_side(row, snapshot, quantity, rng) {
                return seats;
            }
        }
        self.anywhere(snapshot, quantity, rng)
    }

    fn anywhere(&self, snapshot: &Snapshot, quantity: u32, rng: &mut impl Rng) -> Vec<u32> {
        let count = self.seats.len() as u32;
        let start = rng.random_range(0..count);
        (0..count)
            .map(|offset| (start + offset) % count)
            .filter(|seat_no| snapshot.is_free(*seat_no))
            .take(quantity as usize)
            .collect()
    }
}

/// A free run of the row that is long enough, starting the search anywhere in the row.
fn side_by_side(row: &Row, snapshot: &Snapshot, quantity: u32, rng: &mut impl Rng) -> Option<Vec<u32>> {
    let starts = row.length.checked_sub(quantity)? + 1;
    let offset = rng.random_range(0..starts);
    (0..starts)
        .map(|step| row.first + (offset + step) % starts)
        .find(|first| (*first..first + quantity).all(|seat_no| snapshot.is_free(seat_no)))
        .map(|first| (first..first + quantity).collect())
}

/// What is free at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    bits: Vec<u8>,
    /// The areas.
    pub areas: Vec<AreaState>,
}

impl Snapshot {
    /// Reads a snapshot; `None` when it is not one.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let doc: SnapshotDoc = serde_json::from_slice(body).ok()?;
        let bits = base64::engine::general_purpose::STANDARD.decode(&doc.seats).ok()?;
        Some(Self { bits, areas: doc.areas })
    }

    /// State of a seat: 0 free, 1 held, 2 pending, 3 sold; `None` beyond the last byte.
    pub fn state(&self, seat_no: u32) -> Option<u8> {
        let byte = self.bits.get(seat_no as usize / 4)?;
        Some((byte >> (2 * (seat_no % 4))) & 0b11)
    }

    /// Whether a seat is free.
    pub fn is_free(&self, seat_no: u32) -> bool {
        self.state(seat_no) == Some(0)
    }

    /// An area with room for so many, drawn by what is left.
    pub fn area_with(&self, wanted: &[String], quantity: u32, rng: &mut impl Rng) -> Option<String> {
        let left = |area: &AreaState| area.capacity.saturating_sub(area.held + area.sold);
        let open: Vec<&AreaState> = self
            .areas
            .iter()
            .filter(|area| wanted.is_empty() || wanted.contains(&area.area))
            .filter(|area| left(area) >= quantity)
            .collect();
        let total: u32 = open.iter().map(|area| left(area)).sum();
        let mut at = rng.random_range(0..total.max(1));
        for area in open {
            if at < left(area) {
                return Some(area.area.clone());
            }
            at -= left(area);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    fn plan(rows: usize, seats: usize) -> Plan {
        let rows: Vec<_> = (0..rows)
            .map(|r| {
                let seats: Vec<_> =
                    (0..seats).map(|s| serde_json::json!({ "seat_guid": format!("A-{r}-{s}") })).collect();
                serde_json::json!({ "seats": seats })
            })
            .collect();
        let body = serde_json::json!({ "name": "p", "zones": [{ "rows": rows }] });
        Plan::parse(body.to_string().as_bytes()).expect("a plan")
    }

    fn snapshot(states: &[u8]) -> Snapshot {
        let mut bits = vec![0u8; states.len().div_ceil(4)];
        for (seat, state) in states.iter().enumerate() {
            bits[seat / 4] |= state << (2 * (seat % 4));
        }
        Snapshot { bits, areas: vec![] }
    }

    #[test]
    fn two_bits_per_seat_lowest_first() {
        let body = serde_json::json!({ "version": 3, "seats": base64::engine::general_purpose::STANDARD.encode([0b1110_0100u8, 0b01]), "areas": [] });
        let snapshot = Snapshot::parse(body.to_string().as_bytes()).expect("a snapshot");
        let states: Vec<_> = (0..5).map(|seat_no| snapshot.state(seat_no)).collect();
        assert_eq!(states, [Some(0), Some(1), Some(2), Some(3), Some(1)]);
        assert_eq!(snapshot.state(8), None);
        assert_eq!(Snapshot::parse(b"{\"seats\":\"?\"}"), None);
    }

    #[test]
    fn picks_free_neighbours_of_one_row() {
        let plan = plan(3, 4);
        assert_eq!((plan.len(), plan.seat(5)), (12, Some("A-1-1")));
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let only = snapshot(&[1, 1, 1, 1, 3, 0, 0, 3, 2, 2, 2, 2]);
        for _ in 0..50 {
            assert_eq!(plan.pick(&only, 2, 1.5, &mut rng), [5, 6]);
        }
        let scattered = snapshot(&[0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
        let mut picked = plan.pick(&scattered, 2, 0.0, &mut rng);
        picked.sort_unstable();
        assert_eq!(picked, [0, 3]);
        assert!(plan.pick(&snapshot(&[1; 12]), 1, 0.0, &mut rng).is_empty());
        assert_eq!(plan.pick(&snapshot(&[0; 12]), 7, 0.0, &mut rng).len(), 7);
    }

    #[test]
    fn a_herd_crowds_to_the_front() {
        let plan = plan(100, 20);
        let free = snapshot(&[0; 2_000]);
        let mean = |herd: f64| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
            (0..500).map(|_| f64::from(plan.pick(&free, 1, herd, &mut rng)[0])).sum::<f64>() / 500.0
        };
        assert!(mean(3.0) < 0.6 * mean(0.0));
    }

    #[test]
    fn areas_with_room() {
        let area = |name: &str, capacity, held, sold| AreaState { area: name.into(), capacity, held, sold };
        let snapshot =
            Snapshot { bits: vec![], areas: vec![area("a", 10, 4, 5), area("b", 10, 0, 0), area("c", 2, 0, 2)] };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for _ in 0..20 {
            assert_eq!(snapshot.area_with(&[], 2, &mut rng).as_deref(), Some("b"));
        }
        assert_eq!(snapshot.area_with(&["a".into()], 1, &mut rng).as_deref(), Some("a"));
        assert_eq!(snapshot.area_with(&["c".into()], 1, &mut rng), None);
    }
}
