//! A hall prepared for choices: what never changes about its seats.

use std::ops::Range;

use super::{BestError, MAX_QUANTITY, Wish};
use crate::plan::{Position, Seating};

/// What a wish may ask of a seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// A wheelchair place.
    pub accessible: bool,
    /// A companion's seat: kept like a wheelchair place.
    pub companion: bool,
    /// Reached without steps.
    pub step_free: bool,
    /// At an aisle; the ends of rows are so anyway.
    pub aisle: bool,
}

/// A hall prepared for choices.
#[derive(Clone, Debug)]
pub struct Hall {
    categories: Vec<String>,
    pub(super) spots: Vec<Spot>,
    /// Ranges of `spots` in which consecutive ones are neighbours, nearest first.
    pub(super) runs: Vec<Run>,
    /// The run of each spot.
    pub(super) run_of: Vec<u32>,
    /// Spots, nearest first.
    pub(super) nearest: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) spots: Range<usize>,
    /// Distance of its nearest seat.
    pub(super) nearest: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) category: u16,
    pub(super) distance: f64,
    pub(super) at: Position,
    pub(super) features: Features,
}

/// A wish, checked against a hall.
pub(super) struct Checked<'a> {
    pub(super) wish: &'a Wish,
    category: Option<u16>,
}

impl Checked<'_> {
    /// Whether a spot may be among the chosen.
    pub(super) fn suits(&self, spot: &Spot) -> bool {
        let Features { accessible, companion, step_free, .. } = spot.features;
        let asked = self.wish.accessible > 0;
        self.category.is_none_or(|category| category == spot.category)
            && self.wish.affordable.as_ref().is_none_or(|some| some.contains(&spot.category))
            && (asked || !(accessible || companion))
            && (!self.wish.step_free || step_free || accessible || companion)
    }
}

impl Hall {
    /// Prepares a hall. `features` tells what each seat (by `seat_no`) has.
    #[must_use]
    pub fn new(seating: &Seating, focal_point: Position, features: impl Fn(u32) -> Features) -> Self {
        let mut spots: Vec<Spot> = seating
            .seats
            .iter()
            .map(|seat| Spot {
                category: seat.category,
                distance: seat.at.distance(focal_point),
                at: seat.at,
                features: features(seat.seat_no),
            })
            .collect();
        let ranges = seating.runs.iter().map(|run| run.start as usize..run.end as usize);
        for run in ranges.clone().filter(|run| !run.is_empty()) {
            spots[run.start].features.aisle = true;
            spots[run.end - 1].features.aisle = true;
        }
        let mut runs: Vec<Run> = ranges
            .map(|run| Run {
                nearest: spots[run.clone()].iter().map(|spot| spot.distance).fold(f64::INFINITY, f64::min),
                spots: run,
            })
            .collect();
        runs.sort_by(|a, b| a.nearest.total_cmp(&b.nearest).then(a.spots.start.cmp(&b.spots.start)));
        let mut run_of = vec![0; spots.len()];
        for (number, run) in (0u32..).zip(&runs) {
            run_of[run.spots.clone()].fill(number);
        }
        let mut nearest: Vec<u32> = (0u32..).take(spots.len()).collect();
        nearest.sort_by(|a, b| spots[*a as usize].distance.total_cmp(&spots[*b as usize].distance).then(a.cmp(b)));
        Self { categories: seating.categories.clone(), spots, runs, run_of, nearest }
    }

    /// How many seats it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spots.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }

    /// The seats that would be left alone: free single seats between taken ones or a row's end, which were not
    /// alone before these were taken. `is_free` is asked of the seats as they are before.
    #[must_use]
    pub fn orphans(&self, taken: &[u32], is_free: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut orphans = Vec::new();
        let run_of = |seat: u32| self.run_of.get(seat as usize).map(|run| &self.runs[*run as usize].spots);
        for seat in taken {
            let Some(run) = run_of(*seat) else { continue };
            let inside = |seat: Option<u32>| seat.filter(|seat| run.contains(&(*seat as usize)));
            let before = |seat: Option<u32>| inside(seat).is_some_and(&is_free);
            let after = |seat: Option<u32>| before(seat) && seat.is_some_and(|seat| !taken.contains(&seat));
            for near in [inside(seat.checked_sub(1)), inside(seat.checked_add(1))].into_iter().flatten() {
                let (left, right) = (near.checked_sub(1), near.checked_add(1));
                if after(Some(near)) && !after(left) && !after(right) && (before(left) || before(right)) {
                    orphans.push(near);
                }
            }
        }
        orphans.sort_unstable();
        orphans.dedup();
        orphans
    }

    pub(super) fn check<'a>(&self, wish: &'a Wish) -> Result<Checked<'a>, BestError> {
        if !(1..=MAX_QUANTITY).contains(&wish.quantity) || wish.accessible > wish.quantity {
            return Err(BestError::Quantity(wish.quantity));
        }
        let index_of = |name: &String| {
            let index = self.categories.iter().position(|category| category == name);
            index.and_then(|index| u16::try_from(index).ok()).ok_or_else(|| BestError::UnknownCategory(name.clone()))
        };
        Ok(Checked { wish, category: wish.category.as_ref().map(index_of).transpose()? })
    }
}
