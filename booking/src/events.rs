//! What is fixed about events, kept in memory: an imported event never changes.
//!
//! So a hold needs no join with the catalogue: seats are found by name, priced and numbered here. What does
//! change (seat states, counters, versions) is never kept here.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use booking_domain::best::Hall;
use booking_domain::plan::{Attribute, Plan, Position, Seating};
use booking_domain::{AreaId, EventId};
use sqlx::PgPool;

use crate::error::{Error, Refusal};
use crate::storage::catalogue::{self, AreaRow, CategoryRow, EventRow};
use crate::storage::holds::Price;

/// Most events kept; beyond it all are forgotten and read again.
const MAX_EVENTS: usize = 200;
/// Most events read at once.
const READING: usize = 16;

/// An event's fixed facts.
#[derive(Debug)]
pub struct EventFacts {
    /// The event and its venue. Its `now` is the time it was read.
    pub event: EventRow,
    /// Price categories in the plan's order.
    pub categories: Vec<CategoryRow>,
    /// General-admission areas.
    pub areas: Vec<AreaRow>,
    /// Its seats; none for general admission only.
    pub seated: Option<Seated>,
}

/// The seats of an event.
#[derive(Debug)]
pub struct Seated {
    /// The plan's seats by number.
    pub seating: Seating,
    /// Prepared for choosing the best.
    pub hall: Hall,
    /// The plan's document, as it is served.
    pub document: bytes::Bytes,
    numbers: HashMap<String, i32>,
    prices: Vec<Price>,
    attributes: HashMap<i32, Vec<Attribute>>,
}

impl EventFacts {
    /// The number of a seat.
    #[must_use]
    pub fn seat_no(&self, guid: &str) -> Option<i32> {
        self.seated.as_ref()?.numbers.get(guid).copied()
    }

    /// A seat as the plan describes it.
    #[must_use]
    pub fn seat(&self, seat_no: i32) -> Option<&booking_domain::plan::Seat> {
        self.seated.as_ref()?.seating.seats.get(usize::try_from(seat_no).ok()?)
    }

    /// The name of a seat's category.
    #[must_use]
    pub fn category_of(&self, seat_no: i32) -> Option<&str> {
        let category = usize::from(self.seat(seat_no)?.category);
        Some(self.seated.as_ref()?.seating.categories.get(category)?.as_str())
    }

    /// What a seat costs.
    ///
    /// # Errors
    /// A defect when there is no such seat: the caller parsed it.
    pub fn price_of(&self, seat_no: i32) -> Result<Price, Error> {
        let price = || {
            let category = usize::from(self.seat(seat_no)?.category);
            self.seated.as_ref()?.prices.get(category).copied()
        };
        price().ok_or_else(|| Error::defect(format!("seat {seat_no} of {} has no price", self.event.id)))
    }

    /// An area by its id.
    #[must_use]
    pub fn area(&self, area: &AreaId) -> Option<&AreaRow> {
        self.areas.iter().find(|row| row.area == area.as_str())
    }

    async fn load(pool: &PgPool, id: &EventId) -> Result<Option<Self>, Error> {
        let mut conn = pool.acquire().await?;
        let Some(event) = catalogue::event(&mut conn, id).await? else { return Ok(None) };
        let categories = catalogue::categories(&mut conn, id).await?;
        let areas = catalogue::areas(&mut conn, id).await?;
        let seated = match &event.plan_digest {
            None => None,
            Some(digest) => {
                let document = catalogue::plan(&mut conn, digest).await?;
                let document = document.ok_or_else(|| Error::defect(format!("the plan {digest} of {id} is lost")))?;
                let mut attributes: HashMap<i32, Vec<Attribute>> = HashMap::new();
                for attribute in Attribute::ALL {
                    for seat_no in catalogue::seats_with(&mut conn, id, &[attribute_name(attribute)]).await? {
                        attributes.entry(seat_no).or_default().push(attribute);
                    }
                }
                Some(Seated::of(&event, &categories, document, attributes)?)
            }
        };
        Ok(Some(Self { event, categories, areas, seated }))
    }
}

impl Seated {
    /// What a buyer should know of a seat before taking it.
    #[must_use]
    pub fn attributes_of(&self, seat_no: u32) -> &[Attribute] {
        let all = i32::try_from(seat_no).ok().and_then(|seat_no| self.attributes.get(&seat_no));
        all.map_or(&[], Vec::as_slice)
    }

    fn of(
        event: &EventRow,
        categories: &[CategoryRow],
        document: String,
        attributes: HashMap<i32, Vec<Attribute>>,
    ) -> Result<Self, Error> {
        let id = &event.id;
        let parsed = Plan::parse(document.as_bytes());
        let plan = parsed.map_err(|e| Error::internal(format!("the stored plan of {id} cannot be read"), e))?.plan;
        let seating = Seating::of(&plan).map_err(|e| Error::internal(format!("the stored plan of {id} is bad"), e))?;
        let price = |name: &String| categories.iter().find(|row| row.category == *name).map(|row| row.price);
        // A category without seats has no price; nobody asks for it.
        let nothing = Price { fee: 0, tax: 0, price: 0 };
        let prices = seating.categories.iter().map(|name| price(name).unwrap_or(nothing)).collect();
        let numbers = seating.seats.iter().zip(0i32..).map(|(seat, number)| (seat.guid.clone(), number)).collect();
        let focus = event.focal_point.map_or_else(|| seating.default_focal_point(), |(x, y)| Position { x, y });
        let of = |seat_no: u32| i32::try_from(seat_no).ok().and_then(|no| attributes.get(&no));
        let is_kept = |seat_no: u32| of(seat_no).is_some_and(|all| all.iter().any(|attribute| attribute.is_kept()));
        let hall = Hall::new(&seating, focus, is_kept);
        Ok(Self { seating, hall, document: document.into(), numbers, prices, attributes })
    }
}

/// An attribute's name, the same in files and tables.
#[must_use]
pub fn attribute_name(attribute: Attribute) -> String {
    let name = serde_json::to_value(attribute).ok().and_then(|value| value.as_str().map(str::to_owned));
    name.expect("an attribute is written as text")
}

/// The events known to this node.
#[derive(Debug, Default)]
pub struct EventBook {
    known: RwLock<HashMap<EventId, Arc<EventFacts>>>,
    /// Whoever reads an event first, the others wait for; by the event's digest.
    reading: [tokio::sync::Mutex<()>; READING],
}

impl EventBook {
    /// An event's facts.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] when there is no such event.
    pub async fn get(&self, pool: &PgPool, id: &EventId) -> Result<Arc<EventFacts>, Error> {
        if let Some(facts) = self.at_hand(id) {
            return Ok(facts);
        }
        let _turn = self.turn(id).lock().await;
        if let Some(facts) = self.at_hand(id) {
            return Ok(facts);
        }
        let Some(facts) = EventFacts::load(pool, id).await? else {
            return Err(Refusal::NotFound { what: "event" }.into());
        };
        let facts = Arc::new(facts);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_EVENTS {
            known.clear();
        }
        known.insert(id.clone(), Arc::clone(&facts));
        Ok(facts)
    }

    fn at_hand(&self, id: &EventId) -> Option<Arc<EventFacts>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).map(Arc::clone)
    }

    fn turn(&self, id: &EventId) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        &self.reading[hasher.finish() as usize % READING]
    }
}
