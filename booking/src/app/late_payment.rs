//! Late money: an attempt that was given up turns out to be paid.
//!
//! One transaction gives it the same places if they can still be had, else equal seats of the same category if
//! the buyer allowed that, else it writes that nothing can be had, and the money goes back. It runs under the locks
//! of hold, booking and payment, so however many look at the payment at once, one of these three happens once.

use std::collections::BTreeMap;

use booking_domain::checkout::{Act, next};
use booking_domain::{EventId, HoldId, SeatState};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::payment_steps::{CAPTURE_CHECK_S, confirm};
use super::settle_payment::Asked;
use crate::error::Error;
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::areas::{self, Counted};
use crate::storage::history::{self, AreaChange, Change, Op};
use crate::storage::locks::{self, Locked};
use crate::storage::payments::{self, Step};
use crate::storage::seats::{self, LockedSeat};
use crate::storage::tx::in_tx;
use crate::storage::{bookings, cancellations, holds, late, limits};

/// How often seats are chosen anew when others are faster.
const CHOICES: usize = 3;
/// Until when seats are held that are sold in the same transaction.
const MOMENT_S: i64 = 60;

/// Tries late money on the places; `true` when it bought them.
///
/// # Errors
/// When the database cannot be had.
pub(crate) async fn rescue(services: &Services, asked: &Asked) -> Result<bool, Error> {
    let facts = services.events.get(&services.db, &asked.key.event).await?;
    let (shared, asked) = (services.clone(), asked.clone());
    let bought = in_tx(&services.db, move |conn| {
        let (services, asked, facts) = (shared.clone(), asked.clone(), facts.clone());
        Box::pin(async move { rescue_in(conn, &services, &facts, &asked).await })
    })
    .await?;
    let outcome = if bought { "sold" } else { "no_places" };
    metrics::counter!("usher_booking_late_payments_total", "outcome" => outcome).increment(1);
    Ok(bought)
}

async fn rescue_in(
    conn: &mut PgConnection,
    services: &Services,
    facts: &EventFacts,
    asked: &Asked,
) -> Result<bool, Error> {
    let key = &asked.key;
    let found = bookings::find(conn, &key.event, key.booking).await?;
    let owner = found.ok_or_else(|| Error::defect(format!("the booking of {} is lost", key.reference())))?.owner;
    let have = limits::lock_and_count(conn, &key.event, &owner).await?;
    let locked = locks::payment_with_booking(conn, key).await?;
    if next(&asked.facts(locked.booking.state, &locked.payment)) != Act::Rescue {
        return Ok(false);
    }
    let mut attempt = conn.begin().await?;
    // A cancellation is written under the lock of the event's version, which a sale has until its end: what is not
    // there after the sale is written afterwards, and finds this booking.
    let bought = buy(&mut attempt, services, facts, asked, &locked, have).await?
        && !cancellations::is_cancelled(&mut attempt, &key.event).await?;
    if bought {
        attempt.commit().await?;
    } else {
        attempt.rollback().await?;
        payments::set_late_tried(conn, key).await?;
    }
    Ok(bought)
}

/// Takes the places and sells them; `false` when they cannot be had.
async fn buy(
    conn: &mut PgConnection,
    services: &Services,
    facts: &EventFacts,
    asked: &Asked,
    locked: &Locked,
    have: u32,
) -> Result<bool, Error> {
    let key = &asked.key;
    if cancellations::is_cancelled(conn, &key.event).await? {
        return Ok(false);
    }
    let Some((seats, areas)) = take_places(conn, services, facts, locked, have).await? else { return Ok(false) };
    let Locked { hold, booking, payment } = locked;
    let provider_payment = asked.known.as_ref().map(|known| known.id.clone());
    let step = Step { provider_payment, check_in_s: Some(CAPTURE_CHECK_S), ..Step::default() };
    payments::set_state(conn, key, payment.state.rescue()?, &step).await?;
    payments::set_late_tried(conn, key).await?;
    bookings::set_sold(conn, &key.event, booking.id, booking.state.rescue()?, key.attempt).await?;
    holds::set_state(conn, &key.event, hold.id, hold.hold.rescue()?.state).await?;
    confirm(conn, services, locked, &seats, areas).await?;
    Ok(true)
}

type Places = (Vec<i32>, Vec<AreaChange>);

/// Makes all places of a booking pending, whoever could have them; none when not all can be had.
async fn take_places(
    conn: &mut PgConnection,
    services: &Services,
    facts: &EventFacts,
    locked: &Locked,
    have: u32,
) -> Result<Option<Places>, Error> {
    let (event, hold) = (&locked.payment.key.event, locked.hold.id);
    let own: Vec<i32> = holds::seats(conn, event, hold).await?.iter().map(|seat| seat.seat_no).collect();
    let areas = late::area_places(conn, event, hold).await?;
    // A live hold is counted already; one that has lapsed comes on top of what the buyer took meanwhile.
    let is_live = locked.hold.current().state == booking_domain::HoldState::Active;
    let places = own.len() + areas.iter().map(|area| usize::try_from(area.quantity).unwrap_or(0)).sum::<usize>();
    let more = if is_live { 0 } else { u32::try_from(places).unwrap_or(u32::MAX) };
    if have.saturating_add(more) > services.config.holds.max_seats_per_visitor {
        return Ok(None);
    }
    let Some(seats) = find_seats(conn, facts, locked, &own).await? else { return Ok(None) };
    let names: Vec<String> = areas.iter().map(|area| area.area.clone()).collect();
    if !names.is_empty() {
        let counts = areas::lock(conn, event, &names).await?;
        let fits = |area: &late::AreaPlaces| {
            area.state != 0 || counts.iter().any(|now| now.area == area.area && now.free() >= area.quantity)
        };
        if !areas.iter().all(fits) {
            return Ok(None);
        }
    }
    write_places(conn, event, locked, seats).await.map(Some)
}

/// Seats to be taken: under lock, with what has to happen to them first.
struct Found {
    seats: Vec<i32>,
    /// Those that are not the hold's any more.
    free: Vec<i32>,
    /// Seats of holds that have lapsed unswept.
    lapsed: BTreeMap<Uuid, Vec<i32>>,
}

/// The hold's own seats, with equal ones for those that are gone.
async fn find_seats(
    conn: &mut PgConnection,
    facts: &EventFacts,
    locked: &Locked,
    own: &[i32],
) -> Result<Option<Found>, Error> {
    let (event, hold) = (&locked.payment.key.event, locked.hold.id);
    if own.is_empty() {
        return Ok(Some(Found { seats: Vec::new(), free: Vec::new(), lapsed: BTreeMap::new() }));
    }
    let mut wanted: Vec<(i32, i32)> = own.iter().map(|seat| (*seat, *seat)).collect();
    for _ in 0..CHOICES {
        let mut numbers: Vec<i32> = wanted.iter().map(|(_, new)| *new).collect();
        numbers.sort_unstable();
        let rows = seats::lock(conn, event, &numbers).await?;
        let gone: Vec<i32> = rows.iter().filter(|row| !can_be_had(row, hold)).map(|row| row.seat_no).collect();
        if gone.is_empty() {
            let pairs: Vec<(i32, i32)> = wanted.iter().copied().filter(|(old, new)| old != new).collect();
            if !pairs.is_empty() {
                late::exchange_seats(conn, event, hold, locked.booking.id, &pairs).await?;
            }
            return Ok(Some(sorted(hold, &rows)));
        }
        if !locked.booking.accept_equal {
            return Ok(None);
        }
        let Some(equal) = equal_seats(conn, facts, &wanted, &gone).await? else { return Ok(None) };
        wanted = equal;
    }
    Ok(None)
}

fn can_be_had(row: &LockedSeat, hold: HoldId) -> bool {
    row.state == SeatState::Free || row.lapsed || (row.state == SeatState::Held && row.hold == Some(hold.get()))
}

fn sorted(hold: HoldId, rows: &[LockedSeat]) -> Found {
    let mut found = Found { seats: Vec::new(), free: Vec::new(), lapsed: BTreeMap::new() };
    for row in rows {
        found.seats.push(row.seat_no);
        let own = row.state == SeatState::Held && row.hold == Some(hold.get());
        if !own {
            found.free.push(row.seat_no);
        }
        if let (SeatState::Held, Some(other), false) = (row.state, row.hold, own) {
            found.lapsed.entry(other).or_default().push(row.seat_no);
        }
    }
    found
}

/// For each seat that is gone another one of its category and price, the first in the plan.
async fn equal_seats(
    conn: &mut PgConnection,
    facts: &EventFacts,
    wanted: &[(i32, i32)],
    gone: &[i32],
) -> Result<Option<Vec<(i32, i32)>>, Error> {
    let mut free = seats::free(conn, &facts.event.id).await?;
    free.retain(|seat_no| !wanted.iter().any(|(old, new)| old == seat_no || new == seat_no));
    let mut equal = Vec::with_capacity(wanted.len());
    for (old, new) in wanted {
        if !gone.contains(new) {
            equal.push((*old, *new));
            continue;
        }
        let category = facts.category_of(*old);
        let Some(at) = free.iter().position(|seat_no| facts.category_of(*seat_no) == category) else {
            return Ok(None);
        };
        equal.push((*old, free.remove(at)));
    }
    Ok(Some(equal))
}

/// Holds and pends what was found, so that the history of each seat goes by the same steps as ever.
async fn write_places(
    conn: &mut PgConnection,
    event: &EventId,
    locked: &Locked,
    found: Found,
) -> Result<Places, Error> {
    let (hold, id) = (locked.hold.id, locked.hold.id.get());
    let booking = Some(locked.booking.id.get());
    let moment = locked.hold.now.checked_add(jiff::SignedDuration::from_secs(MOMENT_S));
    let until = Some(moment.map_err(|e| Error::internal("the end of time", e))?);
    let change = |op, hold, booking, seats, areas, until| Change { event, op, hold, booking, seats, areas, until };
    for (other, seats) in &found.lapsed {
        history::apply(conn, change(Op::Expire, *other, None, seats, Vec::new(), None)).await?;
    }
    let areas = areas::move_hold(conn, event, hold, Counted::Free, Counted::Held, until).await?;
    if !found.free.is_empty() || !areas.is_empty() {
        history::apply(conn, change(Op::Hold, id, None, &found.free, areas, until)).await?;
    }
    let areas = areas::move_hold(conn, event, hold, Counted::Held, Counted::Pending, until).await?;
    history::apply(conn, change(Op::Pend, id, booking, &found.seats, areas, until)).await?;
    let areas = areas::move_hold(conn, event, hold, Counted::Pending, Counted::Sold, None).await?;
    Ok((found.seats, areas))
}
