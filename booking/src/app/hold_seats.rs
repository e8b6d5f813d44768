//! Holding seats or places: all of the request or nothing.
//!
//! Callers know [`hold_seats`] alone. The hold is made by the event's writer ([`super::writer`]), together with all
//! that wait beside it; here the request is made ready for it, and its outcome becomes what the holder sees. A
//! success is kept for repeated requests as the hold itself; a refusal, which has no effect, is kept after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use booking_domain::best::Wish as BestWish;
use booking_domain::{AreaId, Hold, HoldId, HoldState, Owner};
use sqlx::PgConnection;
use uuid::Uuid;

use super::once::{self, Claim, Done, Entry, Once};
use super::views::{self, HoldView};
use super::writer::{Held, Outcome};
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::hold_batch::HoldOrder;
use crate::storage::holds::{self, HeldArea, HeldSeat, HoldRow};
use crate::storage::tx::in_tx;

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
    /// Whether the owner was made up for this request, so that nobody has anything by that name yet.
    pub is_new: bool,
    /// What.
    pub wish: Wish,
}

/// Holds what is wished, at most once per key.
///
/// # Errors
/// [`Refusal::SeatsTaken`], [`Refusal::NotEnough`], [`Refusal::LimitExceeded`], [`Refusal::TooManyHolds`],
/// [`Refusal::LeavesSingle`]; [`Refusal::TooManyAtOnce`]; [`Refusal::Conflict`] when the event does not take place; that the database cannot be had.
pub async fn hold_seats(
    services: &Services,
    request: HoldRequest,
    repeat: Option<Once<HoldView>>,
) -> Result<Done<HoldView>, Error> {
    let facts = Arc::clone(&request.event);
    match ask(services, request, repeat.as_ref()).await? {
        Outcome::Held(held) => Ok(Done::Fresh(view(&facts, *held)?)),
        Outcome::KeyKnown => replay(services, facts, repeat, None).await,
        Outcome::Refused(Refusal::InFlight) => Err(Refusal::InFlight.into()),
        Outcome::Refused(refusal) => replay(services, facts, repeat, Some(refusal)).await,
    }
}

async fn ask(services: &Services, request: HoldRequest, repeat: Option<&Once<HoldView>>) -> Result<Outcome, Error> {
    let (limit, wanted) = (services.writers.places_limit(), request.wish.places());
    if request.is_new && wanted > limit {
        return Ok(Outcome::Refused(Refusal::LimitExceeded { limit, have: 0, wanted }));
    }
    let facts = &*request.event;
    let (mut seats, mut areas, mut best) = (Vec::new(), Vec::new(), None);
    match request.wish {
        Wish::Seats(mut wanted) => {
            wanted.sort_unstable();
            for seat_no in wanted {
                seats.push(HeldSeat { seat_no, price: facts.price_of(seat_no)? });
            }
        }
        Wish::Areas(wanted) => {
            for (area, quantity) in wanted {
                let row = facts.area(&area);
                let row = row.ok_or_else(|| Error::defect(format!("{} has no area {area}", facts.event.id)))?;
                let quantity = i32::try_from(quantity).map_err(|e| Error::internal("an unchecked quantity", e))?;
                areas.push(HeldArea { area: area.into(), quantity, price: row.price });
            }
        }
        Wish::Best(wish) => best = Some(wish),
    }
    let keys = repeat.map_or_else(Vec::new, |once| {
        let also = once
            .also
            .iter()
            .filter(|actor| **actor != once.claim.actor)
            .map(|actor| Claim { actor: actor.clone(), ..once.claim.clone() });
        std::iter::once(once.claim.clone()).chain(also).collect()
    });
    // Time-ordered, so that new rows lie beside each other.
    let id = HoldId::new(Uuid::now_v7());
    let order = HoldOrder { id, owner: request.owner, counted: !request.is_new, seats, rung: None, areas, keys };
    services.writers.ask(&request.event, order, best).await
}

/// The hold as its holder sees it at its making.
fn view(facts: &EventFacts, held: Held) -> Result<HoldView, Error> {
    let Held { order, made_at, until } = held;
    let row = HoldRow {
        id: order.id,
        owner: order.owner,
        hold: Hold { state: HoldState::Active, expires_at: until },
        first_expires_at: None,
        made_until: None,
        rung: order.rung,
        created_at: made_at,
        now: made_at,
    };
    views::hold_view(facts, &row, &order.seats, &order.areas)
}

/// Answers by what is kept for the key. A refusal is kept now, unless something is kept already.
async fn replay(
    services: &Services,
    facts: Arc<EventFacts>,
    repeat: Option<Once<HoldView>>,
    refusal: Option<Refusal>,
) -> Result<Done<HoldView>, Error> {
    let Some(once) = repeat else {
        return Err(refusal.map_or_else(|| Error::defect("a known key without a key"), Error::from));
    };
    let done = in_tx(&services.db, move |conn| {
        let (facts, once, refusal) = (Arc::clone(&facts), once.clone(), refusal.clone());
        Box::pin(async move {
            match once::enter(conn, &once.claim).await? {
                Entry::Replayed(answer) => Ok(Ok(Done::Replayed(answer))),
                Entry::Paying(payment) => Ok(Ok(Done::Paying(payment))),
                Entry::Held(hold) => Ok(Ok(Done::Replayed((once.render)(Ok(&made(conn, &facts, hold).await?))))),
                Entry::Go => {
                    let Some(refusal) = refusal else { return Err(Refusal::InFlight.into()) };
                    once.keep(conn, Err(&refusal)).await?;
                    Ok(Err(refusal))
                }
            }
        })
    });
    Ok(done.await??)
}

/// A hold as it was when it was made.
async fn made(conn: &mut PgConnection, facts: &EventFacts, id: HoldId) -> Result<HoldView, Error> {
    let event = &facts.event.id;
    let row = holds::find(conn, event, id).await?;
    let row = row.ok_or_else(|| Error::defect(format!("the hold {id} is an answer and is not there")))?;
    let seats = holds::seats_as_made(conn, event, id).await?;
    let areas = holds::areas(conn, event, id).await?;
    views::hold_view(facts, &row.as_made(), &seats, &areas)
}
