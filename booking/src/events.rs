//! What is fixed about events, kept in memory: an imported plan never changes.
//!
//! So a hold needs no join with the catalogue: seats are found by name, priced and numbered here. Prices and
//! capacities change by an organiser's hand alone: then the event is marked stale, here and by the bell on the other
//! nodes, and they are read anew by whoever needs them next. What changes all the time (seat states, counters,
//! versions) is never kept here.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use booking_domain::best::{Features, Hall};
use booking_domain::plan::packed::Packed;
use booking_domain::plan::{Attribute, Plan, Position, Seating};
use booking_domain::{AreaId, EventId};
use sqlx::{PgConnection, PgPool};

use crate::error::{Error, Refusal};
use crate::storage::catalogue::{self, AreaRow, CategoryRow, EventRow};
use crate::storage::holds::Price;
use crate::storage::terms;

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
    pub seated: Option<Arc<Seated>>,
    /// What a seat of each of the plan's categories costs.
    prices: Vec<Price>,
    /// The version of the last change of prices or capacities that is known here.
    terms_version: i64,
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
    /// The plan for those who draw it.
    pub packed: bytes::Bytes,
    numbers: HashMap<String, i32>,
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
            self.prices.get(category).copied()
        };
        price().ok_or_else(|| Error::defect(format!("seat {seat_no} of {} has no price", self.event.id)))
    }

    /// The plan's categories, by index, in which a seat costs no more than this.
    #[must_use]
    pub fn affordable(&self, most: i64) -> Vec<u16> {
        let prices = (0u16..).zip(&self.prices);
        prices.filter(|(_, price)| price.price <= most).map(|(index, _)| index).collect()
    }

    /// An area by its id.
    #[must_use]
    pub fn area(&self, area: &AreaId) -> Option<&AreaRow> {
        self.areas.iter().find(|row| row.area == area.as_str())
    }

    async fn load(pool: &PgPool, id: &EventId) -> Result<Option<Self>, Error> {
        let mut conn = pool.acquire().await?;
        let Some(event) = catalogue::event(&mut conn, id).await? else { return Ok(None) };
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
                let event = event.clone();
                let read = tokio::task::spawn_blocking(move || Seated::of(&event, document, attributes));
                let read = read.await.map_err(|gone| Error::internal("reading a plan panicked", gone))?;
                Some(Arc::new(read?))
            }
        };
        Self::with_terms(&mut conn, event, seated).await.map(Some)
    }

    /// The facts with prices and capacities as they are now.
    async fn with_terms(conn: &mut PgConnection, event: EventRow, seated: Option<Arc<Seated>>) -> Result<Self, Error> {
        // The version is read first: what changes meanwhile is read once more.
        let terms_version = terms::version(conn, &event.id).await?;
        let categories = catalogue::categories(conn, &event.id).await?;
        let areas = catalogue::areas(conn, &event.id).await?;
        let price = |name: &String| categories.iter().find(|row| row.category == *name).map(|row| row.price);
        // A category without seats has no price; nobody asks for it.
        let nothing = Price { fee: 0, tax: 0, price: 0 };
        let names = seated.iter().flat_map(|seated| &seated.seating.categories);
        let prices = names.map(|name| price(name).unwrap_or(nothing)).collect();
        Ok(Self { event, categories, areas, seated, prices, terms_version })
    }
}

impl Seated {
    /// What a buyer should know of a seat before taking it.
    #[must_use]
    pub fn attributes_of(&self, seat_no: u32) -> &[Attribute] {
        let all = i32::try_from(seat_no).ok().and_then(|seat_no| self.attributes.get(&seat_no));
        all.map_or(&[], Vec::as_slice)
    }

    fn of(event: &EventRow, document: String, attributes: HashMap<i32, Vec<Attribute>>) -> Result<Self, Error> {
        let id = &event.id;
        let parsed = Plan::parse(document.as_bytes());
        let plan = parsed.map_err(|e| Error::internal(format!("the stored plan of {id} cannot be read"), e))?.plan;
        let seating = Seating::of(&plan).map_err(|e| Error::internal(format!("the stored plan of {id} is bad"), e))?;
        let numbers = seating.seats.iter().zip(0i32..).map(|(seat, number)| (seat.guid.clone(), number)).collect();
        let focus = event.focal_point.map_or_else(|| seating.default_focal_point(), |(x, y)| Position { x, y });
        let of = |seat_no: u32| i32::try_from(seat_no).ok().and_then(|no| attributes.get(&no));
        let features = |seat_no: u32| {
            let has = |attribute| of(seat_no).is_some_and(|all| all.contains(&attribute));
            Features {
                accessible: has(Attribute::Accessible),
                companion: has(Attribute::Companion),
                step_free: has(Attribute::FewSteps),
                aisle: has(Attribute::Aisle),
            }
        };
        let hall = Hall::new(&seating, focus, features);
        let packed = Packed::of(&plan, &seating).to_json().into();
        Ok(Self { seating, hall, document: document.into(), packed, numbers, attributes })
    }
}

/// An attribute's name, the same in files and tables.
#[must_use]
pub fn attribute_name(attribute: Attribute) -> String {
    let name = serde_json::to_value(attribute).ok().and_then(|value| value.as_str().map(str::to_owned));
    name.expect("an attribute is written as text")
}

/// An event at hand. It is stale when it was marked since it was read.
#[derive(Debug)]
struct Known {
    facts: Arc<EventFacts>,
    marked: u64,
    read_at_mark: u64,
}

/// The events known to this node.
#[derive(Debug, Default)]
pub struct EventBook {
    known: RwLock<HashMap<EventId, Known>>,
    /// Whoever reads an event first, the others wait for; by the event's digest.
    reading: [tokio::sync::Mutex<()>; READING],
}

impl EventBook {
    /// An event's facts.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] when there is no such event.
    pub async fn get(&self, pool: &PgPool, id: &EventId) -> Result<Arc<EventFacts>, Error> {
        if let Some((facts, _)) = self.at_hand(id).filter(|(_, stale_since)| stale_since.is_none()) {
            return Ok(facts);
        }
        let _turn = self.turn(id).lock().await;
        match self.at_hand(id) {
            Some((facts, None)) => Ok(facts),
            Some((old, Some(mark))) => {
                let mut conn = pool.acquire().await?;
                let fresh = EventFacts::with_terms(&mut conn, old.event.clone(), old.seated.clone()).await?;
                Ok(self.keep(id, fresh, mark))
            }
            None => match EventFacts::load(pool, id).await? {
                Some(facts) => Ok(self.keep(id, facts, 0)),
                None => Err(Refusal::NotFound { what: "event" }.into()),
            },
        }
    }

    /// Says that prices or capacities of an event changed.
    pub fn stale(&self, id: &EventId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get_mut(id) {
            known.marked += 1;
        }
    }

    /// The events at hand, each with the version of the last change of its prices or capacities that is known.
    #[must_use]
    pub fn terms_versions(&self) -> Vec<(EventId, i64)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(id, known)| (id.clone(), known.facts.terms_version)).collect()
    }

    fn keep(&self, id: &EventId, facts: EventFacts, mark: u64) -> Arc<EventFacts> {
        let facts = Arc::new(facts);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_EVENTS && !known.contains_key(id) {
            known.clear();
        }
        let marked = known.get(id).map_or(mark, |known| known.marked.max(mark));
        known.insert(id.clone(), Known { facts: Arc::clone(&facts), marked, read_at_mark: mark });
        facts
    }

    /// The facts at hand, and when they are stale, by which mark.
    fn at_hand(&self, id: &EventId) -> Option<(Arc<EventFacts>, Option<u64>)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(id)?;
        Some((Arc::clone(&known.facts), (known.marked > known.read_at_mark).then_some(known.marked)))
    }

    fn turn(&self, id: &EventId) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        &self.reading[hasher.finish() as usize % READING]
    }
}
