//! Taking free seats out of the sale, and putting them back.
//!
//! A blocked seat is as good as sold to everybody who looks or takes, and belongs to nobody. Only free seats are
//! blocked: what somebody holds or has bought stays theirs. All or nothing; asking twice is asking once.

use std::collections::BTreeMap;
use std::sync::Arc;

use booking_domain::SeatState;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::once::{Done, Once, once};
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::history::{self, Change, Op};
use crate::storage::stock::{self, Act, StockSeat};

/// What an organiser asks for.
#[derive(Debug, Clone)]
pub struct BlockRequest {
    /// The event.
    pub event: Arc<EventFacts>,
    /// The seats, by number.
    pub seats: Vec<i32>,
    /// Whether they are blocked or put back.
    pub blocked: bool,
    /// Whose hand it is.
    pub actor: String,
    /// The request that asks for it.
    pub request_id: String,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The event's version of the change; none when nothing changed.
    pub version: Option<i64>,
    /// Seats that changed.
    pub changed: Vec<i32>,
    /// Seats that were so already.
    pub unchanged: Vec<i32>,
}

/// Blocks seats, or puts them back.
///
/// # Errors
/// [`Refusal::SeatsTaken`] when somebody has one of the seats to be blocked; that the database cannot be had.
pub async fn block_seats(
    services: &Services,
    request: BlockRequest,
    repeat: Option<Once<Blocked>>,
) -> Result<Done<Blocked>, Error> {
    let request = Arc::new(request);
    let shared = Arc::clone(&request);
    let done = once(&services.db, repeat, move |conn| {
        let request = Arc::clone(&shared);
        Box::pin(async move { block(conn, &request).await })
    });
    let done = done.await?;
    services.feeds.changed(&request.event.event.id);
    Ok(done)
}

async fn block(conn: &mut PgConnection, request: &BlockRequest) -> Result<Blocked, Error> {
    let facts = &*request.event;
    let event = &facts.event.id;
    let seats = stock::lock_seats(conn, event, &request.seats).await?;
    let (unchanged, others): (Vec<StockSeat>, Vec<StockSeat>) =
        seats.into_iter().partition(|seat| seat.blocked == request.blocked);
    let number = |seat: &StockSeat| seat.seat_no;
    let unchanged = unchanged.iter().map(number).collect();
    if request.blocked {
        let taken = others.iter().filter(|seat| seat.state != SeatState::Free && !seat.lapsed);
        let taken: Vec<String> = taken.filter_map(|seat| Some(facts.seat(seat.seat_no)?.guid.clone())).collect();
        if !taken.is_empty() {
            return Err(Refusal::SeatsTaken { taken, moment: None }.into());
        }
        expire(conn, facts, &others).await?;
    }
    let changed: Vec<i32> = others.iter().map(number).collect();
    if changed.is_empty() {
        return Ok(Blocked { version: None, changed, unchanged });
    }
    let names: Vec<&str> = changed.iter().filter_map(|seat_no| Some(facts.seat(*seat_no)?.guid.as_str())).collect();
    let act = Act { actor: &request.actor, request_id: &request.request_id, detail: json!({ "seats": names }) };
    let version = stock::set_blocked(conn, event, &changed, request.blocked, &act).await?;
    Ok(Blocked { version: Some(version), changed, unchanged })
}

/// Frees the seats whose hold has lapsed, as the next taker would.
async fn expire(conn: &mut PgConnection, facts: &EventFacts, seats: &[StockSeat]) -> Result<(), Error> {
    let mut lapsed: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for seat in seats.iter().filter(|seat| seat.lapsed) {
        let hold = seat.hold.ok_or_else(|| Error::defect(format!("seat {} is held by nobody", seat.seat_no)))?;
        lapsed.entry(hold).or_default().push(seat.seat_no);
    }
    for (hold, seats) in lapsed {
        let event = &facts.event.id;
        let change =
            Change { event, op: Op::Expire, hold, booking: None, seats: &seats, areas: Vec::new(), until: None };
        history::apply(conn, change).await?;
    }
    Ok(())
}
