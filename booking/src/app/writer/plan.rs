//! What goes into one batch. Pure: decided from the mirror, in the order of arrival.
//!
//! Within a batch each seat, each owner and each idempotency key is in one request only, so that what the database
//! decides about one request does not depend on another of the same batch.

use std::collections::HashSet;

use booking_domain::best::{BestError, Choice, Wish as BestWish};

use super::Ask;
use super::mirror::Mirror;
use crate::error::{Error, Moment, Refusal};
use crate::events::EventFacts;
use crate::storage::hold_batch::HoldOrder;
use crate::storage::holds::HeldSeat;
use crate::storage::idempotency::Claim;

/// Most requests and most seats of one batch.
pub(super) const MAX_REQUESTS: usize = 256;
const MAX_SEATS: usize = 2000;
/// The rule about single seats rests when fewer than one seat in so many is left.
const FEW: usize = 20;

/// A batch and what stays behind.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Asks that can be had, as far as the mirror knows.
    pub(super) batch: Vec<Ask>,
    /// Those that cannot.
    pub(super) rest: Vec<Ask>,
    /// Those that have to wait for the batch: it is full, or has a request of the same owner or key.
    pub(super) later: Vec<Ask>,
}

/// Splits what waits. The seats of the batch are claimed in the mirror.
pub(super) fn plan(waiting: Vec<Ask>, mirror: &mut Mirror) -> Plan {
    let mut plan = Plan::default();
    let mut claimed = Claimed::default();
    for mut ask in waiting {
        let fits = plan.batch.len() < MAX_REQUESTS && claimed.seats < MAX_SEATS && claimed.has_room_for(&ask.order);
        if !fits {
            plan.later.push(ask);
        } else if choose(&mut ask, mirror).is_ok() {
            for seat in &ask.order.seats {
                mirror.claim(seat.seat_no);
            }
            claimed.add(&ask.order);
            plan.batch.push(ask);
        } else {
            plan.rest.push(ask);
        }
    }
    plan
}

#[derive(Default)]
struct Claimed {
    seats: usize,
    owners: HashSet<String>,
    keys: HashSet<(String, String)>,
}

impl Claimed {
    fn has_room_for(&self, order: &HoldOrder) -> bool {
        !(order.counted && self.owners.contains(order.owner.as_str()))
            && (order.keys.is_empty() || !order.keys.iter().any(|claim| self.keys.contains(&key_of(claim))))
    }

    fn add(&mut self, order: &HoldOrder) {
        self.seats += order.seats.len();
        if order.counted {
            self.owners.insert(order.owner.as_str().to_owned());
        }
        self.keys.extend(order.keys.iter().map(key_of));
    }
}

fn key_of(claim: &Claim) -> (String, String) {
    (claim.actor.clone(), claim.key.clone())
}

/// Chooses the seats of an ask that names none; sees whether those of another can be had.
///
/// # Errors
/// Why it cannot be had at the mirror's version.
pub(super) fn choose(ask: &mut Ask, mirror: &Mirror) -> Result<(), Error> {
    if let Some(wish) = &ask.best {
        let choice = best(wish, mirror)?;
        ask.order.rung = Some(choice.rung);
        ask.order.seats = priced(&ask.facts, &choice.seats)?;
        return Ok(());
    }
    let gone: Vec<i32> =
        ask.order.seats.iter().map(|seat| seat.seat_no).filter(|seat_no| mirror.is_gone(*seat_no)).collect();
    if !gone.is_empty() {
        return Err(taken(&ask.facts, &gone, mirror.moment()).into());
    }
    if ask.facts.event.leaves_no_single { check_orphans(ask, mirror) } else { Ok(()) }
}

/// The rule about single seats, for seats that were picked by hand.
fn check_orphans(ask: &Ask, mirror: &Mirror) -> Result<(), Error> {
    let Some((hall, stock)) = mirror.stock() else { return Ok(()) };
    if stock.count() * FEW < hall.len() {
        return Ok(());
    }
    let picked: Vec<u32> = ask.order.seats.iter().filter_map(|seat| u32::try_from(seat.seat_no).ok()).collect();
    let orphans = hall.orphans(&picked, |seat_no| stock.is_free(seat_no));
    if orphans.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i32> = orphans.into_iter().filter_map(|seat_no| i32::try_from(seat_no).ok()).collect();
    Err(Refusal::LeavesSingle { orphans: names(&ask.facts, &numbers), moment: mirror.moment() }.into())
}

/// The refusal of seats by their numbers.
pub(super) fn taken(facts: &EventFacts, seats: &[i32], moment: Moment) -> Refusal {
    let mut seats = seats.to_vec();
    seats.sort_unstable();
    Refusal::SeatsTaken { taken: names(facts, &seats), moment: Some(moment) }
}

fn names(facts: &EventFacts, seats: &[i32]) -> Vec<String> {
    seats.iter().filter_map(|seat_no| facts.seat(*seat_no)).map(|seat| seat.guid.clone()).collect()
}

fn best(wish: &BestWish, mirror: &Mirror) -> Result<Choice, Error> {
    let moment = mirror.moment();
    let not_enough = |available| Refusal::NotEnough { area: None, wanted: wish.quantity, available, moment };
    let Some((hall, stock)) = mirror.stock() else { return Err(not_enough(None).into()) };
    hall.choose(wish, stock).map_err(|why| match why {
        BestError::Quantity(_) => Refusal::invalid("/best/quantity", why.to_string()).into(),
        BestError::UnknownCategory(_) => Refusal::invalid("/best/category", why.to_string()).into(),
        BestError::NotEnough { free, .. } => not_enough(Some(free)).into(),
        BestError::NotTogether { .. } => not_enough(None).into(),
    })
}

fn priced(facts: &EventFacts, seats: &[u32]) -> Result<Vec<HeldSeat>, Error> {
    let numbers = seats.iter().filter_map(|seat_no| i32::try_from(*seat_no).ok());
    numbers.map(|seat_no| Ok(HeldSeat { seat_no, price: facts.price_of(seat_no)? })).collect()
}
