//! The catalogue: events and their plans.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use booking_domain::{EventId, Money, SeatState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer;
use super::body::{Ids, Params, is_storable, page_limit, param};
use super::documents::{MoneyDocument, Page};
use super::problem::ProblemDocument;
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::feed::{AreaStock, Snapshot};
use crate::services::Services;
use crate::storage::catalogue::{self, EventRow, Filter};

/// Longest search text, and most words of it.
const MAX_SEARCH: usize = 200;
const MAX_WORDS: usize = 10;

/// A venue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Venue)]
pub(super) struct VenueDocument {
    id: String,
    name: String,
    city: String,
    time_zone: String,
}

/// An event in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventSummary)]
pub(super) struct EventSummary {
    /// Its id.
    event: String,
    name: String,
    venue: VenueDocument,
    category: String,
    performers: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    starts_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    doors_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    currency: &'static str,
    /// The sale whose pass is needed for holds and bookings; null when none is.
    sale: Option<String>,
}

impl From<&EventRow> for EventSummary {
    fn from(row: &EventRow) -> Self {
        Self {
            event: row.id.to_string(),
            name: row.name.clone(),
            venue: VenueDocument {
                id: row.venue_id.clone(),
                name: row.venue.clone(),
                city: row.city.clone(),
                time_zone: row.time_zone.clone(),
            },
            category: row.category.clone(),
            performers: row.performers.clone(),
            starts_at: row.starts_at,
            doors_at: row.doors_at,
            ends_at: row.ends_at,
            currency: row.currency.code(),
            sale: row.sale.clone(),
        }
    }
}

/// A price category with its stock.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PriceCategory {
    category: String,
    color: Option<String>,
    /// What one seat costs, everything included.
    price: MoneyDocument,
    /// How many seats it has.
    seats: usize,
    /// How many of them are free.
    free: usize,
}

/// A general-admission area with its stock.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AreaSummary {
    area: String,
    name: String,
    category: Option<String>,
    /// What one place costs, everything included.
    price: MoneyDocument,
    capacity: i32,
    held: i32,
    sold: i32,
    free: i32,
}

/// What can be had.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Availability {
    /// The event's version that these numbers belong to.
    version: i64,
    /// How many seats there are.
    seats: usize,
    /// How many of them are free.
    free: usize,
    /// How many places areas have in all.
    places: i64,
    /// How many of them are free.
    places_free: i64,
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(super) struct EventDocument {
    #[serde(flatten)]
    summary: EventSummary,
    price_categories: Vec<PriceCategory>,
    areas: Vec<AreaSummary>,
    availability: Availability,
    /// Where the plan is; null for general admission only.
    plan: Option<String>,
    /// Until how long before the start bookings can be cancelled.
    cancel_until_s: i64,
}

impl EventDocument {
    /// The document of an event with its stock.
    #[must_use]
    pub(super) fn new(facts: &EventFacts, stock: &Snapshot) -> Self {
        let event = &facts.event;
        let money = |amount| MoneyDocument::from(Money::new(amount, event.currency));
        let mut counts = vec![(0, 0); facts.seated.as_ref().map_or(0, |seated| seated.seating.categories.len())];
        for (seat_no, seat) in facts.seated.iter().flat_map(|seated| &seated.seating.seats).enumerate() {
            let (seats, free) = &mut counts[usize::from(seat.category)];
            *seats += 1;
            *free += usize::from(stock.seats.get(seat_no) == Some(SeatState::Free));
        }
        let names = facts.seated.iter().flat_map(|seated| &seated.seating.categories);
        let of = |name: &str| names.clone().position(|other| other == name).map_or((0, 0), |index| counts[index]);
        let price_categories = facts.categories.iter().map(|row| PriceCategory {
            category: row.category.clone(),
            color: row.color.clone(),
            price: money(row.price.price),
            seats: of(&row.category).0,
            free: of(&row.category).1,
        });
        let areas = facts.areas.iter().filter_map(|row| {
            let now = stock.areas.iter().find(|area| area.area == row.area)?;
            Some(AreaSummary {
                area: row.area.clone(),
                name: row.name.clone(),
                category: row.category.clone(),
                price: money(row.price.price),
                capacity: now.capacity,
                held: now.held,
                sold: now.sold,
                free: now.capacity - now.held - now.sold,
            })
        });
        let sum = |of: fn(&AreaStock) -> i32| stock.areas.iter().map(|area| i64::from(of(area))).sum();
        Self {
            summary: EventSummary::from(event),
            price_categories: price_categories.collect(),
            areas: areas.collect(),
            availability: Availability {
                version: stock.version,
                seats: stock.seats.len(),
                free: stock.seats.count(SeatState::Free),
                places: sum(|area| area.capacity),
                places_free: sum(|area| area.capacity - area.held - area.sold),
            },
            plan: facts.seated.as_ref().map(|_| format!("/v1/events/{}/plan", event.id)),
            cancel_until_s: event.cancel_until_s,
        }
    }
}

/// What a list of events is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Words in name, performers, venue or city; all must occur.
    q: Option<String>,
    city: Option<String>,
    /// Genre.
    category: Option<String>,
    /// A venue's id or name.
    venue: Option<String>,
    performer: Option<String>,
    /// Starts at or after: RFC 3339, or a date.
    from: Option<String>,
    /// Starts before: RFC 3339, or a date.
    to: Option<String>,
    /// 1 to 100; 20 if not given.
    limit: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl ListParams {
    fn filter(self) -> Result<(Filter, i64), Refusal> {
        let limit = page_limit(self.limit.as_deref())?;
        let text = |name: &str, text: Option<String>| match text {
            Some(text) if text.len() > MAX_SEARCH || text.contains('\0') => {
                Err(Refusal::invalid(format!("#{name}"), format!("{name} is at most {MAX_SEARCH} bytes of text")))
            }
            text => Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())),
        };
        let q = text("q", self.q)?.unwrap_or_default().to_lowercase();
        let filter = Filter {
            words: q.split_whitespace().take(MAX_WORDS).map(str::to_owned).collect(),
            city: text("city", self.city)?,
            category: text("category", self.category)?,
            venue: text("venue", self.venue)?,
            performer: text("performer", self.performer)?,
            from: param::<Moment>("from", self.from.as_deref(), Moment::IS)?.map(|moment| moment.0),
            to: param::<Moment>("to", self.to.as_deref(), Moment::IS)?.map(|moment| moment.0),
            after: self.cursor.as_deref().map(read_cursor).transpose()?,
            limit: limit + 1,
        };
        Ok((filter, limit))
    }
}

/// A time, or the beginning of a day in UTC.
struct Moment(Timestamp);

impl Moment {
    const IS: &str = "an RFC 3339 time or a date";
}

/// The text is no time that can be looked for.
struct NoMoment;

impl std::str::FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        let day = || text.parse::<jiff::civil::Date>()?.to_zoned(jiff::tz::TimeZone::UTC);
        let at = text.parse::<Timestamp>().or_else(|_| day().map(|day| day.timestamp()));
        at.ok().filter(|at| is_storable(*at)).map(Self).ok_or(NoMoment)
    }
}

fn read_cursor(text: &str) -> Result<(Timestamp, EventId), Refusal> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (starts_at, id) = text.split_once(' ')?;
        Some((starts_at.parse().ok().filter(|at| is_storable(*at))?, id.parse().ok()?))
    };
    read().ok_or_else(|| Refusal::invalid("#cursor", "this is no cursor of this list"))
}

/// Lists events by their start.
#[utoipa::path(get, path = "/v1/events", tag = "catalogue", params(ListParams),
    responses((status = 200, body = Page<EventSummary>), (status = 400, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn list(
    State(services): State<Services>,
    Params(params): Params<ListParams>,
) -> Result<Response, Error> {
    let (filter, limit) = params.filter()?;
    let mut rows = catalogue::events(&services.db, &filter).await?;
    let more = i64::try_from(rows.len()).is_ok_and(|len| len > limit);
    rows.truncate(usize::try_from(limit).unwrap_or(0));
    let cursor = |row: &EventRow| URL_SAFE_NO_PAD.encode(format!("{} {}", row.starts_at, row.id));
    let next = rows.last().filter(|_| more).map(cursor);
    let items = rows.iter().map(EventSummary::from).collect();
    Ok(answer::response(answer::json(StatusCode::OK, &Page { items, next })))
}

/// Reads an event.
#[utoipa::path(get, path = "/v1/events/{event}", tag = "catalogue", params(("event" = String, Path)),
    responses((status = 200, body = EventDocument), (status = 404, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn read(State(services): State<Services>, Ids(event): Ids<EventId>) -> Result<Response, Error> {
    let facts = services.events.get(&services.db, &event).await?;
    let stock = services.feeds.of(&event).snapshot(&services.db).await?;
    Ok(answer::response(answer::json(StatusCode::OK, &EventDocument::new(&facts, &stock))))
}
