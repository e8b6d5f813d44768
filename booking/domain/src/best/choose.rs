//! Climbing down the ladder.

use std::ops::Range;

use super::hall::{Checked, Hall, Spot};
use super::stock::Stock;
use super::{BestError, Choice, Rung, Wish};
use crate::plan::Position;

impl Hall {
    /// Chooses seats among those in stock.
    ///
    /// # Errors
    /// When the wish makes no sense or cannot be met; the error says what could be.
    pub fn choose(&self, wish: &Wish, stock: &Stock) -> Result<Choice, BestError> {
        let checked = self.check(wish)?;
        let quantity = wish.quantity as usize;
        if stock.count() < quantity {
            return Err(self.too_few(&checked, stock));
        }
        if let Some(choice) = self.block(&checked, stock) {
            return Ok(choice);
        }
        if !wish.together {
            if let Some(seats) = self.two_blocks(&checked, stock) {
                return Ok(self.choice(seats, Rung::Split));
            }
            if let Some(seats) = self.apart(&checked, stock) {
                return Ok(self.choice(seats, Rung::Apart));
            }
        }
        Err(self.too_few(&checked, stock))
    }

    fn choice(&self, mut seats: Vec<usize>, rung: Rung) -> Choice {
        seats.sort_unstable();
        let distance = seats.iter().map(|seat| self.spots[*seat].distance).sum::<f64>() / seats.len() as f64;
        Choice { seats: seats.into_iter().filter_map(|seat| u32::try_from(seat).ok()).collect(), rung, distance }
    }

    /// The first two rungs.
    fn block(&self, checked: &Checked<'_>, stock: &Stock) -> Option<Choice> {
        let quantity = checked.wish.quantity as usize;
        let (mut tidy, mut untidy): (Nearest, Nearest) = Default::default();
        for (number, run) in self.runs.iter().enumerate() {
            // No window of a run is nearer on average than the run's nearest seat.
            if tidy.is_nearer_than(run.nearest) {
                break;
            }
            if stock.longest(number) < quantity {
                continue;
            }
            for stretch in stock.stretches(&run.spots).filter(|stretch| stretch.len() >= quantity) {
                for window in self.windows(&stretch, quantity, checked) {
                    if self.has_what_is_asked(&self.spots[window.clone()], checked) {
                        let leaves_orphan = window.start - stretch.start == 1 || stretch.end - window.end == 1;
                        let distance = self.mean(&window, |spot| spot.distance);
                        let place = if leaves_orphan { &mut untidy } else { &mut tidy };
                        place.offer(window, distance);
                    }
                }
            }
        }
        let rung = if tidy.0.is_some() { Rung::Together } else { Rung::Orphan };
        let (window, _) = tidy.0.or(untidy.0)?;
        Some(self.choice(window.collect(), rung))
    }

    /// The third rung: the first block where it is best, the second nearest to it. Not for wheelchair places, whose
    /// companions would be in the other block.
    fn two_blocks(&self, checked: &Checked<'_>, stock: &Stock) -> Option<Vec<usize>> {
        let quantity = checked.wish.quantity as usize;
        if checked.wish.accessible > 0 {
            return None;
        }
        // Three and more are split such that nobody is alone in the larger block; two are alone anyway.
        (quantity.div_ceil(2).max(2)..quantity).find_map(|larger| {
            let first =
                self.nearest_window(larger, checked, stock, None, |window| self.mean(window, |s| s.distance))?;
            let middle = self.middle(&first);
            let second = self.nearest_window(quantity - larger, checked, stock, Some(&first), |window| {
                self.middle(window).distance(middle)
            })?;
            let has_aisle = |window: &Range<usize>| self.spots[window.clone()].iter().any(|s| s.features.aisle);
            let suits = !checked.wish.aisle || has_aisle(&first) || has_aisle(&second);
            suits.then(|| first.chain(second).collect())
        })
    }

    fn nearest_window(
        &self,
        quantity: usize,
        checked: &Checked<'_>,
        stock: &Stock,
        without: Option<&Range<usize>>,
        distance: impl Fn(&Range<usize>) -> f64,
    ) -> Option<Range<usize>> {
        let apart =
            |window: &Range<usize>| without.is_none_or(|other| window.end <= other.start || window.start >= other.end);
        let mut nearest = Nearest::default();
        for (number, run) in self.runs.iter().enumerate() {
            if stock.longest(number) < quantity {
                continue;
            }
            for stretch in stock.stretches(&run.spots) {
                for window in self.windows(&stretch, quantity, checked).filter(apart) {
                    let distance = distance(&window);
                    nearest.offer(window, distance);
                }
            }
        }
        nearest.0.map(|(window, _)| window)
    }

    /// The last rung: whatever is asked for in particular first, then the nearest.
    fn apart(&self, checked: &Checked<'_>, stock: &Stock) -> Option<Vec<usize>> {
        let wish = checked.wish;
        let quantity = wish.quantity as usize;
        let in_stock = || self.suiting(checked, stock);
        let mut seats: Vec<usize> =
            in_stock().filter(|seat| self.spots[*seat].features.accessible).take(wish.accessible as usize).collect();
        if seats.len() < wish.accessible as usize {
            return None;
        }
        let ordinary = |seat: &usize| !self.spots[*seat].features.accessible;
        let has_aisle = |seats: &[usize]| seats.iter().any(|seat| self.spots[*seat].features.aisle);
        if wish.aisle && !has_aisle(&seats) {
            let first = in_stock().find(|seat| ordinary(seat) && self.spots[*seat].features.aisle);
            // All that are asked for are wheelchair places: one of them has to be at the aisle.
            if seats.len() == quantity {
                let at_aisle = in_stock()
                    .find(|seat| self.spots[*seat].features.accessible && self.spots[*seat].features.aisle)?;
                seats.pop();
                seats.push(at_aisle);
            } else if let Some(first) = first {
                seats.push(first);
            } else {
                let at_aisle = in_stock()
                    .find(|seat| self.spots[*seat].features.accessible && self.spots[*seat].features.aisle)?;
                seats.pop();
                seats.push(at_aisle);
            }
        }
        let chosen = seats.clone();
        let missing = quantity - seats.len();
        seats.extend(in_stock().filter(|seat| ordinary(seat) && !chosen.contains(seat)).take(missing));
        (seats.len() == quantity).then_some(seats)
    }

    /// Seats in stock that suit, nearest first.
    fn suiting<'a>(&'a self, checked: &'a Checked<'_>, stock: &'a Stock) -> impl Iterator<Item = usize> + 'a {
        let of_stock = self.nearest.iter().filter(|seat| stock.is_free(**seat)).map(|seat| *seat as usize);
        of_stock.filter(|seat| checked.suits(&self.spots[*seat]))
    }

    /// The windows of a stretch of free seats in which all suit and share one category.
    fn windows<'a>(
        &'a self,
        stretch: &Range<usize>,
        quantity: usize,
        checked: &'a Checked<'_>,
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut good = 0;
        let from = stretch.start;
        stretch.clone().filter_map(move |index| {
            let spot = &self.spots[index];
            let same = index > from && self.spots[index - 1].category == spot.category;
            good = match checked.suits(spot) {
                false => 0,
                true if same => good + 1,
                true => 1,
            };
            (good >= quantity).then(|| index + 1 - quantity..index + 1)
        })
    }

    fn has_what_is_asked(&self, spots: &[Spot], checked: &Checked<'_>) -> bool {
        let wish = checked.wish;
        let accessible = spots.iter().filter(|spot| spot.features.accessible).count();
        accessible == wish.accessible as usize && (!wish.aisle || spots.iter().any(|spot| spot.features.aisle))
    }

    fn mean(&self, window: &Range<usize>, of: impl Fn(&Spot) -> f64) -> f64 {
        self.spots[window.clone()].iter().map(of).sum::<f64>() / window.len() as f64
    }

    fn middle(&self, window: &Range<usize>) -> Position {
        Position { x: self.mean(window, |spot| spot.at.x), y: self.mean(window, |spot| spot.at.y) }
    }

    fn too_few(&self, checked: &Checked<'_>, stock: &Stock) -> BestError {
        let quantity = checked.wish.quantity;
        let accessible = |seat: &usize| self.spots[*seat].features.accessible;
        let places = self.suiting(checked, stock).filter(accessible).count();
        let others = self.suiting(checked, stock).count() - places;
        let wanted = checked.wish.accessible as usize;
        let free = places.min(wanted) + others;
        let free = u32::try_from(free).unwrap_or(u32::MAX);
        if free < quantity || places < wanted {
            return BestError::NotEnough { free: free.min(quantity.saturating_sub(1)), quantity };
        }
        BestError::NotTogether { quantity }
    }
}

/// The nearest window seen so far; of two as near, the one with the lower numbers.
#[derive(Default)]
struct Nearest(Option<(Range<usize>, f64)>);

impl Nearest {
    fn offer(&mut self, window: Range<usize>, distance: f64) {
        let better = self
            .0
            .as_ref()
            .is_none_or(|(known, least)| distance.total_cmp(least).then(window.start.cmp(&known.start)).is_lt());
        if better {
            self.0 = Some((window, distance));
        }
    }

    fn is_nearer_than(&self, distance: f64) -> bool {
        self.0.as_ref().is_some_and(|(_, nearest)| *nearest < distance)
    }
}
