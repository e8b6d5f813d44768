//! Best available: which free seats to offer to people who want to sit together.
//!
//! Chosen are neighbours of one row and one category, nearest to the focal point on average. A
//! choice that would leave a single free seat between taken ones is made only when every other
//! choice would do so too. Seats kept for those who ask for them (wheelchair places and their
//! companions') are never chosen.
//!
//! The hall is prepared once per event; a choice then asks a closure which seats are free, looks at
//! runs in order of their nearest seat and stops when no later run can be better. Left out:
//! splitting a party over rows, and asking for attributes.

use std::ops::Range;

use crate::plan::{Position, Seating};

/// Most seats of one wish.
pub const MAX_QUANTITY: u32 = 100;

/// A hall prepared for choices.
#[derive(Clone, Debug)]
pub struct Hall {
    categories: Vec<String>,
    spots: Vec<Spot>,
    /// Ranges of `spots` in which consecutive ones are neighbours, nearest first.
    runs: Vec<Run>,
}

#[derive(Clone, Debug)]
struct Run {
    spots: Range<usize>,
    /// Distance of its nearest seat.
    nearest: f64,
}

#[derive(Clone, Copy, Debug)]
struct Spot {
    category: u16,
    distance: f64,
    kept: bool,
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How many seats beside each other.
    pub quantity: u32,
    /// In which price category; any if none is named.
    pub category: Option<String>,
}

/// Seats to offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Their numbers, neighbours in ascending order.
    pub seats: Vec<u32>,
    /// Whether a single free seat is left beside them, because nothing else was possible.
    pub leaves_orphan: bool,
    /// Their average distance from the focal point.
    pub distance: f64,
}

/// No seats can be offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BestError {
    /// None, or more than [`MAX_QUANTITY`].
    #[error("{0} seats: between 1 and {MAX_QUANTITY} can be asked for")]
    Quantity(u32),
    /// The plan has no such category.
    #[error("there is no category {0:?}")]
    UnknownCategory(String),
    /// Fewer are free than asked for.
    #[error("{free} of {quantity} seats are free")]
    NotEnough {
        /// Free seats that could be chosen.
        free: u32,
        /// Seats asked for.
        quantity: u32,
    },
    /// Enough are free, but not beside each other.
    #[error("no {quantity} seats beside each other are free; at most {together} are")]
    NotTogether {
        /// Seats asked for.
        quantity: u32,
        /// The longest row of free seats.
        together: u32,
    },
}

impl Hall {
    /// Prepares a hall. `is_kept` tells which seats (by `seat_no`) are never chosen.
    #[must_use]
    pub fn new(seating: &Seating, focal_point: Position, is_kept: impl Fn(u32) -> bool) -> Self {
        let spots: Vec<Spot> = seating
            .seats
            .iter()
            .map(|seat| Spot {
                category: seat.category,
                distance: seat.at.distance(focal_point),
                kept: is_kept(seat.seat_no),
            })
            .collect();
        let mut runs: Vec<Run> = seating
            .runs
            .iter()
            .map(|run| run.start as usize..run.end as usize)
            .map(|run| Run {
                nearest: spots[run.clone()].iter().map(|spot| spot.distance).fold(f64::INFINITY, f64::min),
                spots: run,
            })
            .collect();
        runs.sort_by(|a, b| a.nearest.total_cmp(&b.nearest).then(a.spots.start.cmp(&b.spots.start)));
        Self { categories: seating.categories.clone(), spots, runs }
    }

    /// Chooses seats among those that `is_free` says are free.
    ///
    /// # Errors
    /// When the wish makes no sense or cannot be met; the error says what could be.
    pub fn choose(&self, wish: &Wish, is_free: impl Fn(u32) -> bool) -> Result<Choice, BestError> {
        if !(1..=MAX_QUANTITY).contains(&wish.quantity) {
            return Err(BestError::Quantity(wish.quantity));
        }
        let category = match &wish.category {
            None => None,
            Some(name) => Some(
                self.categories
                    .iter()
                    .position(|category| category == name)
                    .ok_or_else(|| BestError::UnknownCategory(name.clone()))?,
            ),
        };
        let suits = |index: usize| {
            let spot = self.spots[index];
            !spot.kept && category.is_none_or(|category| category == usize::from(spot.category))
        };
        let free = |index: usize| u32::try_from(index).is_ok_and(&is_free);
        let mut best = Best::default();
        for run in &self.runs {
            if best.cannot_be_beaten_from(run.nearest) {
                break;
            }
            for segment in segments(run.spots.clone(), &free) {
                self.try_segment(&segment, wish.quantity as usize, &suits, &mut best);
            }
        }
        match best.tidy.or(best.untidy) {
            Some(choice) => Ok(choice),
            None => Err(self.why_not(wish.quantity, &suits, &free)),
        }
    }

    /// Tries every window of the wanted length in one stretch of free seats.
    fn try_segment(&self, segment: &Range<usize>, quantity: usize, suits: &impl Fn(usize) -> bool, best: &mut Best) {
        for stretch in self.same_category(segment, suits) {
            for start in stretch.start..(stretch.end + 1).saturating_sub(quantity) {
                let window = start..start + quantity;
                let sum: f64 = self.spots[window.clone()].iter().map(|spot| spot.distance).sum();
                let leaves_orphan = start - segment.start == 1 || segment.end - window.end == 1;
                best.offer(window, sum / quantity as f64, leaves_orphan);
            }
        }
    }

    /// The parts of a range that suit and share one category.
    fn same_category(&self, range: &Range<usize>, suits: &impl Fn(usize) -> bool) -> Vec<Range<usize>> {
        let mut parts: Vec<Range<usize>> = Vec::new();
        for index in range.clone().filter(|index| suits(*index)) {
            match parts.last_mut() {
                Some(part) if part.end == index && self.spots[part.start].category == self.spots[index].category => {
                    part.end += 1;
                }
                _ => parts.push(index..index + 1),
            }
        }
        parts
    }

    fn why_not(&self, quantity: u32, suits: &impl Fn(usize) -> bool, free: &impl Fn(usize) -> bool) -> BestError {
        let stretches = self
            .runs
            .iter()
            .flat_map(|run| segments(run.spots.clone(), free))
            .flat_map(|segment| self.same_category(&segment, suits))
            .map(|stretch| u32::try_from(stretch.len()).unwrap_or(u32::MAX));
        let (count, together) =
            stretches.fold((0_u32, 0), |(count, longest), length| (count.saturating_add(length), longest.max(length)));
        if count < quantity {
            return BestError::NotEnough { free: count, quantity };
        }
        BestError::NotTogether { quantity, together }
    }
}

/// The best choices seen so far, with and without an orphan.
#[derive(Default)]
struct Best {
    tidy: Option<Choice>,
    untidy: Option<Choice>,
}

impl Best {
    fn offer(&mut self, window: Range<usize>, distance: f64, leaves_orphan: bool) {
        let place = if leaves_orphan { &mut self.untidy } else { &mut self.tidy };
        let first = |choice: &Choice| choice.seats.first().copied().unwrap_or_default() as usize;
        let better = place
            .as_ref()
            .is_none_or(|choice| distance.total_cmp(&choice.distance).then(window.start.cmp(&first(choice))).is_lt());
        if better {
            let seats = window.filter_map(|index| u32::try_from(index).ok()).collect();
            *place = Some(Choice { seats, leaves_orphan, distance });
        }
    }

    /// No window of a run is nearer on average than the run's nearest seat.
    fn cannot_be_beaten_from(&self, nearest: f64) -> bool {
        self.tidy.as_ref().is_some_and(|choice| choice.distance < nearest)
    }
}

/// The stretches of consecutive free seats of a run.
fn segments(run: Range<usize>, free: &impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for index in run.filter(|index| free(*index)) {
        match found.last_mut() {
            Some(segment) if segment.end == index => segment.end += 1,
            _ => found.push(index..index + 1),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{BestError, Choice, Hall, Wish};
    use crate::plan::{GenerateOptions, Position, Seat, Seating, format::Size, generate};

    /// One row of seats along x, category by letter, the focal point in front of its middle.
    fn row(categories: &str) -> Hall {
        let names = ["A", "B"];
        let seats = categories.chars().zip(0_u32..).map(|(letter, seat_no)| Seat {
            seat_no,
            guid: format!("S-1-{seat_no}"),
            section: "S".into(),
            row: "1".into(),
            number: seat_no.to_string(),
            category: u16::from(letter == 'B'),
            at: Position { x: f64::from(seat_no) * 10.0, y: 100.0 },
        });
        let seats: Vec<Seat> = seats.collect();
        let count = u32::try_from(seats.len()).expect("few");
        let middle = f64::from(count - 1) * 5.0;
        let seating = Seating {
            seats,
            categories: names.map(String::from).to_vec(),
            runs: std::iter::once(0..count).collect(),
            size: Size { width: 1000, height: 200 },
        };
        Hall::new(&seating, Position { x: middle, y: 0.0 }, |_| false)
    }

    fn wish(quantity: u32, category: Option<&str>) -> Wish {
        Wish { quantity, category: category.map(String::from) }
    }

    fn ask(hall: &Hall, taken: &str, wish: &Wish) -> Result<Choice, BestError> {
        hall.choose(wish, |seat| taken.as_bytes().get(seat as usize) == Some(&b'.'))
    }

    /// Categories, what is taken, quantity, wanted category, the seats chosen, an orphan left.
    type Case<'a> = (&'a str, &'a str, u32, Option<&'a str>, &'a [u32], bool);

    /// Goal: the rules, one per line. Method: a row drawn as text, `.` free and `x` taken.
    #[test]
    fn choices_in_one_row() {
        let table: &[Case<'_>] = &[
            // The middle is nearest.
            ("AAAAAAAAA", ".........", 1, None, &[4], false),
            ("AAAAAAAAA", ".........", 3, None, &[3, 4, 5], false),
            // Two in the middle of five would leave one on a side; so does every other pair but the ends.
            ("AAAAA", ".....", 2, None, &[0, 1], false),
            // One seat of three: an end leaves a pair, the middle two orphans.
            ("AAAAAAAAA", "xxx...xxx", 1, None, &[3], false),
            // Rather the pair at the edge than an orphan in the middle.
            ("AAAAAAAAA", "xxx...x..", 2, None, &[7, 8], false),
            // Nothing else is possible.
            ("AAAAAAAAA", "xxx...xxx", 2, None, &[3, 4], true),
            // A named category is kept to, and a party never sits in two.
            ("AAAABBBBB", ".........", 2, Some("B"), &[4, 5], false),
            ("AAABAAAAA", ".........", 4, None, &[5, 6, 7, 8], false),
        ];
        for (categories, taken, quantity, category, seats, orphan) in table {
            let choice = ask(&row(categories), taken, &wish(*quantity, *category)).expect(taken);
            assert_eq!((&choice.seats[..], choice.leaves_orphan), (*seats, *orphan), "{quantity} of {taken}");
        }
    }

    #[test]
    fn refusals_say_what_is_possible() {
        let hall = row("AAAABBBBB");
        let table = [
            ("xxxxxxxxx", wish(1, None), BestError::NotEnough { free: 0, quantity: 1 }),
            ("..xx.....", wish(3, Some("A")), BestError::NotEnough { free: 2, quantity: 3 }),
            (".x.x..x..", wish(3, None), BestError::NotTogether { quantity: 3, together: 2 }),
            (".........", wish(0, None), BestError::Quantity(0)),
            (".........", wish(101, None), BestError::Quantity(101)),
            (".........", wish(1, Some("C")), BestError::UnknownCategory("C".into())),
        ];
        for (taken, wish, error) in table {
            assert_eq!(ask(&hall, taken, &wish), Err(error), "{taken}");
        }
    }

    /// Goal: what holds for every choice holds in a real hall until it is full. Method: a generated
    /// hall is sold out party by party; each choice is compared with an exhaustive search.
    #[test]
    fn a_hall_sold_out_party_by_party() {
        let options = GenerateOptions { seats: 400, tiers: 2, ..GenerateOptions::default() };
        let (plan, sidecar) = generate(&options).expect("a hall");
        let seating = Seating::of(&plan).expect("good");
        let focal_point = sidecar.focal_point.expect("generated");
        let kept: Vec<bool> = seating.seats.iter().map(|seat| sidecar.is_kept(&seat.guid)).collect();
        let hall = Hall::new(&seating, focal_point, |seat| kept[seat as usize]);
        let mut free = vec![true; seating.seats.len()];
        let parties = [2, 4, 1, 3, 2, 6, 5];
        let mut refused = 0;
        for (turn, quantity) in parties.iter().cycle().enumerate() {
            let category = (turn % 3 == 0).then(|| seating.categories[turn % 5].as_str());
            let wish = wish(*quantity, category);
            let choice = hall.choose(&wish, |seat| free[seat as usize]);
            let expected = exhaustive(&seating, focal_point, &kept, &free, &wish);
            match choice {
                Ok(choice) => {
                    let (orphan, distance) = expected.expect("the search found one too");
                    assert_eq!(choice.leaves_orphan, orphan, "turn {turn}");
                    assert!((choice.distance - distance).abs() < 1e-6, "turn {turn}");
                    for seat in choice.seats {
                        assert!(std::mem::replace(&mut free[seat as usize], false), "sold twice");
                        assert!(!kept[seat as usize]);
                    }
                }
                Err(_) => {
                    assert_eq!(expected, None, "turn {turn}: {wish:?}");
                    refused += 1;
                }
            }
            if refused > 60 {
                break;
            }
        }
        let left = free.iter().zip(&kept).filter(|(free, kept)| **free && !**kept).count();
        assert_eq!(left, 0, "single seats sell too");
    }

    /// The least distance among all windows, those without an orphan first.
    fn exhaustive(
        seating: &Seating,
        focal_point: Position,
        kept: &[bool],
        free: &[bool],
        wish: &Wish,
    ) -> Option<(bool, f64)> {
        let quantity = wish.quantity as usize;
        let mut best: Option<(bool, f64)> = None;
        for run in &seating.runs {
            let run = run.start as usize..run.end as usize;
            let is_free = |index: Option<usize>| index.is_some_and(|index| run.contains(&index) && free[index]);
            for start in run.start..(run.end + 1).saturating_sub(quantity) {
                let window = start..start + quantity;
                let of = &seating.seats[window.clone()];
                let category = &seating.categories[usize::from(of[0].category)];
                if window.clone().any(|index| !free[index] || kept[index])
                    || of.iter().any(|seat| seat.category != of[0].category)
                    || wish.category.as_ref().is_some_and(|wanted| wanted != category)
                {
                    continue;
                }
                let alone = |near: Option<usize>, beyond: Option<usize>| is_free(near) && !is_free(beyond);
                let orphan =
                    alone(start.checked_sub(1), start.checked_sub(2)) || alone(Some(window.end), Some(window.end + 1));
                let distance = of.iter().map(|seat| seat.at.distance(focal_point)).sum::<f64>() / quantity as f64;
                if best.is_none_or(|(o, d)| (orphan, distance) < (o, d)) {
                    best = Some((orphan, distance));
                }
            }
        }
        best
    }
}
