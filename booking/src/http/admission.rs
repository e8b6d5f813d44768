//! `GET /admission/health`: what the waiting room in front of this node needs to set its rate.
//!
//! For gateways, which keep fans away from it. Cheap in any case: the stock of an event is read at most four times a second
//! from its feed, the rest is counted in memory.
//!
//! What is said of an event follows from its own holds alone, and only from those whose body, event and pass were found
//! good: nobody who may not hold can lower a rate, and nobody at all that of another event.

mod load;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use booking_domain::{EventId, SeatState};
use serde::{Deserialize, Serialize};

use super::answer;
use super::body::{Params, param};
use crate::app::hold_seats::{HoldRequest, hold_seats};
use crate::app::once::{Done, Once};
use crate::app::views::HoldView;
use crate::app::writer;
use crate::error::{Error, Refusal};
use crate::feed;
use crate::passes::chain;
use crate::services::Services;
use load::{Ended, Load, Summary, accept_factor};

/// So many holds under way are all that an event's writer can have to do: one batch in work, and the next one waiting.
const MUCH: f64 = 2.0 * writer::BATCH as f64;
/// How old a stock may be.
const FRESH: Duration = Duration::from_millis(250);
/// How long reading it may take, and how old it may be when it cannot be read in time.
const PATIENCE: Duration = Duration::from_millis(500);
const GOOD_ENOUGH: Duration = Duration::from_secs(5);
/// Most events whose stock is remembered, and whose holds are.
const EVENTS_MAX: usize = 200;
const LOADS_MAX: usize = 1000;

/// What this node notes about itself; shared by its requests.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    loads: Mutex<HashMap<EventId, Load>>,
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
        Arc::new(Self { started: Instant::now(), loads: Mutex::default(), stocks: Mutex::default() })
    }

    fn second(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Notes that a hold is asked for.
    fn begin(&self, event: &EventId) -> UnderWay<'_> {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        if loads.len() >= LOADS_MAX && !loads.contains_key(event) {
            let second = self.second();
            loads.retain(|_, load| load.is_live(second));
        }
        let is_counted = loads.len() < LOADS_MAX || loads.contains_key(event);
        let under_way = if is_counted { loads.entry(event.clone()).or_default().begin() } else { 0 };
        let busy_share = f64::from(under_way) / MUCH;
        UnderWay { meter: self, event: event.clone(), began: Instant::now(), busy_share, ended: Ended::Abandoned }
    }

    fn summary(&self, event: &EventId) -> Summary {
        let loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.get(event).map(|load| load.summary(self.second())).unwrap_or_default()
    }
}

/// A hold under way. What became of it is noted when this is dropped, also when its caller goes away.
struct UnderWay<'a> {
    meter: &'a Meter,
    event: EventId,
    began: Instant,
    busy_share: f64,
    ended: Ended,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let took_ms = self.began.elapsed().as_secs_f64() * 1000.0;
        let mut loads = self.meter.loads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(load) = loads.get_mut(&self.event) {
            load.end(self.meter.second(), self.ended, took_ms, self.busy_share);
        }
    }
}

/// Holds as [`hold_seats`] does, and notes for the event how long it took and how it ended.
///
/// # Errors
/// See [`hold_seats`].
pub(super) async fn hold_measured(
    meter: &Meter,
    services: &Services,
    request: HoldRequest,
    repeat: Option<Once<HoldView>>,
) -> Result<Done<HoldView>, Error> {
    let mut under_way = meter.begin(&request.event.event.id);
    let done = hold_seats(services, request, repeat).await;
    under_way.ended = match &done {
        Ok(Done::Fresh(_)) => Ended::Made,
        Ok(_) | Err(Error::Refused(_)) => Ended::Answered,
        Err(Error::Unavailable { .. }) => Ended::TurnedAway,
        Err(Error::Internal { .. }) => Ended::Failed,
    };
    done
}

/// Which event.
#[derive(Debug, Deserialize)]
pub(super) struct HealthParams {
    event: Option<String>,
}

#[derive(Debug, Serialize)]
struct HealthDocument<'a> {
    event: &'a str,
    /// Missing, with the next, while it cannot be read in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    stock_left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u64>,
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
    let summary = meter.summary(&event);
    let document = HealthDocument {
        event: event.as_str(),
        stock_left: stock.map(|stock| stock.left),
        capacity: stock.map(|stock| stock.capacity),
        holds_p99_ms: summary.p99_ms,
        holds_per_s: summary.holds_per_s,
        errors_per_s: summary.errors_per_s,
        accept_factor: accept_factor(&summary),
    };
    Ok(answer::response(answer::json(StatusCode::OK, &document)))
}

/// The stock of an event; `None` while it cannot be read. A node with much to do must not look like one that is not there.
async fn stock_of(services: &Services, meter: &Arc<Meter>, event: &EventId) -> Result<Option<Stock>, Refusal> {
    let known = meter.stocks.lock().unwrap_or_else(PoisonError::into_inner).get(event).copied();
    if let Some((_, stock)) = known.filter(|(read, _)| read.elapsed() < FRESH) {
        return Ok(Some(stock));
    }
    // A task of its own: a large plan may take longer to read for the first time than any gateway waits.
    let reading = tokio::spawn(read(services.clone(), Arc::clone(meter), event.clone()));
    let why: Box<dyn std::error::Error + Send + Sync> = match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(Ok(stock))) => return Ok(Some(stock)),
        Ok(Ok(Err(Error::Refused(refusal)))) => return Err(refusal),
        Ok(Ok(Err(error))) => error.into(),
        Ok(Err(broken)) => broken.into(),
        Err(late) => late.into(),
    };
    tracing::debug!(%event, error = %chain(&*why), "the stock of an event cannot be read in time");
    Ok(known.filter(|(read, _)| read.elapsed() < GOOD_ENOUGH).map(|(_, stock)| stock))
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
    use crate::storage::history::Mark;
    use booking_domain::PackedSeats;

    #[test]
    fn what_is_held_is_not_left() {
        let mut seats = PackedSeats::free(5);
        assert!(seats.set(0, SeatState::Held) && seats.set(1, SeatState::Sold));
        let area = feed::AreaStock { area: "floor".into(), capacity: 10, held: 3, sold: 6 };
        let stock = count(&feed::Snapshot::new(1, Mark::default(), seats, vec![area]));
        assert_eq!(stock, Stock { left: 4, capacity: 15 });
    }
}
