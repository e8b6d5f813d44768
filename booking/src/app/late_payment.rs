//! Late money: an attempt that was given up turns out to be paid.
//!
//! One transaction gives it the same places if they can still be had, else equal seats of the same category if
//! the buyer allowed that ([`late_places`]), else it writes that nothing can be had, and the money goes back. It runs
//! under the locks of hold, booking and payment, so however many look at the payment at once, one of these three happens
//! once.

use booking_domain::HoldState;
use booking_domain::checkout::{Act, next};
use sqlx::{Connection, PgConnection};

use super::late_places::{self, Places};
use super::payment_steps::{CAPTURE_CHECK_S, confirm};
use super::settle_payment::Asked;
use crate::error::Error;
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::locks::{self, Locked};
use crate::storage::payments::{self, Step};
use crate::storage::tx::in_tx;
use crate::storage::{bookings, cancellations, holds, limits};

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
    let areas = holds::areas(conn, event, hold).await?;
    // A live hold is counted already; one that has lapsed comes on top of what the buyer took meanwhile.
    let is_live = locked.hold.current().state == HoldState::Active;
    let places = own.len() + areas.iter().map(|area| usize::try_from(area.quantity).unwrap_or(0)).sum::<usize>();
    let more = if is_live { 0 } else { u32::try_from(places).unwrap_or(u32::MAX) };
    if have.saturating_add(more) > services.config.holds.max_seats_per_visitor {
        return Ok(None);
    }
    match late_places::find(conn, facts, locked, &own).await? {
        Some(found) => late_places::take(conn, event, locked, found).await.map(Some),
        None => Ok(None),
    }
}
