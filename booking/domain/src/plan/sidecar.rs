//! What belongs to an event's seating but has no place in the public plan format: prices,
//! general-admission areas with their capacity, attributes of seats, the focal point.
//!
//! A separate JSON file keyed by names of the plan, so that the plan itself stays a valid file of
//! the public format. Prices are minor units of one currency.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::check::{Faults, Findings, check_label};
use super::format::Position;
use super::seating::Seating;
use crate::ids::AreaId;

/// Highest price of one place, in minor units.
pub const MAX_PRICE: i64 = 100_000_000_000;
/// Most places of one standing area.
pub const MAX_CAPACITY: u32 = 1_000_000;
/// Most standing areas of one event.
pub const MAX_STANDING_AREAS: usize = 200;

/// The sidecar of a plan, or the whole inventory of an event without seats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Price of each category of the plan, by name.
    #[serde(default)]
    pub prices: BTreeMap<String, Price>,
    /// General-admission areas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<StandingArea>,
    /// What everybody came to see; the best places are the nearest to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focal_point: Option<Position>,
    /// Attributes of seats, by `seat_guid`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seats: BTreeMap<String, BTreeSet<Attribute>>,
}

/// An amount of money as files and documents write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Minor units.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
}

/// A general-admission area: places without numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingArea {
    /// Its identifier in routes: lower-case letters, digits, dashes.
    pub area: String,
    /// What people call it.
    pub name: String,
    /// How many fit in.
    pub capacity: u32,
    /// Price of one place.
    pub price: Price,
    /// Category of the plan that it counts to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The `uuid` of the plan's drawing that shows it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawing: Option<String>,
}

/// What a buyer should know of a seat before taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// Space for a wheelchair.
    Accessible,
    /// Beside an accessible place, for the companion.
    Companion,
    /// At the aisle.
    Aisle,
    /// Part of the stage is hidden.
    RestrictedView,
    /// The armrest lifts.
    LiftUpArmrest,
    /// Within the hearing loop.
    HearingLoop,
    /// Few or no steps.
    FewSteps,
    /// In sight of the sign-language interpreter.
    SignLanguage,
    /// Wider than the others.
    Wide,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Accessible,
        Self::Companion,
        Self::Aisle,
        Self::RestrictedView,
        Self::LiftUpArmrest,
        Self::HearingLoop,
        Self::FewSteps,
        Self::SignLanguage,
        Self::Wide,
    ];

    /// Whether the seat is kept for those who ask for it, and so never chosen for others.
    #[must_use]
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Accessible | Self::Companion)
    }

    /// Whether the seat is the worse for it.
    #[must_use]
    pub fn is_drawback(self) -> bool {
        self == Self::RestrictedView
    }

    /// Whether a seat with these attributes suits somebody who chose one with those: it has all that was good about the
    /// other, nothing that was not bad about it, and is kept for the same people or for nobody.
    #[must_use]
    pub fn suits(offered: &[Self], chosen: &[Self]) -> bool {
        Self::ALL.into_iter().all(|one| {
            let (has, had) = (offered.contains(&one), chosen.contains(&one));
            match one {
                kept if kept.is_kept() => has == had,
                bad if bad.is_drawback() => had || !has,
                _ => has || !had,
            }
        })
    }
}

impl Sidecar {
    /// Reads a sidecar file.
    ///
    /// # Errors
    /// When it is not JSON of a sidecar's shape; unknown members are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Writes the sidecar; equal sidecars give equal bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("text, finite numbers and lists always serialise")
    }

    /// Checks the sidecar against the plan it belongs to, or by itself for an event without seats.
    ///
    /// # Errors
    /// All faults found, each with its JSON pointer into the sidecar.
    pub fn check(&self, seating: Option<&Seating>) -> Result<(), Faults> {
        let mut found = Findings::default();
        let categories = seating.map_or(&[][..], |seating| &seating.categories);
        for (name, price) in &self.prices {
            let pointer = || format!("/prices/{}", escape(name));
            if !categories.contains(name) {
                found.add(pointer, || format!("the plan has no category {name:?}"));
            }
            check_price(price, pointer, &mut found);
        }
        self.check_priced(seating, &mut found);
        self.check_areas(categories, &mut found);
        self.check_currency(&mut found);
        let guids: HashSet<&str> =
            seating.iter().flat_map(|seating| &seating.seats).map(|seat| seat.guid.as_str()).collect();
        for guid in self.seats.keys().filter(|guid| !guids.contains(guid.as_str())) {
            found.add(|| format!("/seats/{}", escape(guid)), || format!("the plan has no seat {guid:?}"));
        }
        found.finish()
    }

    fn check_priced(&self, seating: Option<&Seating>, found: &mut Findings) {
        let used: BTreeSet<u16> = seating.iter().flat_map(|seating| &seating.seats).map(|seat| seat.category).collect();
        let name = |index: &u16| seating.and_then(|seating| seating.categories.get(usize::from(*index)));
        for name in used.iter().filter_map(name) {
            if !self.prices.contains_key(name) {
                found.add(|| "/prices".into(), || format!("the category {name:?} has seats but no price"));
            }
        }
    }

    fn check_areas(&self, categories: &[String], found: &mut Findings) {
        if self.areas.len() > MAX_STANDING_AREAS {
            found.add(|| "/areas".into(), || format!("at most {MAX_STANDING_AREAS} areas are allowed"));
        }
        let mut ids = HashSet::new();
        for (index, area) in self.areas.iter().enumerate().take(MAX_STANDING_AREAS) {
            let at = |member: &'static str| move || format!("/areas/{index}/{member}");
            if area.area.parse::<AreaId>().is_err() {
                found.add(at("area"), || "is not 1 to 40 lower-case letters, digits and inner dashes".into());
            }
            if !ids.insert(&area.area) {
                found.add(at("area"), || format!("the area {:?} occurs twice", area.area));
            }
            check_label(&area.name, at("name"), found);
            if !(1..=MAX_CAPACITY).contains(&area.capacity) {
                found.add(at("capacity"), || format!("is not between 1 and {MAX_CAPACITY}"));
            }
            check_price(&area.price, at("price"), found);
            if let Some(category) = area.category.as_ref().filter(|name| !categories.contains(name)) {
                found.add(at("category"), || format!("the plan has no category {category:?}"));
            }
        }
    }

    fn check_currency(&self, found: &mut Findings) {
        let currencies: BTreeSet<&str> = self
            .prices
            .values()
            .chain(self.areas.iter().map(|area| &area.price))
            .map(|price| price.currency.as_str())
            .collect();
        if currencies.len() > 1 {
            found.add(|| "/prices".into(), || format!("one event has one currency, not {currencies:?}"));
        }
    }

    /// Whether the seat is kept for those who ask for it.
    #[must_use]
    pub fn is_kept(&self, guid: &str) -> bool {
        self.seats.get(guid).is_some_and(|of| of.iter().any(|attribute| attribute.is_kept()))
    }
}

fn check_price(price: &Price, pointer: impl Fn() -> String, found: &mut Findings) {
    if !(0..=MAX_PRICE).contains(&price.amount) {
        found.add(&pointer, || format!("the amount is not between 0 and {MAX_PRICE}"));
    }
    if iso_currency::Currency::from_code(&price.currency).is_none() {
        found.add(&pointer, || format!("{:?} is no ISO 4217 currency", price.currency));
    }
}

/// A member's name inside a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::super::format::Plan;
    use super::super::seating::Seating;
    use super::Sidecar;

    const PLAN: &str = include_str!("../../../../config/demo/small-theatre.json");
    const SIDECAR: &str = include_str!("../../../../config/demo/small-theatre.sidecar.json");

    fn seating() -> Seating {
        Seating::of(&Plan::parse(PLAN.as_bytes()).expect("a plan").plan).expect("good")
    }

    #[test]
    fn the_hand_written_theatre_is_good() {
        let parsed = Plan::parse(PLAN.as_bytes()).expect("a plan");
        assert_eq!(parsed.ignored, Vec::<String>::new());
        let seating = seating();
        assert_eq!(seating.seats.len(), 62);
        let sidecar = Sidecar::parse(SIDECAR.as_bytes()).expect("a sidecar");
        sidecar.check(Some(&seating)).expect("fits the plan");
        assert_eq!(Sidecar::parse(&sidecar.to_json()).expect("our own"), sidecar);
        assert!(sidecar.is_kept("stalls-A-1") && !sidecar.is_kept("stalls-A-3"));
    }

    /// Goal: each check refuses what it is for. Method: one good sidecar, spoilt one member at a time.
    #[test]
    fn every_fault_is_pointed_at() {
        let table: &[(&str, &str, &str)] = &[
            (r#""Stalls": {"#, r#""Stools": {"#, "/prices/Stools"),
            (r#""amount": 4200"#, r#""amount": -1"#, "/prices/Stalls"),
            (r#""amount": 4200, "currency": "EUR""#, r#""amount": 4200, "currency": "USD""#, "/prices"),
            (r#""currency": "EUR""#, r#""currency": "EURO""#, "/prices/Balcony"),
            (r#""capacity": 40"#, r#""capacity": 0"#, "/areas/0/capacity"),
            (r#""area": "pit""#, r#""area": "The Pit""#, "/areas/0/area"),
            ("stalls-A-1\"", "stalls/Z-1\"", "/seats/stalls~1Z-1"),
        ];
        for (from, to, pointer) in table {
            let text = SIDECAR.replace(from, to);
            assert_ne!(text, SIDECAR, "{from} is in the sidecar");
            let faults = Sidecar::parse(text.as_bytes()).expect("of the shape").check(Some(&seating())).expect_err(to);
            assert!(faults.listed.iter().any(|fault| fault.pointer == *pointer), "{to}: {faults}");
        }
    }

    #[test]
    fn a_seat_suits_whoever_chose_one_that_is_no_better() {
        use super::Attribute::{self, Accessible, Aisle, Companion, FewSteps, RestrictedView};
        let table: &[(&[Attribute], &[Attribute], bool)] = &[
            (&[], &[], true),
            (&[Accessible, FewSteps], &[Accessible, FewSteps], true),
            (&[FewSteps], &[Accessible, FewSteps], false),
            (&[Accessible, FewSteps], &[FewSteps], false),
            (&[Companion], &[Accessible], false),
            (&[Aisle], &[], true),
            (&[], &[Aisle], false),
            (&[RestrictedView], &[], false),
            (&[], &[RestrictedView], true),
            (&[Aisle, RestrictedView], &[Aisle, RestrictedView], true),
        ];
        for (offered, chosen, suits) in table {
            assert_eq!(Attribute::suits(offered, chosen), *suits, "{offered:?} for {chosen:?}");
        }
    }

    #[test]
    fn an_event_without_seats_has_areas_only() {
        let text =
            r#"{"areas":[{"area":"club","name":"Club","capacity":500,"price":{"amount":2500,"currency":"EUR"}}]}"#;
        Sidecar::parse(text.as_bytes()).expect("of the shape").check(None).expect("good");
        assert!(Sidecar::parse(br#"{"areaz":[]}"#).is_err(), "unknown members are refused");
    }
}
