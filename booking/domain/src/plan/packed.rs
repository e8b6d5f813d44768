//! A plan for those who draw it: all that a seat map needs, in a tenth of the plan's size.
//!
//! | member | what |
//! |---|---|
//! | `format` | `usher-packed-plan/1` |
//! | `seat_count` | how many seats; every list below goes by `seat_no` |
//! | `size` | the canvas, in plan units |
//! | `origin`, `step` | a seat lies at `origin + step × number`, each axis by itself |
//! | `x`, `y` | those numbers: base64 of 16 bits per seat, the low byte first |
//! | `radius` | drawn radii: `[radius, so many seats]` again and again |
//! | `categories`, `category` | names with colours; `[index, so many seats]` again and again |
//! | `sections`, `rows` | names; rows as `{section, row, number, seat}`, in which `section` is an index and `number` and `seat` (the `seat_guid`) are [`Names`] of as many seats as the row has |
//! | `drawings` | stage, bars, floors as the plan has them, with the position of their zone |
//!
//! Positions are exact to half a step: a twentieth of a plan unit, or less than a ten-thousandth of a large hall.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::format::{Area, Category, Plan, Position, Size};
use super::seating::{Seat, Seating};

/// The name and version of the format.
pub const FORMAT: &str = "usher-packed-plan/1";
/// The finest step: finer than anybody draws.
const FINEST: f64 = 0.1;
/// The usual drawn radius of a seat.
const RADIUS: f64 = 10.0;

/// A plan, packed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    /// [`FORMAT`].
    pub format: String,
    /// How many seats.
    pub seat_count: usize,
    /// The canvas.
    pub size: Size,
    /// Where the numbers of `x` and `y` count from.
    pub origin: Position,
    /// What one of them is, in plan units.
    pub step: f64,
    /// To the right.
    pub x: String,
    /// Downwards.
    pub y: String,
    /// Drawn radii.
    pub radius: Vec<(f64, usize)>,
    /// The price categories.
    pub categories: Vec<Category>,
    /// Which of them.
    pub category: Vec<(u16, usize)>,
    /// The zones that have seats.
    pub sections: Vec<String>,
    /// The rows.
    pub rows: Vec<PackedRow>,
    /// What else is drawn.
    pub drawings: Vec<Drawing>,
}

/// A row of seats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackedRow {
    /// Index of its section.
    pub section: usize,
    /// Its name.
    pub row: String,
    /// The numbers of its seats.
    pub number: Names,
    /// Their ids.
    pub seat: Names,
}

/// Names in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// A beginning that all share, then numbers that count from the first by a step: `["A-12-", 1, 1, 24]` is `A-12-1`
    /// to `A-12-24`.
    Counted(String, i64, i64, usize),
    /// A beginning that all share, then the rest of each.
    Listed(String, Vec<String>),
}

/// Drawings of a zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drawing {
    /// Where the zone lies.
    pub position: Position,
    /// Its drawings.
    pub areas: Vec<Area>,
}

impl Packed {
    /// Packs a plan whose seating is known.
    #[must_use]
    pub fn of(plan: &Plan, seating: &Seating) -> Self {
        let seats = &seating.seats;
        let (origin, step) = grid(seats);
        let mut sections: Vec<String> = Vec::new();
        let mut rows = Vec::new();
        let mut rest = &seats[..];
        for (zone, row) in plan.zones.iter().flat_map(|zone| zone.rows.iter().map(move |row| (zone, row))) {
            let (of_row, others) = rest.split_at(row.seats.len().min(rest.len()));
            rest = others;
            let label = zone.label().unwrap_or_default();
            let section = sections.iter().rposition(|known| known == label).unwrap_or_else(|| {
                sections.push(label.to_owned());
                sections.len() - 1
            });
            let names = |of: fn(&Seat) -> &str| Names::of(&of_row.iter().map(of).collect::<Vec<_>>());
            let (number, seat) = (names(|seat| &seat.number), names(|seat| &seat.guid));
            rows.push(PackedRow { section, row: row.row_number.clone(), number, seat });
        }
        let drawn = plan.zones.iter().flat_map(|zone| &zone.rows).flat_map(|row| &row.seats);
        let zones = plan.zones.iter().filter(|zone| !zone.areas.is_empty());
        Self {
            format: FORMAT.to_owned(),
            seat_count: seats.len(),
            size: seating.size,
            origin,
            step,
            x: pack(seats.iter().map(|seat| (seat.at.x - origin.x) / step)),
            y: pack(seats.iter().map(|seat| (seat.at.y - origin.y) / step)),
            radius: runs(drawn.map(|seat| seat.radius.unwrap_or(RADIUS))),
            categories: plan.categories.clone(),
            category: runs(seats.iter().map(|seat| seat.category)),
            sections,
            rows,
            drawings: zones.map(|zone| Drawing { position: zone.position, areas: zone.areas.clone() }).collect(),
        }
    }

    /// As it travels.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and text always serialise")
    }

    /// The seats again, with positions to half a step; none when the lists do not fit together.
    #[must_use]
    pub fn seats(&self) -> Option<Vec<Seat>> {
        let (x, y) = (unpack(&self.x)?, unpack(&self.y)?);
        let categories: Vec<u16> = self.category.iter().flat_map(|(c, n)| std::iter::repeat_n(*c, *n)).collect();
        let mut seats = Vec::with_capacity(self.seat_count);
        for row in &self.rows {
            for (number, guid) in row.number.all().into_iter().zip(row.seat.all()) {
                let index = seats.len();
                let at =
                    |numbers: &[u16], origin: f64| Some(f64::from(*numbers.get(index)?).mul_add(self.step, origin));
                seats.push(Seat {
                    seat_no: u32::try_from(index).ok()?,
                    guid,
                    section: self.sections.get(row.section)?.clone(),
                    row: row.row.clone(),
                    number,
                    category: *categories.get(index)?,
                    at: Position { x: at(&x, self.origin.x)?, y: at(&y, self.origin.y)? },
                });
            }
        }
        let fits = [x.len(), y.len(), categories.len(), seats.len()].iter().all(|len| *len == self.seat_count);
        fits.then_some(seats)
    }
}

/// Where to count from, and in which steps.
fn grid(seats: &[Seat]) -> (Position, f64) {
    let least = |of: fn(&Seat) -> f64| seats.iter().map(of).fold(f64::INFINITY, f64::min);
    let most = |of: fn(&Seat) -> f64| seats.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
    if seats.is_empty() {
        return (Position::default(), FINEST);
    }
    let origin = Position { x: least(|seat| seat.at.x), y: least(|seat| seat.at.y) };
    let extent = (most(|seat| seat.at.x) - origin.x).max(most(|seat| seat.at.y) - origin.y);
    (origin, (extent / f64::from(u16::MAX)).max(FINEST))
}

/// Numbers that lie within 16 bits by the choice of the step; the cast saturates in any case.
fn pack(numbers: impl Iterator<Item = f64>) -> String {
    STANDARD.encode(numbers.flat_map(|number| (number.round() as u16).to_le_bytes()).collect::<Vec<u8>>())
}

fn unpack(text: &str) -> Option<Vec<u16>> {
    let bytes = STANDARD.decode(text).ok()?;
    Some(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
}

fn runs<T: PartialEq + Copy>(values: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut runs: Vec<(T, usize)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((last, count)) if *last == value => *count += 1,
            _ => runs.push((value, 1)),
        }
    }
    runs
}

impl Names {
    fn of(names: &[&str]) -> Self {
        let shared = shared_beginning(names);
        // Digits belong to the numbers that follow.
        let letters = shared.trim_end_matches(|c: char| c.is_ascii_digit());
        if let Some((first, step)) = progression(names, letters.len()) {
            return Self::Counted(letters.to_owned(), first, step, names.len());
        }
        Self::Listed(shared.to_owned(), names.iter().map(|name| name[shared.len()..].to_owned()).collect())
    }

    /// All names.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        match self {
            Self::Counted(beginning, first, step, count) => {
                let numbers = std::iter::successors(Some(*first), |number| number.checked_add(*step));
                numbers.take(*count).map(|number| format!("{beginning}{number}")).collect()
            }
            Self::Listed(beginning, rest) => rest.iter().map(|rest| format!("{beginning}{rest}")).collect(),
        }
    }
}

fn shared_beginning<'a>(names: &[&'a str]) -> &'a str {
    let Some((first, others)) = names.split_first() else { return "" };
    let same = |other: &&str| first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let mut len = others.iter().map(same).min().unwrap_or(first.len());
    while !first.is_char_boundary(len) {
        len -= 1;
    }
    &first[..len]
}

/// First and step, when what follows the beginning are numbers as they are usually written, evenly apart.
fn progression(names: &[&str], beginning: usize) -> Option<(i64, i64)> {
    let number = |name: &&str| {
        let text = &name[beginning..];
        text.parse::<u32>().ok().filter(|number| number.to_string() == text).map(i64::from)
    };
    let numbers: Vec<i64> = names.iter().map(number).collect::<Option<_>>()?;
    let first = *numbers.first()?;
    let step = numbers.get(1).map_or(1, |second| second - first);
    let even = numbers.windows(2).all(|pair| pair[1] - pair[0] == step);
    even.then_some((first, step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::generate::{GenerateOptions, generate};
    use super::*;

    #[test]
    fn names_are_counted_where_they_count() {
        for (names, packed) in [
            (vec!["A-1", "A-2", "A-3"], Names::Counted("A-".into(), 1, 1, 3)),
            (vec!["19", "17", "15"], Names::Counted(String::new(), 19, -2, 3)),
            (vec!["B10", "B11"], Names::Counted("B".into(), 10, 1, 2)),
            (vec!["x7"], Names::Counted("x".into(), 7, 1, 1)),
            (vec!["01", "02"], Names::Listed("0".into(), vec!["1".into(), "2".into()])),
            (vec!["a", "b"], Names::Listed(String::new(), vec!["a".into(), "b".into()])),
            (vec!["é1", "è1"], Names::Listed(String::new(), vec!["é1".into(), "è1".into()])),
            (vec![], Names::Listed(String::new(), vec![])),
        ] {
            let made = Names::of(&names);
            assert_eq!((&made, made.all()), (&packed, names.iter().map(ToString::to_string).collect()));
        }
    }

    #[test]
    fn sixty_thousand_seats_are_small_and_come_out_again() {
        let options = GenerateOptions { seats: 60_000, tiers: 6, ..GenerateOptions::default() };
        let (plan, _) = generate(&options).unwrap();
        let seating = Seating::of(&plan).unwrap();
        let json = Packed::of(&plan, &seating).to_json();
        let whole = plan.to_json().len();
        assert!(json.len() < 600_000 && json.len() * 10 < whole, "{} of {whole} bytes", json.len());
        let packed: Packed = serde_json::from_slice(&json).unwrap();
        let seats = packed.seats().unwrap();
        assert_eq!(seats.len(), 60_000);
        for (seat, was) in seats.iter().zip(&seating.seats) {
            assert!(seat.at.distance(was.at) <= packed.step * 0.71, "{seat:?} {was:?}");
            assert_eq!(Seat { at: was.at, ..seat.clone() }, *was);
        }
        let drawn = plan.zones.iter().map(|zone| zone.areas.len()).sum::<usize>();
        assert_eq!(packed.drawings.iter().map(|zone| zone.areas.len()).sum::<usize>(), drawn);
    }

    proptest! {
        #[test]
        fn any_names_come_out_again(names in prop::collection::vec("[a-z0é-]{0,4}[0-9]{0,12}", 0..12)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            prop_assert_eq!(Names::of(&names).all(), names);
        }
    }
}
