//! What a plan must satisfy before it is imported.
//!
//! Every fault names the place in the file by its JSON pointer; at most [`MAX_FAULTS`] are listed.
//! The checks are about meaning (unique, known, inside); the shape of the file is the business of
//! [`super::format`].

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::format::{Category, Plan, Position, Row, Zone};

/// Most seats of one plan.
pub const MAX_SEATS: usize = 200_000;
/// Most zones of one plan.
pub const MAX_ZONES: usize = 5_000;
/// Most rows of one plan.
pub const MAX_ROWS: usize = 50_000;
/// Most drawings of one plan.
pub const MAX_AREAS: usize = 20_000;
/// Most price categories of one plan.
pub const MAX_CATEGORIES: usize = 200;
/// Most characters of a name, a label or a seat's identifier.
pub const MAX_LABEL_CHARS: usize = 100;
/// Most faults that are listed.
pub const MAX_FAULTS: usize = 50;

/// One thing wrong with a plan or its sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, as a JSON pointer into the file.
    pub pointer: String,
    /// What is wrong, for a person.
    pub detail: String,
}

/// Everything found wrong, up to [`MAX_FAULTS`] of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    /// The faults, in the order of the file.
    pub listed: Vec<Fault>,
    /// How many there are altogether.
    pub total: usize,
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} fault(s)", self.total)?;
        for fault in &self.listed {
            write!(out, "\n  {}: {}", fault.pointer, fault.detail)?;
        }
        let rest = self.total - self.listed.len();
        if rest > 0 { write!(out, "\n  and {rest} more") } else { Ok(()) }
    }
}

/// Gathers faults; keeps the first [`MAX_FAULTS`] and counts all.
#[derive(Debug, Default)]
pub(super) struct Findings {
    listed: Vec<Fault>,
    total: usize,
}

impl Findings {
    pub(super) fn add(&mut self, pointer: impl FnOnce() -> String, detail: impl FnOnce() -> String) {
        self.total += 1;
        if self.listed.len() < MAX_FAULTS {
            self.listed.push(Fault { pointer: pointer(), detail: detail() });
        }
    }

    pub(super) fn finish(self) -> Result<(), Faults> {
        if self.total == 0 {
            return Ok(());
        }
        Err(Faults { listed: self.listed, total: self.total })
    }
}

impl Plan {
    /// Checks that the plan can be imported.
    ///
    /// # Errors
    /// All faults found, each with its JSON pointer.
    pub fn check(&self) -> Result<(), Faults> {
        let mut found = Findings::default();
        self.check_bounds(&mut found);
        if found.total > 0 {
            return found.finish();
        }
        self.check_categories(&mut found);
        let mut seen = Seen::default();
        for (index, zone) in self.zones.iter().enumerate() {
            self.check_zone(index, zone, &mut seen, &mut found);
        }
        found.finish()
    }

    fn check_bounds(&self, found: &mut Findings) {
        let rows = || self.zones.iter().flat_map(|zone| &zone.rows);
        let counts = [
            ("/categories", "categories", self.categories.len(), MAX_CATEGORIES),
            ("/zones", "zones", self.zones.len(), MAX_ZONES),
            ("/zones", "rows", rows().count(), MAX_ROWS),
            ("/zones", "seats", rows().map(|row| row.seats.len()).sum(), MAX_SEATS),
            ("/zones", "areas", self.zones.iter().map(|zone| zone.areas.len()).sum(), MAX_AREAS),
        ];
        for (pointer, what, count, most) in counts {
            if count > most {
                found.add(|| pointer.into(), || format!("{count} {what}; at most {most} are allowed"));
            }
        }
        if rows().all(|row| row.seats.is_empty()) {
            found.add(|| "/zones".into(), || "the plan has no seats".into());
        }
        check_label(&self.name, || "/name".into(), found);
    }

    fn check_categories(&self, found: &mut Findings) {
        let mut names = HashSet::new();
        for (index, Category { name, .. }) in self.categories.iter().enumerate() {
            let pointer = || format!("/categories/{index}/name");
            check_label(name, pointer, found);
            if !names.insert(name) {
                found.add(pointer, || format!("the category {name:?} is listed twice"));
            }
        }
    }

    fn check_zone<'a>(&'a self, index: usize, zone: &'a Zone, seen: &mut Seen<'a>, found: &mut Findings) {
        let Some(section) = zone.label() else {
            if zone.rows.iter().any(|row| !row.seats.is_empty()) {
                found.add(|| format!("/zones/{index}"), || "a zone with seats needs a name or a zone_id".into());
            }
            return;
        };
        check_label(section, || format!("/zones/{index}/name"), found);
        for (number, row) in zone.rows.iter().enumerate() {
            let pointer = format!("/zones/{index}/rows/{number}");
            check_label(&row.row_number, || format!("{pointer}/row_number"), found);
            self.check_row(&pointer, section, zone.position + row.position, row, seen, found);
        }
    }

    fn check_row<'a>(
        &'a self,
        pointer: &str,
        section: &'a str,
        origin: Position,
        row: &'a Row,
        seen: &mut Seen<'a>,
        found: &mut Findings,
    ) {
        for (index, seat) in row.seats.iter().enumerate() {
            let at = |member: &str| format!("{pointer}/seats/{index}/{member}");
            check_label(&seat.seat_guid, || at("seat_guid"), found);
            check_label(&seat.seat_number, || at("seat_number"), found);
            if !seen.guids.insert(&seat.seat_guid) {
                found.add(|| at("seat_guid"), || format!("the seat {:?} occurs twice", seat.seat_guid));
            }
            let place = (section, row.row_number.as_str(), seat.seat_number.as_str());
            if let Some(other) = seen.places.insert(place, &seat.seat_guid) {
                found.add(
                    || at("seat_number"),
                    || {
                        let (section, row, number) = place;
                        format!("section {section}, row {row} has a second seat {number}, beside {other:?}")
                    },
                );
            }
            if !self.categories.iter().any(|category| category.name == seat.category) {
                found.add(|| at("category"), || format!("the category {:?} is not listed", seat.category));
            }
            let spot = origin + seat.position;
            if !self.covers(spot) {
                found.add(|| at("position"), || format!("({}, {}) lies outside the plan's size", spot.x, spot.y));
            }
        }
    }

    /// Whether a point lies on the canvas. Older files have no size: then only the side where
    /// coordinates begin is known.
    fn covers(&self, Position { x, y }: Position) -> bool {
        let (width, height) = match self.size {
            Some(size) => (f64::from(size.width), f64::from(size.height)),
            None => (f64::from(u32::MAX), f64::from(u32::MAX)),
        };
        (0.0..=width).contains(&x) && (0.0..=height).contains(&y)
    }
}

#[derive(Default)]
struct Seen<'a> {
    guids: HashSet<&'a str>,
    places: HashMap<(&'a str, &'a str, &'a str), &'a str>,
}

/// A label is short, not blank, and has no control characters.
pub(super) fn check_label(text: &str, pointer: impl Fn() -> String, found: &mut Findings) {
    if text.trim().is_empty() {
        found.add(pointer, || "is blank".into());
    } else if text.chars().count() > MAX_LABEL_CHARS {
        found.add(pointer, || format!("is longer than {MAX_LABEL_CHARS} characters"));
    } else if text.chars().any(char::is_control) {
        found.add(pointer, || "holds a control character".into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{Plan, RowNumberPosition};
    use super::MAX_FAULTS;

    /// Goal: each check refuses what it is for and points at it. Method: one good plan, spoilt
    /// by one replacement of text at a time.
    const GOOD: &str = r##"{"name":"Hall","size":{"width":100,"height":100},
        "categories":[{"name":"A","color":"#c00"}],
        "zones":[{"name":"Left","position":{"x":10,"y":10},"rows":[{"row_number":"1",
          "row_number_position":"left","position":{"x":5,"y":0},"seats":[
          {"seat_guid":"L-1-1","seat_number":"1","position":{"x":0,"y":0},"category":"A"},
          {"seat_guid":"L-1-2","seat_number":"2","position":{"x":25,"y":0},"category":"A"}]}]}]}"##;

    #[test]
    fn every_fault_is_pointed_at() {
        let table: &[(&str, &str, &str, &str)] = &[
            ("L-1-2", "L-1-1", "/zones/0/rows/0/seats/1/seat_guid", "occurs twice"),
            (r#""seat_number":"2""#, r#""seat_number":"1""#, "/zones/0/rows/0/seats/1/seat_number", "second seat"),
            (r#""category":"A"}]"#, r#""category":"B"}]"#, "/zones/0/rows/0/seats/1/category", "not listed"),
            (r#""x":25"#, r#""x":86"#, "/zones/0/rows/0/seats/1/position", "outside"),
            (r#""x":25"#, r#""x":-16"#, "/zones/0/rows/0/seats/1/position", "outside"),
            (r#""name":"Left","#, "", "/zones/0", "needs a name"),
            (r#""row_number":"1""#, r#""row_number":" ""#, "/zones/0/rows/0/row_number", "blank"),
            (r##"{"name":"A","color":"#c00"}"##, r#"{"name":"A"},{"name":"A"}"#, "/categories/1/name", "twice"),
            (r#""Hall""#, r#""Ha\u0007ll""#, "/name", "control"),
        ];
        for (from, to, pointer, detail) in table {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from} is in the plan");
            let plan = Plan::parse(text.as_bytes()).expect("still a plan").plan;
            let faults = plan.check().expect_err(to);
            assert_eq!(faults.total, 1, "{to}: {faults}");
            assert_eq!(faults.listed[0].pointer, *pointer);
            assert!(faults.listed[0].detail.contains(detail), "{faults}");
        }
    }

    #[test]
    fn faults_are_listed_up_to_fifty_and_counted_beyond() {
        let mut plan = Plan::parse(GOOD.as_bytes()).expect("a plan").plan;
        let seat = plan.zones[0].rows[0].seats[0].clone();
        plan.zones[0].rows[0].seats = vec![seat; 41];
        let faults = plan.check().expect_err("all the same");
        assert_eq!((faults.listed.len(), faults.total), (MAX_FAULTS, 80));
        assert!(faults.to_string().ends_with("and 30 more"));
    }

    #[test]
    fn older_variants_are_read_and_written_in_the_newest_form() {
        let old = GOOD
            .replace(r#""size":{"width":100,"height":100},"#, "")
            .replace(
                r#""name":"Left","#,
                r#""name":"Left","displayed":true,"status":"x",
                "areas":[{"width":10,"height":20.5,"position":{"x":0,"y":0}}],"#,
            )
            .replace(r#""row_number":"1""#, r#""row_number":1"#);
        let parsed = Plan::parse(old.as_bytes()).expect("older form");
        assert_eq!(parsed.ignored, ["status"]);
        parsed.plan.check().expect("still good");
        let row = &parsed.plan.zones[0].rows[0];
        assert_eq!((row.row_number.as_str(), row.row_number_position), ("1", Some(RowNumberPosition::Start)));
        let written = String::from_utf8(parsed.plan.to_json()).expect("text");
        assert!(written.contains(r#""shape":"rectangle","rectangle":{"width":10,"height":20.5}"#), "{written}");
        assert!(written.contains(r#""row_number_position":"start""#));
        assert_eq!(Plan::parse(written.as_bytes()).expect("our own").plan, parsed.plan);
    }

    #[test]
    fn what_is_no_plan_is_refused_without_a_panic() {
        for text in ["", "null", "[]", "{", r#"{"name":1}"#, r#"{"name":"x","zones":3,"categories":[]}"#] {
            assert!(Plan::parse(text.as_bytes()).is_err(), "{text}");
        }
        let empty = Plan::parse(br#"{"name":"x","zones":[],"categories":[]}"#).expect("of the shape");
        assert!(empty.plan.check().is_err(), "no seats");
    }
}
