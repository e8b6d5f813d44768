//! Which seats of a hall are free, with what makes looking for them quick.
//!
//! Invariant: of each run the number of free seats and the length of their longest stretch are those of its seats.

use std::ops::Range;

use super::hall::Hall;

/// The free seats of a hall.
#[derive(Clone, Debug)]
pub struct Stock {
    free: Vec<bool>,
    count: usize,
    /// By run of the hall: how long its longest stretch of free seats is.
    longest: Vec<u16>,
}

impl Stock {
    /// The stock of a hall in which these seats are free.
    #[must_use]
    pub fn of(hall: &Hall, is_free: impl Fn(u32) -> bool) -> Self {
        let free: Vec<bool> = (0u32..).take(hall.len()).map(is_free).collect();
        let count = free.iter().filter(|free| **free).count();
        let mut stock = Self { free, count, longest: vec![0; hall.runs.len()] };
        for number in 0..hall.runs.len() {
            stock.measure(hall, number);
        }
        stock
    }

    /// Notes that a seat has become free or not.
    pub fn set(&mut self, hall: &Hall, seat_no: u32, is_free: bool) {
        let Some(known) = self.free.get_mut(seat_no as usize) else { return };
        if *known == is_free {
            return;
        }
        *known = is_free;
        self.count = if is_free { self.count + 1 } else { self.count - 1 };
        self.measure(hall, hall.run_of[seat_no as usize] as usize);
    }

    /// Whether a seat is free.
    #[must_use]
    pub fn is_free(&self, seat_no: u32) -> bool {
        self.free.get(seat_no as usize).copied().unwrap_or(false)
    }

    /// How many are free.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    pub(super) fn longest(&self, run: usize) -> usize {
        usize::from(self.longest[run])
    }

    /// The stretches of consecutive free seats of a run.
    pub(super) fn stretches(&self, run: &Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        let (mut at, end) = (run.start, run.end);
        std::iter::from_fn(move || {
            let start = (at..end).find(|seat| self.free[*seat])?;
            let stop = (start..end).find(|seat| !self.free[*seat]).unwrap_or(end);
            at = stop;
            Some(start..stop)
        })
    }

    fn measure(&mut self, hall: &Hall, number: usize) {
        let longest = self.stretches(&hall.runs[number].spots).map(|stretch| stretch.len()).max().unwrap_or(0);
        self.longest[number] = u16::try_from(longest).unwrap_or(u16::MAX);
    }
}
