//! The flat list of seats that a checked plan yields.

use std::collections::HashMap;
use std::ops::Range;

use super::check::Faults;
use super::format::{Plan, Position, Size};

/// A gap wider than this many usual distances is an aisle, and separates neighbours.
const AISLE_FACTOR: f64 = 1.75;

/// One seat, with its place in the hall.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    /// Position in document order, from 0.
    pub seat_no: u32,
    /// The file's `seat_guid`; the `seat` of all routes.
    pub guid: String,
    /// Its zone as a buyer reads it.
    pub section: String,
    /// Its row within the section.
    pub row: String,
    /// Its number within the row.
    pub number: String,
    /// Index into [`Seating::categories`].
    pub category: u16,
    /// Where it lies on the canvas.
    pub at: Position,
}

/// All seats of a plan that passed its checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Seating {
    /// Seats by `seat_no`.
    pub seats: Vec<Seat>,
    /// Names of the price categories.
    pub categories: Vec<String>,
    /// Ranges of `seat_no` in which consecutive seats are neighbours: rows, cut at their aisles.
    pub runs: Vec<Range<u32>>,
    /// Canvas; measured from the seats when the file has none.
    pub size: Size,
}

impl Seating {
    /// Checks a plan and lists its seats.
    ///
    /// # Errors
    /// All faults found by [`Plan::check`].
    pub fn of(plan: &Plan) -> Result<Self, Faults> {
        plan.check()?;
        let categories: Vec<String> = plan.categories.iter().map(|category| category.name.clone()).collect();
        let index: HashMap<&str, u16> = categories.iter().map(String::as_str).zip(0..).collect();
        let mut seats = Vec::new();
        let mut rows = Vec::new();
        for zone in &plan.zones {
            let section = zone.label().unwrap_or_default();
            for row in &zone.rows {
                let first = seats.len();
                for seat in &row.seats {
                    seats.push(Seat {
                        seat_no: u32::try_from(seats.len()).expect("at most MAX_SEATS"),
                        guid: seat.seat_guid.clone(),
                        section: section.to_owned(),
                        row: row.row_number.clone(),
                        number: seat.seat_number.clone(),
                        category: index[seat.category.as_str()],
                        at: zone.position + row.position + seat.position,
                    });
                }
                rows.push(first..seats.len());
            }
        }
        let runs = cut_at_aisles(&seats, &rows);
        let size = plan.size.unwrap_or_else(|| measure(&seats));
        Ok(Self { seats, categories, runs, size })
    }

    /// Where to look when no focal point is given: the middle of the side where coordinates begin,
    /// which is where plans usually have their stage.
    #[must_use]
    pub fn default_focal_point(&self) -> Position {
        Position { x: f64::from(self.size.width) / 2.0, y: 0.0 }
    }
}

impl Plan {
    /// The plan with a size, measured from its seats when the file has none, as newer readers
    /// require it.
    ///
    /// # Errors
    /// All faults found by [`Plan::check`].
    pub fn with_size(mut self) -> Result<Self, Faults> {
        if self.size.is_none() {
            self.size = Some(Seating::of(&self)?.size);
        }
        Ok(self)
    }
}

/// Neighbours are consecutive seats of a row that stand no further apart than seats of that row
/// usually do; a row too short to tell is measured by the whole plan.
fn cut_at_aisles(seats: &[Seat], rows: &[Range<usize>]) -> Vec<Range<u32>> {
    let gap = |index: usize| seats[index].at.distance(seats[index + 1].at);
    let gaps_of =
        |row: &Range<usize>| -> Vec<f64> { (row.start..row.end.saturating_sub(1).max(row.start)).map(gap).collect() };
    let usual = median(rows.iter().flat_map(gaps_of).collect());
    let mut runs = Vec::new();
    for row in rows.iter().filter(|row| !row.is_empty()) {
        let gaps = gaps_of(row);
        let usual = if gaps.len() >= 3 { median(gaps.clone()) } else { usual };
        let mut start = row.start;
        for (offset, gap) in gaps.into_iter().enumerate() {
            if gap > usual * AISLE_FACTOR {
                runs.push(start..row.start + offset + 1);
                start = row.start + offset + 1;
            }
        }
        runs.push(start..row.end);
    }
    let narrow = |index| u32::try_from(index).expect("at most MAX_SEATS");
    runs.into_iter().map(|run| narrow(run.start)..narrow(run.end)).collect()
}

fn median(mut numbers: Vec<f64>) -> f64 {
    if numbers.is_empty() {
        return f64::INFINITY;
    }
    let middle = numbers.len() / 2;
    *numbers.select_nth_unstable_by(middle, f64::total_cmp).1
}

fn measure(seats: &[Seat]) -> Size {
    let most = |of: fn(&Seat) -> f64| {
        let most = seats.iter().map(of).fold(0.0, f64::max) + 20.0;
        // Checked to lie within u32; the cast saturates in any case.
        most.ceil() as u32
    };
    Size { width: most(|seat| seat.at.x), height: most(|seat| seat.at.y) }
}

#[cfg(test)]
mod tests {
    use super::super::format::Plan;
    use super::Seating;

    /// Goal: numbering follows the document, positions add up, aisles cut rows.
    #[test]
    fn seats_are_numbered_in_document_order_and_rows_cut_at_aisles() {
        let seat = |guid: &str, x: i32| {
            format!(r#"{{"seat_guid":"{guid}","seat_number":"{guid}","position":{{"x":{x},"y":0}},"category":"A"}}"#)
        };
        let row = |number: &str, seats: &[String]| {
            format!(r#"{{"row_number":"{number}","position":{{"x":1,"y":2}},"seats":[{}]}}"#, seats.join(","))
        };
        let wide = [0, 30, 60, 140, 170].map(|x| seat(&format!("a{x}"), x));
        let pair = [0, 300].map(|x| seat(&format!("b{x}"), x));
        let text = format!(
            r#"{{"name":"H","categories":[{{"name":"A"}}],"zones":[{{"zone_id":"Z","position":{{"x":10,"y":20}},"rows":[{},{}]}}]}}"#,
            row("1", &wide),
            row("2", &pair),
        );
        let plan = Plan::parse(text.as_bytes()).expect("a plan").plan;
        let seating = Seating::of(&plan).expect("good");
        assert_eq!(seating.runs, [0..3, 3..5, 5..6, 6..7]);
        assert_eq!(seating.seats[4].seat_no, 4);
        assert_eq!((seating.seats[4].at.x, seating.seats[4].at.y), (181.0, 22.0));
        assert_eq!(seating.seats[0].section, "Z");
        assert_eq!(plan.with_size().expect("good").size, Some(seating.size));
    }
}
