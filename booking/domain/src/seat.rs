//! The state of one seat, and many states packed.
//!
//! `free → held → pending → sold`. Only a hold takes a free seat; a held seat whose hold has lapsed may be
//! taken by the next; a pending seat leaves that state only by the outcome of its payment.

/// What a seat is to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum SeatState {
    /// To be had.
    #[default]
    Free = 0,
    /// Reserved for a short time.
    Held = 1,
    /// Being paid for.
    Pending = 2,
    /// Gone.
    Sold = 3,
}

impl SeatState {
    /// The number that stands for it in tables, snapshots and streams.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From its number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Free),
            1 => Some(Self::Held),
            2 => Some(Self::Pending),
            3 => Some(Self::Sold),
            _ => None,
        }
    }
}

/// The states of all seats of an event, two bits each; seat 0 in the lowest bits of the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedSeats {
    len: usize,
    bytes: Vec<u8>,
}

impl PackedSeats {
    /// So many free seats.
    #[must_use]
    pub fn free(len: usize) -> Self {
        Self { len, bytes: vec![0; len.div_ceil(4)] }
    }

    /// How many seats.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes as they travel.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A seat's state; `None` beyond the plan.
    #[must_use]
    pub fn get(&self, seat_no: usize) -> Option<SeatState> {
        if seat_no >= self.len {
            return None;
        }
        SeatState::from_code((self.bytes[seat_no / 4] >> (2 * (seat_no % 4))) & 0b11)
    }

    /// Sets a seat's state; `false` beyond the plan.
    #[must_use]
    pub fn set(&mut self, seat_no: usize, state: SeatState) -> bool {
        if seat_no >= self.len {
            return false;
        }
        let (byte, shift) = (&mut self.bytes[seat_no / 4], 2 * (seat_no % 4));
        *byte = (*byte & !(0b11 << shift)) | (state.code() << shift);
        true
    }

    /// How many seats are in a state.
    #[must_use]
    pub fn count(&self, state: SeatState) -> usize {
        (0..self.len).filter(|seat_no| self.get(*seat_no) == Some(state)).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seat_zero_is_in_the_lowest_bits() {
        let mut seats = PackedSeats::free(5);
        assert!(seats.set(0, SeatState::Sold) && seats.set(4, SeatState::Held));
        assert_eq!(seats.bytes(), [0b0000_0011, 0b0000_0001]);
        assert!(!seats.set(5, SeatState::Held));
        assert_eq!(seats.get(5), None);
    }

    proptest! {
        #[test]
        fn packing_keeps_every_state(codes in prop::collection::vec(0u8..4, 0..200)) {
            let mut seats = PackedSeats::free(codes.len());
            for (seat_no, code) in codes.iter().enumerate() {
                prop_assert!(seats.set(seat_no, SeatState::Sold));
                prop_assert!(seats.set(seat_no, SeatState::from_code(*code).unwrap()));
            }
            for (seat_no, code) in codes.iter().enumerate() {
                prop_assert_eq!(seats.get(seat_no).unwrap().code(), *code);
            }
            prop_assert_eq!(seats.count(SeatState::Held), codes.iter().filter(|c| **c == 1).count());
        }
    }
}
