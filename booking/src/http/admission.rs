//! `GET /admission/health`: what the waiting room in front of this node needs to set its rate.
//!
//! For gateways, which keep fans away from it. Cheap in any case: the stock of an event is read at most four times a second
//! from its feed, the rest is counted in memory.

mod load;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use booking_domain::{EventId, SeatState};
use serde::{Deserialize, Serialize};

use super::answer;
use super::body::{Params, param};
use crate::error::{Error, Refusal};
use crate::feed;
use crate::services::Services;
use load::{Load, accept_factor};

/// The route whose times count.
const HOLDS: &str = "/v1/events/{event}/holds";
/// How old a stock may be.
const FRESH: Duration = Duration::from_millis(250);
/// How long reading it may take, and how old it may be when it cannot be read in time.
const PATIENCE: Duration = Duration::from_millis(500);
const GOOD_ENOUGH: Duration = Duration::from_secs(5);
/// Most events whose stock is remembered.
const EVENTS_MAX: usize = 200;

/// What this node notes about itself; shared by its requests.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    load: Mutex<Load>,
    stocks: Mutex<HashMap<EventId, (Instant, Stock)>>,
}

/// How much there is of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stock {
    left: u64,
    capacity: u64,
}

impl Meter {
    /// Nothing noted yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), load: Mutex::default(), stocks: Mutex::default() })
    }

    fn second(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

/// The layer that measures holds.
pub(super) async fn measure(
    Extension(meter): Extension<Arc<Meter>>,
    State(services): State<Services>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if request.method() != Method::POST || route != Some(HOLDS) {
        return next.run(request).await;
    }
    let began = Instant::now();
    let response = next.run(request).await;
    let took_ms = began.elapsed().as_secs_f64() * 1000.0;
    let busy = services.db.size().saturating_sub(u32::try_from(services.db.num_idle()).unwrap_or(u32::MAX));
    let busy_share = f64::from(busy) / f64::from(services.config.database.max_connections.max(1));
    let mut load = meter.load.lock().unwrap_or_else(PoisonError::into_inner);
    load.note(meter.second(), took_ms, response.status(), busy_share);
    response
}

/// Which event.
#[derive(Debug, Deserialize)]
pub(super) struct HealthParams {
    event: Option<String>,
}

#[derive(Debug, Serialize)]
struct HealthDocument<'a> {
    event: &'a str,
    stock_left: u64,
    capacity: u64,
    holds_p99_ms: Option<f64>,
    holds_per_s: f64,
    errors_per_s: f64,
    accept_factor: f64,
}

/// Tells how this node is, and what is left of an event.
pub(super) async fn health(
    State(services): State<Services>,
    Extension(meter): Extension<Arc<Meter>>,
    Params(params): Params<HealthParams>,
) -> Result<Response, Error> {
    let event = param::<EventId>("event", params.event.as_deref(), "an event's id")?;
    let event = event.ok_or_else(|| Refusal::invalid("#event", "event is needed"))?;
    let stock = stock_of(&services, &meter, &event).await?;
    let summary = meter.load.lock().unwrap_or_else(PoisonError::into_inner).summary(meter.second());
    let document = HealthDocument {
        event: event.as_str(),
        stock_left: stock.left,
        capacity: stock.capacity,
        holds_p99_ms: summary.p99_ms,
        holds_per_s: summary.holds_per_s,
        errors_per_s: summary.errors_per_s,
        accept_factor: accept_factor(&summary),
    };
    Ok(answer::response(answer::json(StatusCode::OK, &document)))
}

async fn stock_of(services: &Services, meter: &Arc<Meter>, event: &EventId) -> Result<Stock, Error> {
    let known = meter.stocks.lock().unwrap_or_else(PoisonError::into_inner).get(event).copied();
    if let Some((_, stock)) = known.filter(|(read, _)| read.elapsed() < FRESH) {
        return Ok(stock);
    }
    // A task of its own: a large plan may take longer to read for the first time than any gateway waits.
    let reading = tokio::spawn(read(services.clone(), Arc::clone(meter), event.clone()));
    let outcome = match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(broken)) => Err(unread(broken.into())),
        Err(late) => Err(unread(late.into())),
    };
    outcome.or_else(|error| {
        // A node with much to do must not look like one that is not there.
        let lately = known.filter(|(read, _)| read.elapsed() < GOOD_ENOUGH && !matches!(error, Error::Refused(_)));
        lately.map(|(_, stock)| stock).ok_or(error)
    })
}

fn unread(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Unavailable { what: "the stock of an event", source, retry: false }
}

async fn read(services: Services, meter: Arc<Meter>, event: EventId) -> Result<Stock, Error> {
    services.events.get(&services.db, &event).await?;
    let stock = count(&*services.feeds.of(&event).snapshot(&services.db).await?);
    let mut stocks = meter.stocks.lock().unwrap_or_else(PoisonError::into_inner);
    if stocks.len() >= EVENTS_MAX {
        stocks.clear();
    }
    stocks.insert(event, (Instant::now(), stock));
    Ok(stock)
}

fn count(snapshot: &feed::Snapshot) -> Stock {
    let seats = snapshot.seats.len();
    let free = (0..seats).filter(|seat| snapshot.seats.get(*seat) == Some(SeatState::Free)).count();
    let whole = |number: i32| u64::try_from(number).unwrap_or(0);
    let areas = snapshot.areas.iter();
    let in_areas: u64 = areas.clone().map(|area| whole(area.capacity - area.held - area.sold)).sum();
    let capacity: u64 = areas.map(|area| whole(area.capacity)).sum();
    Stock { left: free as u64 + in_areas, capacity: seats as u64 + capacity }
}

#[cfg(test)]
mod tests {
    use super::*;
    use booking_domain::PackedSeats;

    #[test]
    fn what_is_held_is_not_left() {
        let mut seats = PackedSeats::free(5);
        assert!(seats.set(0, SeatState::Held) && seats.set(1, SeatState::Sold));
        let area = feed::AreaStock { area: "floor".into(), capacity: 10, held: 3, sold: 6 };
        let stock = count(&feed::Snapshot::new(1, seats, vec![area]));
        assert_eq!(stock, Stock { left: 4, capacity: 15 });
    }
}
