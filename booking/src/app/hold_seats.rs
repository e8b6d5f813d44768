//! Holding seats or places: all of the request or nothing.
//!
//! This is the seam for a batched writer: callers know [`hold_seats`] alone. Here each request is a
//! transaction of its own that first decides (limit, seats under lock, areas under lock) and only then
//! writes. A held seat whose hold has lapsed by the database's clock is free for the taker at once: it is
//! expired and taken in the same transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use booking_domain::best::{BestError, Wish as BestWish};
use booking_domain::{AreaId, EventId, HoldId, Owner, SeatState};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::once::{Done, Once, once};
use super::views::{self, HoldView};
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::areas::{self, AreaCounts, Counted};
use crate::storage::history::{self, AreaChange, Change, Op};
use crate::storage::holds::{self, HeldArea, HeldSeat, Price};
use crate::storage::{limits, seats};

/// How often the best seats are chosen anew when somebody took one of them in between.
const CHOICES: u32 = 5;

/// What somebody wants to hold.
#[derive(Debug, Clone)]
pub enum Wish {
    /// These seats, by number, each once.
    Seats(Vec<i32>),
    /// So many places of these areas, each area once.
    Areas(BTreeMap<AreaId, u32>),
    /// The best seats beside each other.
    Best(BestWish),
}

impl Wish {
    /// How many places.
    #[must_use]
    pub fn places(&self) -> u32 {
        match self {
            Self::Seats(seats) => u32::try_from(seats.len()).unwrap_or(u32::MAX),
            Self::Areas(areas) => areas.values().fold(0, |sum: u32, quantity| sum.saturating_add(*quantity)),
            Self::Best(wish) => wish.quantity,
        }
    }
}

/// A request to hold.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// The event, whose seats and areas the wish was checked against.
    pub event: Arc<EventFacts>,
    /// For whom.
    pub owner: Owner,
    /// What.
    pub wish: Wish,
}

/// Holds what is wished, at most once per key.
///
/// # Errors
/// [`Refusal::SeatsTaken`], [`Refusal::NotEnough`], [`Refusal::LimitExceeded`]; that the database cannot be
/// had.
pub async fn hold_seats(
    services: &Services,
    request: HoldRequest,
    repeat: Option<Once<HoldView>>,
) -> Result<Done<HoldView>, Error> {
    let limits = services.config.holds.clone();
    let request = Arc::new(request);
    once(&services.db, repeat, move |conn| {
        let request = Arc::clone(&request);
        let (ttl_s, most) = (limits.ttl_s, limits.max_seats_per_visitor);
        Box::pin(async move {
            check_limit(conn, &request, most).await?;
            hold(conn, &request, ttl_s).await
        })
    })
    .await
}

async fn check_limit(conn: &mut PgConnection, request: &HoldRequest, limit: u32) -> Result<(), Error> {
    let wanted = request.wish.places();
    let have = limits::lock_and_count(conn, &request.event.event.id, &request.owner).await?;
    if have.saturating_add(wanted) > limit {
        return Err(Refusal::LimitExceeded { limit, have, wanted }.into());
    }
    Ok(())
}

async fn hold(conn: &mut PgConnection, request: &HoldRequest, ttl_s: u32) -> Result<HoldView, Error> {
    let facts = &*request.event;
    match &request.wish {
        Wish::Seats(wanted) => {
            let lapsed = match lock_seats(conn, facts, wanted).await? {
                Locked::Free { lapsed } => lapsed,
                Locked::Taken(taken) => return Err(Refusal::SeatsTaken { taken }.into()),
            };
            write_seats(conn, request, wanted, lapsed, ttl_s).await
        }
        Wish::Best(wish) => {
            let (chosen, lapsed) = choose(conn, facts, wish).await?;
            write_seats(conn, request, &chosen, lapsed, ttl_s).await
        }
        Wish::Areas(wanted) => hold_areas(conn, request, wanted, ttl_s).await,
    }
}

/// Seats of lapsed holds, by hold.
type Lapsed = BTreeMap<Uuid, Vec<i32>>;

enum Locked {
    Free { lapsed: Lapsed },
    Taken(Vec<String>),
}

async fn lock_seats(conn: &mut PgConnection, facts: &EventFacts, wanted: &[i32]) -> Result<Locked, Error> {
    let event = &facts.event.id;
    let locked = seats::lock(conn, event, wanted).await?;
    if locked.len() != wanted.len() {
        return Err(Error::defect(format!("{event} has {} of the seats {wanted:?}", locked.len())));
    }
    let (mut lapsed, mut taken) = (Lapsed::new(), Vec::new());
    for seat in locked {
        match (seat.state, seat.lapsed, seat.hold) {
            (SeatState::Free, ..) => {}
            (SeatState::Held, true, Some(hold)) => lapsed.entry(hold).or_default().push(seat.seat_no),
            _ => taken.extend(facts.seat(seat.seat_no).map(|seat| seat.guid.clone())),
        }
    }
    if taken.is_empty() { Ok(Locked::Free { lapsed }) } else { Ok(Locked::Taken(taken)) }
}

async fn write_seats(
    conn: &mut PgConnection,
    request: &HoldRequest,
    wanted: &[i32],
    lapsed: Lapsed,
    ttl_s: u32,
) -> Result<HoldView, Error> {
    let facts = &*request.event;
    let event = &facts.event.id;
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let held: Result<Vec<HeldSeat>, Error> =
        wanted.iter().map(|seat_no| Ok(HeldSeat { seat_no: *seat_no, price: facts.price_of(*seat_no)? })).collect();
    let held = held?;
    let row = holds::insert(conn, event, new_hold_id(), &request.owner, ttl_s).await?;
    holds::insert_seats(conn, event, row.id, &held).await?;
    let change = |op, hold, seats, until| Change { event, op, hold, booking: None, seats, areas: Vec::new(), until };
    for (hold, seats) in &lapsed {
        history::apply(conn, change(Op::Expire, *hold, seats, None)).await?;
    }
    history::apply(conn, change(Op::Hold, row.id.get(), &wanted, Some(row.hold.expires_at))).await?;
    views::hold_view(facts, &row, &held, &[])
}

/// Chooses the best seats and locks them. Choosers wait for each other; who names seats does not wait, and
/// may take one of them between choice and lock.
async fn choose(conn: &mut PgConnection, facts: &EventFacts, wish: &BestWish) -> Result<(Vec<i32>, Lapsed), Error> {
    let event = &facts.event.id;
    let not_enough = || Refusal::NotEnough { area: None, wanted: wish.quantity, available: None };
    let Some(seated) = &facts.seated else { return Err(not_enough().into()) };
    seats::lock_choice(conn, event).await?;
    for _ in 0..CHOICES {
        let mut is_free = vec![false; seated.seating.seats.len()];
        for seat_no in seats::free(conn, event).await? {
            if let Some(free) = usize::try_from(seat_no).ok().and_then(|seat_no| is_free.get_mut(seat_no)) {
                *free = true;
            }
        }
        let choice = seated.hall.choose(wish, |seat_no| is_free.get(seat_no as usize).copied().unwrap_or(false));
        let choice = choice.map_err(|why| match why {
            BestError::Quantity(_) => Refusal::invalid("/best/quantity", why.to_string()),
            BestError::UnknownCategory(_) => Refusal::invalid("/best/category", why.to_string()),
            BestError::NotEnough { .. } | BestError::NotTogether { .. } => not_enough(),
        })?;
        let chosen: Vec<i32> = choice.seats.into_iter().filter_map(|seat_no| i32::try_from(seat_no).ok()).collect();
        // Locks of a choice that failed are given back, so that the next is locked in the order of all.
        let mut attempt = conn.begin().await?;
        if let Locked::Free { lapsed } = lock_seats(&mut attempt, facts, &chosen).await? {
            attempt.commit().await?;
            return Ok((chosen, lapsed));
        }
        attempt.rollback().await?;
    }
    let source = "other fans were faster each time".into();
    Err(Error::Unavailable { what: "the choice of the best seats", source, retry: false })
}

async fn hold_areas(
    conn: &mut PgConnection,
    request: &HoldRequest,
    wanted: &BTreeMap<AreaId, u32>,
    ttl_s: u32,
) -> Result<HoldView, Error> {
    let facts = &*request.event;
    let event = &facts.event.id;
    let names: Vec<String> = wanted.keys().map(|area| area.as_str().to_owned()).collect();
    let locked = areas::lock(conn, event, &names).await?;
    let (mut held, mut lapsed) = (Vec::with_capacity(wanted.len()), Vec::new());
    for (area, quantity) in wanted {
        let counts = locked.iter().find(|counts| counts.area == area.as_str());
        let counts = counts.ok_or_else(|| Error::defect(format!("{event} has lost the area {area}")))?;
        let quantity = i32::try_from(*quantity).map_err(|e| Error::internal("an unchecked quantity", e))?;
        for (hold, places) in find_room(conn, event, area, counts, quantity).await? {
            lapsed.push((area, hold, places));
        }
        held.push(HeldArea { area: area.as_str().to_owned(), quantity, price: area_price(facts, area)? });
    }
    // Decided; from here on it is written.
    for (area, hold, places) in lapsed {
        areas::reclaim(conn, event, area.as_str(), hold).await?;
        let counts = areas::shift(conn, event, area.as_str(), places, Counted::Held, Counted::Free).await?;
        apply_areas(conn, facts, Op::Expire, hold, vec![counts.changed(places)]).await?;
    }
    let row = holds::insert(conn, event, new_hold_id(), &request.owner, ttl_s).await?;
    let mut changes = Vec::with_capacity(held.len());
    for area in &held {
        holds::insert_area(conn, event, &row, area).await?;
        let counts = areas::shift(conn, event, &area.area, area.quantity, Counted::Free, Counted::Held).await?;
        changes.push(counts.changed(area.quantity));
    }
    apply_areas(conn, facts, Op::Hold, row.id.get(), changes).await?;
    views::hold_view(facts, &row, &[], &held)
}

fn area_price(facts: &EventFacts, area: &AreaId) -> Result<Price, Error> {
    let row = facts.area(area).ok_or_else(|| Error::defect(format!("{} has no area {area}", facts.event.id)))?;
    Ok(row.price)
}

/// The lapsed holds whose places have to be taken back, oldest first, so that an area under lock has so many
/// free ones.
async fn find_room(
    conn: &mut PgConnection,
    event: &EventId,
    area: &AreaId,
    counts: &AreaCounts,
    quantity: i32,
) -> Result<Vec<(Uuid, i32)>, Error> {
    let mut available = counts.free();
    let mut needed = Vec::new();
    if available < quantity {
        for (hold, places) in areas::lapsed(conn, event, area, quantity - available).await? {
            if available >= quantity {
                break;
            }
            available += places;
            needed.push((hold, places));
        }
    }
    if available >= quantity {
        return Ok(needed);
    }
    let number = |places: i32| u32::try_from(places).unwrap_or(0);
    let (wanted, available) = (number(quantity), Some(number(available)));
    Err(Refusal::NotEnough { area: Some(area.as_str().to_owned()), wanted, available }.into())
}

async fn apply_areas(
    conn: &mut PgConnection,
    facts: &EventFacts,
    op: Op,
    hold: Uuid,
    areas: Vec<AreaChange>,
) -> Result<(), Error> {
    let change = Change { event: &facts.event.id, op, hold, booking: None, seats: &[], areas, until: None };
    history::apply(conn, change).await?;
    Ok(())
}

/// Time-ordered, so that new rows lie beside each other.
fn new_hold_id() -> HoldId {
    HoldId::new(Uuid::now_v7())
}
