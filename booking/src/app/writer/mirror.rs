//! What the writer knows of an event's seats: a copy of the table at one version, kept up to date by the history.
//!
//! Invariants:
//! * It is the table at `version`, no more and no less, or it is read anew.
//! * A seat is in stock when it is free, or held by a hold that has lapsed by the database's clock at `now`, and not
//!   claimed for the batch that is under way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use booking_domain::SeatState;
use booking_domain::best::{Hall, Stock};
use jiff::Timestamp;

use crate::error::{Error, Moment};
use crate::events::Seated;
use crate::storage::history::Mark;
use crate::storage::hold_batch::SeatsChanged;
use crate::storage::mirror::SeatTable;

/// Ends of holds that are over anyway are forgotten when there are so many times more of them than seats.
const STALE_ENDS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Seat {
    state: SeatState,
    /// Until when it is held or pending.
    until_us: i64,
}

/// The seats at one version and one moment of the database's clock.
#[derive(Debug)]
pub(super) struct Mirror {
    version: i64,
    /// The version's mark: tells whether the history that it followed is still the database's.
    mark: Mark,
    now: Timestamp,
    seats: Vec<Seat>,
    /// The ends of holds to come, and some that are over.
    ends: BinaryHeap<Reverse<(i64, i32)>>,
    seated: Option<(Arc<Seated>, Stock)>,
    claimed: Vec<i32>,
}

impl Mirror {
    /// From the whole table.
    pub(super) fn of(table: &SeatTable, seated: Option<Arc<Seated>>) -> Result<Self, Error> {
        let seats = table.states.iter().zip(&table.until_us).map(|(state, until_us)| {
            let state = u8::try_from(*state).ok().and_then(SeatState::from_code);
            let state = state.ok_or_else(|| Error::defect("seat.state holds an impossible number"))?;
            Ok(Seat { state, until_us: *until_us })
        });
        let seats = seats.collect::<Result<Vec<Seat>, Error>>()?;
        let (now, now_us) = (table.now, table.now.as_microsecond());
        let held = seats.iter().zip(0i32..).filter(|(seat, _)| seat.state == SeatState::Held);
        let ends = held.map(|(seat, seat_no)| Reverse((seat.until_us, seat_no))).collect();
        let is_free = |seat_no: u32| seats.get(seat_no as usize).is_some_and(|seat| !is_gone(*seat, now_us));
        let seated = seated.map(|seated| {
            let stock = Stock::of(&seated.hall, is_free);
            (seated, stock)
        });
        Ok(Self { version: table.version, mark: table.mark, now, seats, ends, seated, claimed: Vec::new() })
    }

    /// The event's version that it shows.
    pub(super) const fn version(&self) -> i64 {
        self.version
    }

    /// What is decided by it is decided by this.
    pub(super) const fn moment(&self) -> Moment {
        Moment { version: self.version, at: self.now }
    }

    /// That version's mark.
    pub(super) const fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether nobody can have the seat now: sold, pending, held by a hold that lives, or claimed.
    pub(super) fn is_gone(&self, seat_no: i32) -> bool {
        match (&self.seated, u32::try_from(seat_no)) {
            (Some((_, stock)), Ok(seat_no)) => !stock.is_free(seat_no),
            _ => self.get(seat_no).is_none_or(|seat| is_gone(seat, self.now_us())),
        }
    }

    /// The hall and what is in stock of it; none for an event without seats.
    pub(super) fn stock(&self) -> Option<(&Hall, &Stock)> {
        self.seated.as_ref().map(|(seated, stock)| (&seated.hall, stock))
    }

    /// Takes a seat out of the stock until [`Mirror::end_claims`].
    pub(super) fn claim(&mut self, seat_no: i32) {
        self.claimed.push(seat_no);
        self.stock_up(seat_no, false);
    }

    /// Ends all claims: of their seats the states count again.
    pub(super) fn end_claims(&mut self) {
        for seat_no in std::mem::take(&mut self.claimed) {
            let is_free = self.get(seat_no).is_some_and(|seat| !is_gone(seat, self.now_us()));
            self.stock_up(seat_no, is_free);
        }
    }

    /// Takes in changes in the order of their versions.
    ///
    /// # Errors
    /// A defect when a change does not follow the one before, or names a seat that is not there.
    pub(super) fn follow(&mut self, changes: &[SeatsChanged]) -> Result<(), Error> {
        for change in changes {
            if change.version != self.version + 1 {
                return Err(Error::defect(format!("version {} follows {}", change.version, self.version)));
            }
            let state = SeatState::from_code(change.state);
            let state = state.ok_or_else(|| Error::defect(format!("the history has the state {}", change.state)))?;
            for seat_no in &change.seats {
                self.set(*seat_no, Seat { state, until_us: change.until_us.unwrap_or(0) })?;
            }
            (self.version, self.mark) = (change.version, change.mark);
        }
        Ok(())
    }

    /// A hold that this writer just made takes seats; the event's next version.
    pub(super) fn take(
        &mut self,
        seats: impl Iterator<Item = i32>,
        made_at: Timestamp,
        until: Timestamp,
    ) -> Result<(), Error> {
        for seat_no in seats {
            self.set(seat_no, Seat { state: SeatState::Held, until_us: until.as_microsecond() })?;
        }
        (self.version, self.mark) = (self.version + 1, Mark::at(Some(made_at)));
        Ok(())
    }

    /// The database's clock has come to this: what has lapsed is in stock again.
    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let now_us = self.now_us();
        while let Some(Reverse((until_us, seat_no))) = self.ends.peek().copied()
            && until_us <= now_us
        {
            self.ends.pop();
            // An end that was put off, or of a hold that is over, frees nothing.
            let is_free = self.get(seat_no).is_some_and(|seat| !is_gone(seat, now_us));
            self.stock_up(seat_no, is_free && !self.claimed.contains(&seat_no));
        }
        if self.ends.len() > STALE_ENDS * self.seats.len() {
            let held = self.seats.iter().zip(0i32..).filter(|(seat, _)| seat.state == SeatState::Held);
            let ends = held.map(|(seat, seat_no)| Reverse((seat.until_us, seat_no)));
            self.ends = ends.filter(|Reverse((until_us, _))| *until_us > now_us).collect();
        }
    }

    fn now_us(&self) -> i64 {
        self.now.as_microsecond()
    }

    fn get(&self, seat_no: i32) -> Option<Seat> {
        usize::try_from(seat_no).ok().and_then(|index| self.seats.get(index)).copied()
    }

    fn set(&mut self, seat_no: i32, to: Seat) -> Result<(), Error> {
        let seat = usize::try_from(seat_no).ok().and_then(|index| self.seats.get_mut(index));
        *seat.ok_or_else(|| Error::defect(format!("the history names seat {seat_no}, which is not there")))? = to;
        if to.state == SeatState::Held {
            self.ends.push(Reverse((to.until_us, seat_no)));
        }
        self.stock_up(seat_no, !is_gone(to, self.now_us()));
        Ok(())
    }

    fn stock_up(&mut self, seat_no: i32, is_free: bool) {
        if let (Some((seated, stock)), Ok(seat_no)) = (&mut self.seated, u32::try_from(seat_no)) {
            stock.set(&seated.hall, seat_no, is_free);
        }
    }
}

fn is_gone(seat: Seat, now_us: i64) -> bool {
    match seat.state {
        SeatState::Free => false,
        SeatState::Held => seat.until_us > now_us,
        SeatState::Pending | SeatState::Sold => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn changed(version: i64, state: u8, seats: &[i32], until_s: Option<i64>) -> SeatsChanged {
        let until_us = until_s.map(|s| s * 1_000_000);
        SeatsChanged { version, state, seats: seats.to_vec(), until_us, mark: Mark::at(Some(at(version))) }
    }

    #[test]
    fn a_held_seat_is_free_when_the_databases_clock_says_so() {
        let (states, until_us) = (vec![0, 1, 2, 3], vec![0, 110_000_000, 1, 0]);
        let table = SeatTable { version: 7, mark: Mark::default(), now: at(100), states, until_us };
        let mut mirror = Mirror::of(&table, None).unwrap();
        assert_eq!([0, 1, 2, 3, 4, -1].map(|seat| mirror.is_gone(seat)), [false, true, true, true, true, true]);
        mirror.set_now(at(110));
        assert!(!mirror.is_gone(1) && mirror.is_gone(2), "held lapses, pending does not");
        mirror.set_now(at(50));
        assert!(!mirror.is_gone(1), "time does not go back");
        assert_eq!(mirror.moment(), Moment { version: 7, at: at(110) });
        mirror.follow(&[changed(8, 1, &[0], Some(111)), changed(9, 0, &[3], None)]).unwrap();
        assert_eq!((mirror.version(), mirror.is_gone(0), mirror.is_gone(3)), (9, true, false));
        assert_eq!(mirror.mark(), Mark::at(Some(at(9))));
        mirror.take([3].into_iter(), at(100), at(700)).unwrap();
        assert_eq!((mirror.version(), mirror.is_gone(3)), (10, true));
        assert_eq!(mirror.mark(), Mark::at(Some(at(100))));
    }

    #[test]
    fn a_gap_is_not_taken_for_the_truth() {
        let mark = Mark::default();
        let table = |state| SeatTable { version: 7, mark, now: at(1), states: vec![state], until_us: vec![0] };
        let mut mirror = Mirror::of(&table(0), None).unwrap();
        assert!(mirror.follow(&[changed(9, 1, &[0], None)]).is_err());
        assert!(mirror.follow(&[changed(8, 1, &[1], None)]).is_err());
        assert!(Mirror::of(&table(4), None).is_err());
    }
}
