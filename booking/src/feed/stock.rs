//! What there is of an event at one version.

use std::sync::OnceLock;

use booking_domain::{PackedSeats, SeatState};
use bytes::Bytes;
use serde::Serialize;

use crate::error::Error;
use crate::storage::areas::AreaCounts;
use crate::storage::changes::Entry;
use crate::storage::history::{AreaChange, Mark};

/// What there is of an area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AreaStock {
    /// Its id.
    pub area: String,
    /// How many fit in.
    pub capacity: i32,
    /// How many are held or being paid for.
    pub held: i32,
    /// How many are sold.
    pub sold: i32,
}

impl From<AreaCounts> for AreaStock {
    fn from(counts: AreaCounts) -> Self {
        let AreaCounts { area, capacity, held, pending, sold } = counts;
        Self { area, capacity, held: held + pending, sold }
    }
}

impl From<AreaChange> for AreaStock {
    fn from(change: AreaChange) -> Self {
        let AreaChange { area, capacity, held, sold, .. } = change;
        Self { area, capacity, held, sold }
    }
}

/// All states of an event at one version.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The event's version.
    pub version: i64,
    /// That version's mark.
    pub(super) mark: Mark,
    /// Its seats; a blocked seat counts as sold.
    pub seats: PackedSeats,
    /// Its areas.
    pub areas: Vec<AreaStock>,
    encoded: OnceLock<Bytes>,
}

impl Snapshot {
    /// The states at a version.
    #[must_use]
    pub const fn new(version: i64, mark: Mark, seats: PackedSeats, areas: Vec<AreaStock>) -> Self {
        Self { version, mark, seats, areas, encoded: OnceLock::new() }
    }

    /// Its entity tag. The version alone would not do: a database that lost commits gives it to other states.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("\"{}-{}\"", self.version, self.mark)
    }

    /// The snapshot as it is sent: written by whoever asks first, and the same bytes for all others.
    pub fn encoded(&self, write: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| write(self)).clone()
    }

    /// Takes in the next change.
    ///
    /// # Errors
    /// A defect when the change does not follow, or names what is not there.
    pub(super) fn advance(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.version != self.version + 1 {
            return Err(Error::defect(format!("version {} follows version {}", entry.version, self.version)));
        }
        self.encoded.take();
        (self.version, self.mark) = (entry.version, entry.mark);
        for seat_no in &entry.seats {
            self.set(*seat_no, entry.state)?;
        }
        for area in &entry.areas {
            if let Some(known) = self.areas.iter_mut().find(|known| known.area == area.area) {
                *known = area.clone().into();
            }
        }
        Ok(())
    }

    fn set(&mut self, seat_no: i32, state: SeatState) -> Result<(), Error> {
        let set = usize::try_from(seat_no).is_ok_and(|seat_no| self.seats.set(seat_no, state));
        if set { Ok(()) } else { Err(Error::defect(format!("the history names seat {seat_no}, which is not there"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: i64, state: SeatState, seats: &[i32]) -> Entry {
        Entry { version, mark: Mark::default(), state, seats: seats.to_vec(), areas: Vec::new(), terms: false }
    }

    #[test]
    fn a_mirror_follows_the_history() {
        let mut mirror = Snapshot::new(3, Mark::default(), PackedSeats::free(4), Vec::new());
        mirror.advance(&entry(4, SeatState::Held, &[0, 3])).unwrap();
        mirror.advance(&entry(5, SeatState::Sold, &[3])).unwrap();
        assert_eq!((mirror.version, mirror.seats.bytes()), (5, &[0b1100_0001u8][..]));
        assert!(mirror.advance(&entry(7, SeatState::Held, &[1])).is_err(), "a gap");
        assert!(mirror.advance(&entry(6, SeatState::Held, &[4])).is_err(), "beyond the plan");
    }

    #[test]
    fn a_snapshot_is_written_once_per_version() {
        let mut mirror = Snapshot::new(0, Mark::default(), PackedSeats::free(4), Vec::new());
        let write = |snapshot: &Snapshot| Bytes::from(snapshot.version.to_string());
        assert_eq!(mirror.encoded(write), "0");
        assert_eq!(mirror.encoded(|_| panic!("written twice")), "0");
        mirror.advance(&entry(1, SeatState::Held, &[0])).unwrap();
        assert_eq!(mirror.encoded(write), "1");
    }
}
