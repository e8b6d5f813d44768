//! `GET /events`: what is on sale.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use booking_domain::{Money, SeatState};
use jiff::Timestamp;
use serde::Deserialize;

use super::assets::ASSETS;
use super::pages::{EventLine, EventsPage};
use super::words;
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::feed::Snapshot;
use crate::http::body::{Params, is_storable};
use crate::services::Services;
use crate::storage::catalogue::{self, EventRow, Filter};

/// Events of one page.
const PAGE: i64 = 12;
/// Longest search.
const MAX_SEARCH: usize = 200;
/// Most words that are searched for.
const MAX_WORDS: usize = 10;

/// What the list is narrowed to.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    q: Option<String>,
    after: Option<String>,
}

/// Shows the list.
pub(super) async fn show(
    State(services): State<Services>,
    Params(query): Params<ListQuery>,
) -> Result<Response, Error> {
    let asked = query.q.map(|q| q.trim().to_owned()).filter(|q| !q.is_empty());
    if asked.as_ref().is_some_and(|q| q.len() > MAX_SEARCH || q.contains('\0')) {
        return Err(Refusal::invalid("#q", format!("q is at most {MAX_SEARCH} bytes of text")).into());
    }
    let search = asked.as_deref().unwrap_or_default().to_lowercase();
    let filter = Filter {
        words: search.split_whitespace().take(MAX_WORDS).map(str::to_owned).collect(),
        after: query.after.as_deref().and_then(cursor),
        limit: PAGE + 1,
        ..Filter::default()
    };
    let rows = catalogue::events(&services.db, &filter).await?;
    let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let next = (rows.len() > page).then(|| next_address(&rows[page - 1], asked.as_deref()));
    let mut events = Vec::with_capacity(rows.len());
    for row in rows.into_iter().take(page) {
        let facts = services.events.get(&services.db, &row.id).await?;
        let now = services.feeds.of(&row.id).snapshot(&services.db).await?;
        events.push(line(&facts, &now));
    }
    super::page(StatusCode::OK, &EventsPage { assets: &ASSETS, query: asked, events, next })
}

fn cursor(text: &str) -> Option<(Timestamp, booking_domain::EventId)> {
    let (at, id) = text.split_once('~')?;
    Some((at.parse().ok().filter(|at| is_storable(*at))?, id.parse().ok()?))
}

fn next_address(last: &EventRow, query: Option<&str>) -> String {
    let query = query.map(|query| format!("&q={}", words::in_query(query))).unwrap_or_default();
    format!("/events?after={}~{}{query}", last.starts_at, last.id)
}

fn line(facts: &EventFacts, now: &Snapshot) -> EventLine {
    let event = &facts.event;
    let free_seats = now.seats.count(SeatState::Free);
    let places =
        |of: fn(&crate::feed::AreaStock) -> i32| now.areas.iter().map(move |area| u64::try_from(of(area)).unwrap_or(0));
    let free = free_seats as u64 + places(|area| area.capacity - area.held - area.sold).sum::<u64>();
    let all = now.seats.len() as u64 + places(|area| area.capacity).sum::<u64>();
    let prices = facts.categories.iter().map(|row| row.price.price);
    let lowest = prices.chain(facts.areas.iter().map(|row| row.price.price)).min();
    EventLine {
        id: event.id.to_string(),
        name: event.name.clone(),
        venue: event.venue.clone(),
        city: event.city.clone(),
        starts_at: event.starts_at.to_string(),
        when: words::moment(event.starts_at, &event.time_zone),
        from: lowest.map(|amount| words::money(Money::new(amount, event.currency))),
        left: match free {
            0 => "Nothing free at the moment".into(),
            free => format!("{} of {} places free", words::count(free), words::count(all)),
        },
    }
}
