//! The event page: what is free, by category, by area, by section and, for one section, seat by seat.
//!
//! Pure: made from what is fixed about the event and one snapshot of what is free.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use booking_domain::plan::{Attribute, Seat};
use booking_domain::{Money, SeatState};

use super::assets::ASSETS;
use super::notices::Reason;
use super::pages::{
    AreaLine, CategoryLine, EventHead, EventPage, MapData, PickedSection, SeatBox, SeatRow, SectionLine,
};
use super::words;
use crate::events::{EventFacts, Seated};
use crate::feed::{AreaStock, Snapshot};

/// What the visitor asked the page to show.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The section to show seat by seat.
    pub(super) section: Option<String>,
    /// Why they are back.
    pub(super) reason: Option<Reason>,
}

/// The head of an event's pages.
pub(super) fn event_head(facts: &EventFacts) -> EventHead {
    let event = &facts.event;
    EventHead {
        id: event.id.to_string(),
        name: event.name.clone(),
        performers: (!event.performers.is_empty()).then(|| words::listed(&event.performers)),
        venue: event.venue.clone(),
        city: event.city.clone(),
        starts_at: event.starts_at.to_string(),
        when: words::moment(event.starts_at, &event.time_zone),
    }
}

/// The event page. `limit` is how many places one buyer may have; `key` names this showing of it.
pub(super) fn event_page(facts: &EventFacts, now: &Snapshot, limit: u32, asked: &Asked, key: String) -> EventPage {
    let hall = facts.seated.as_ref().map(|seated| HallNow { facts, seated, now });
    let free = hall.as_ref().map(HallNow::free_by_category).unwrap_or_default();
    let free_of = |name: &str| free.get(name).copied().unwrap_or(0);
    let categories = facts.categories.iter().map(|row| CategoryLine {
        name: row.category.clone(),
        color: row.color.clone(),
        price: price_words(facts, row.price.price),
        free: free_of(&row.category),
        free_words: words::count(free_of(&row.category)),
    });
    let picked = hall.as_ref().zip(asked.section.as_deref()).and_then(|(hall, section)| hall.picked(section));
    EventPage {
        assets: &ASSETS,
        event: event_head(facts),
        notice: asked.reason.as_ref().map(|reason| reason.notice(facts, limit, |category| free_of(category) > 0)),
        categories: categories.collect(),
        seats_free: free.values().sum(),
        areas: now.areas.iter().filter_map(|stock| area_line(facts, stock, limit)).collect(),
        map: hall.as_ref().map(|_| map_data(facts)),
        sections: hall.as_ref().map(|hall| hall.sections(asked.section.as_deref())).unwrap_or_default(),
        picked,
        limit,
        key,
    }
}

fn price_words(facts: &EventFacts, amount: i64) -> String {
    words::money(Money::new(amount, facts.event.currency))
}

fn area_line(facts: &EventFacts, stock: &AreaStock, limit: u32) -> Option<AreaLine> {
    let row = facts.areas.iter().find(|row| row.area == stock.area)?;
    let free = u32::try_from(stock.capacity - stock.held - stock.sold).unwrap_or(0);
    Some(AreaLine {
        area: row.area.clone(),
        name: row.name.clone(),
        price: price_words(facts, row.price.price),
        free_words: words::count(free.into()),
        capacity_words: words::count(u64::try_from(stock.capacity).unwrap_or(0)),
        most: free.min(limit),
    })
}

fn map_data(facts: &EventFacts) -> MapData {
    let prices: BTreeMap<&str, serde_json::Value> = facts
        .categories
        .iter()
        .map(|row| (row.category.as_str(), serde_json::json!({ "amount": row.price.price })))
        .collect();
    MapData {
        currency: facts.event.currency.code().into(),
        prices: serde_json::to_string(&prices).expect("text and numbers always serialise"),
    }
}

/// A hall with what is free in it.
struct HallNow<'a> {
    facts: &'a EventFacts,
    seated: &'a Seated,
    now: &'a Snapshot,
}

impl<'a> HallNow<'a> {
    fn is_free(&self, seat: &Seat) -> bool {
        self.now.seats.get(seat.seat_no as usize) == Some(SeatState::Free)
    }

    fn category_of(&self, seat: &Seat) -> &'a str {
        &self.seated.seating.categories[usize::from(seat.category)]
    }

    fn price_of(&self, seat: &Seat) -> i64 {
        let category = self.category_of(seat);
        self.facts.categories.iter().find(|row| row.category == category).map_or(0, |row| row.price.price)
    }

    fn free_by_category(&self) -> HashMap<&'a str, u64> {
        let mut free = HashMap::new();
        for seat in self.seated.seating.seats.iter().filter(|seat| self.is_free(seat)) {
            *free.entry(self.category_of(seat)).or_default() += 1;
        }
        free
    }

    /// All sections, in the plan's order.
    fn sections(&self, current: Option<&str>) -> Vec<SectionLine> {
        let mut order: Vec<&str> = Vec::new();
        let mut found: HashMap<&str, (u64, i64)> = HashMap::new();
        for seat in &self.seated.seating.seats {
            let entry = found.entry(&seat.section).or_insert_with(|| {
                order.push(&seat.section);
                (0, i64::MAX)
            });
            if self.is_free(seat) {
                *entry = (entry.0 + 1, entry.1.min(self.price_of(seat)));
            }
        }
        let line = |name: &str| {
            let (free, from) = found[name];
            SectionLine {
                name: name.to_owned(),
                free,
                free_words: words::count(free),
                from: format!("from {}", price_words(self.facts, from)),
                current: current == Some(name),
            }
        };
        order.into_iter().map(line).collect()
    }

    /// One section seat by seat; none when there is no such section.
    fn picked(&self, section: &str) -> Option<PickedSection> {
        let seats: Vec<&Seat> = self.seated.seating.seats.iter().filter(|seat| seat.section == section).collect();
        let rows = seats.chunk_by(|a, b| a.row == b.row).map(|row| self.row(row));
        let rows: Vec<SeatRow> = rows.collect();
        let free = seats.iter().filter(|seat| self.is_free(seat)).count();
        let attributes = seats.iter().flat_map(|seat| self.attributes(seat));
        let marks: BTreeSet<(&str, &str)> =
            attributes.filter_map(|attribute| Some((words::mark(attribute)?, words::attribute(attribute)))).collect();
        (!seats.is_empty()).then(|| PickedSection {
            name: section.to_owned(),
            words: match free {
                0 => "Nothing is free here at the moment.".into(),
                1 => "One seat is free here.".into(),
                free => format!("{free} seats are free here. Numbers struck through are taken."),
            },
            rows,
            marks: marks.into_iter().map(|(mark, words)| (mark.to_owned(), words.to_owned())).collect(),
        })
    }

    fn row(&self, seats: &[&Seat]) -> SeatRow {
        let mut offers: Vec<String> = Vec::new();
        for seat in seats {
            let offer = format!("{}, {}", self.category_of(seat), price_words(self.facts, self.price_of(seat)));
            if !offers.contains(&offer) {
                offers.push(offer);
            }
        }
        let mixed = offers.len() > 1;
        SeatRow {
            name: seats.first().map(|seat| seat.row.clone()).unwrap_or_default(),
            words: offers.join("; "),
            seats: seats.iter().map(|seat| self.seat_box(seat, mixed)).collect(),
        }
    }

    fn seat_box(&self, seat: &Seat, name_category: bool) -> SeatBox {
        let mut notes: Vec<&str> = name_category.then(|| self.category_of(seat)).into_iter().collect();
        for attribute in self.attributes(seat) {
            notes.push(words::attribute(attribute));
        }
        SeatBox {
            guid: seat.guid.clone(),
            number: seat.number.clone(),
            free: self.is_free(seat),
            notes: (!notes.is_empty()).then(|| notes.join(", ")),
            mark: self.attributes(seat).find_map(words::mark),
        }
    }

    fn attributes(&self, seat: &Seat) -> impl Iterator<Item = Attribute> + use<'a> {
        self.seated.attributes_of(seat.seat_no).iter().copied()
    }
}
