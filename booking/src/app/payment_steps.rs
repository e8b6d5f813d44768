//! What is written about a payment: each step one transaction, which decides again under the locks of hold, booking
//! and payment, and writes nothing when the decision has changed meanwhile.

use booking_domain::checkout::{Act, Told, next};
use booking_domain::{BookingState, PaymentState, SeatState, TicketId};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::once::Once;
use super::payment_outcome::{Settled, keep};
use super::settle_payment::Asked;
use super::views::BookingView;
use crate::crash;
use crate::error::Error;
use crate::services::Services;
use crate::storage::areas::{self, Counted};
use crate::storage::bookings::BookingRow;
use crate::storage::history::{self, Change, Op};
use crate::storage::holds::HoldRow;
use crate::storage::locks::{self, Locked};
use crate::storage::payments::{self, LAST_LOOK, PaymentKey, PaymentRow, Step};
use crate::storage::refunds::{self, Refund};
use crate::storage::tickets::{self, NewTicket};
use crate::storage::tx::in_tx;
use crate::storage::{alarms, bookings, holds, late, outbox, seats};

/// How soon the reconciler looks after a capture that should be done by then.
pub(crate) const CAPTURE_CHECK_S: u32 = 5;
/// The first wait between two looks at a payment, which doubles, and the longest: while seats are pending, while the
/// provider does not answer, after a payment it never heard of, and otherwise.
const FIRST_CHECK_S: u32 = 1;
pub(super) const PENDING_CHECK_S: u32 = 10;
const UNKNOWN_CHECK_S: u32 = 30;
const LATE_CHECK_S: u32 = 300;
const MOST_CHECK_S: u32 = 3600;

/// What became of a step.
#[derive(Debug)]
pub(crate) enum Written {
    /// Something was written, or the decision has changed: look again.
    Step,
    /// Nothing can be done before the next look.
    Waits,
    /// It came to nothing, and this is the answer.
    Answered(Settled),
}

/// Does what a decision says, if it is still the decision under lock.
///
/// # Errors
/// When the database cannot be had.
pub(crate) async fn write(
    services: &Services,
    asked: &Asked,
    act: Act,
    repeat: Option<Once<BookingView>>,
) -> Result<Written, Error> {
    let (shared, asked) = (services.clone(), asked.clone());
    let written = in_tx(&services.db, move |conn| {
        let (services, asked, repeat) = (shared.clone(), asked.clone(), repeat.clone());
        Box::pin(async move {
            let locked = locks::payment_with_booking(conn, &asked.key).await?;
            if next(&asked.facts(locked.booking.state, &locked.payment)) != act {
                return Ok(Written::Step);
            }
            step(conn, &services, &asked, &locked, act, repeat).await
        })
    })
    .await?;
    match act {
        Act::Sell => crash::point("sold"),
        Act::NoteCaptured => crash::point("capture_noted"),
        Act::Decline | Act::GiveUp => crash::point("given_back"),
        _ => {}
    }
    Ok(written)
}

async fn step(
    conn: &mut PgConnection,
    services: &Services,
    asked: &Asked,
    locked: &Locked,
    act: Act,
    repeat: Option<Once<BookingView>>,
) -> Result<Written, Error> {
    let key = &asked.key;
    match act {
        Act::Ask => wait(conn, asked, &locked.payment).await,
        Act::Close => {
            payments::check_in(conn, key, None).await?;
            Ok(Written::Waits)
        }
        Act::Alarm => {
            let why = format!("the provider says {:?} of a payment that is {}", asked.told, locked.payment.state);
            raise(conn, key, &why).await?;
            wait(conn, asked, &locked.payment).await
        }
        Act::Quarantine => {
            raise(conn, key, &mismatch(asked, &locked.payment)).await?;
            wait(conn, asked, &locked.payment).await
        }
        Act::Sell => {
            sell(conn, services, locked, asked.known.as_ref().map(|known| known.id.clone())).await?;
            Ok(Written::Step)
        }
        Act::Decline | Act::GiveUp => {
            give_back(conn, services, asked, locked, act).await?;
            let settled = if asked.not_sent { Settled::NotBegun } else { Settled::NotPaid(asked.refusal.clone()) };
            keep(conn, repeat, &settled).await?;
            Ok(Written::Answered(settled))
        }
        Act::NoteCaptured | Act::NoteVoided | Act::NoteRefunded => {
            note(conn, asked, locked, act).await?;
            let more = act == Act::NoteCaptured && locked.payment.refunded < locked.payment.refund_due;
            Ok(if more { Written::Step } else { Written::Waits })
        }
        Act::UndoSale => {
            undo_sale(conn, locked).await?;
            Ok(Written::Step)
        }
        // Calls, and what has a transaction of its own.
        Act::Capture | Act::Void | Act::PayBackAll | Act::PayBack | Act::Rescue => Ok(Written::Step),
    }
}

/// Looks again, less and less often; never not at all, but for what the provider refused to begin and does not know.
async fn wait(conn: &mut PgConnection, asked: &Asked, payment: &PaymentRow) -> Result<Written, Error> {
    if payment.checks >= LAST_LOOK && payment.state == PaymentState::Failed && asked.told == Told::Never {
        payments::check_in(conn, &payment.key, None).await?;
        return Ok(Written::Waits);
    }
    let most = match (payment.state, asked.told) {
        (PaymentState::Created, _) => {
            let left = payment.deadline.duration_since(payment.now).as_secs().max(0);
            PENDING_CHECK_S.min(u32::try_from(left).unwrap_or(PENDING_CHECK_S).max(1))
        }
        (_, Told::Unknown) => UNKNOWN_CHECK_S,
        (PaymentState::Failed, Told::Never) => LATE_CHECK_S,
        _ => MOST_CHECK_S,
    };
    let doublings = u32::try_from(payment.checks).unwrap_or(0).min(16);
    let check_in_s = (FIRST_CHECK_S << doublings).min(most);
    payments::check_in(conn, &payment.key, Some(check_in_s)).await?;
    Ok(Written::Waits)
}

fn mismatch(asked: &Asked, payment: &PaymentRow) -> String {
    let theirs = asked.known.as_ref().map(|known| format!("{} {}", known.amount, known.currency)).unwrap_or_default();
    let amount = payment.amount;
    format!("the provider has {theirs}, asked for were {} {}", amount.amount(), amount.currency().code())
}

/// Has a person look at a payment, once per reason.
async fn raise(conn: &mut PgConnection, key: &PaymentKey, why: &str) -> Result<(), Error> {
    if alarms::set(conn, key, why).await? {
        tracing::error!(reference = key.reference(), why, "a person has to look at a payment");
        metrics::counter!("usher_booking_payment_alarms_total").increment(1);
    }
    Ok(())
}

/// Has a person look at a payment.
///
/// # Errors
/// When the database cannot be had.
pub(crate) async fn alarm(services: &Services, key: &PaymentKey, why: &str) -> Result<(), Error> {
    let (key, why) = (key.clone(), why.to_owned());
    in_tx(&services.db, move |conn| {
        let (key, why) = (key.clone(), why.clone());
        Box::pin(async move { raise(conn, &key, &why).await })
    })
    .await
}

/// Sells the pending seats of a created payment: seats, tickets and announcement in the caller's transaction.
pub(crate) async fn sell(
    conn: &mut PgConnection,
    services: &Services,
    locked: &Locked,
    provider_payment: Option<String>,
) -> Result<(), Error> {
    let Locked { hold, booking, payment } = locked;
    let key = &payment.key;
    let event = &key.event;
    let step = Step { provider_payment, check_in_s: Some(CAPTURE_CHECK_S), ..Step::default() };
    payments::set_state(conn, key, payment.state.authorize()?, &step).await?;
    bookings::set_sold(conn, event, booking.id, booking.state.confirm()?, key.attempt).await?;
    holds::set_state(conn, event, hold.id, hold.hold.consume()?.state).await?;
    let seats = seats::lock_of_hold(conn, event, hold.id, SeatState::Pending).await?;
    let areas = areas::move_hold(conn, event, hold.id, Counted::Pending, Counted::Sold, None).await?;
    confirm(conn, services, locked, &seats, areas).await
}

/// Issues the tickets of places that were just sold and announces it; writes the sale to the history last.
///
/// # Errors
/// A defect when they are not all places of the booking, in the order of their numbers; that the database cannot be had.
pub(crate) async fn confirm(
    conn: &mut PgConnection,
    services: &Services,
    locked: &Locked,
    seats: &[i32],
    areas: Vec<history::AreaChange>,
) -> Result<(), Error> {
    let (event, id) = (&locked.payment.key.event, locked.booking.id);
    let booked = bookings::places(conn, event, id).await?;
    let in_areas: i64 = areas.iter().map(|area| i64::from(area.quantity)).sum();
    if booked.seats != seats || booked.in_areas != in_areas {
        let (seats, of) = (seats.len(), booked.seats.len());
        let detail = format!("{seats} of {of} seats and {in_areas} of {} places in areas", booked.in_areas);
        return Err(Error::defect(format!("only {detail} of the booking {id} could be sold")));
    }
    let in_areas = areas.iter().map(|area| (area.area.as_str(), area.quantity));
    let issued = issue(services, &locked.payment.key, seats, in_areas);
    tickets::insert(conn, event, id, &issued).await?;
    let payload = json!({ "event": event, "booking": id, "tickets": issued.len() });
    outbox::announce(conn, event, id, "booking.confirmed", payload).await?;
    let (hold, booking) = (locked.hold.id.get(), Some(id.get()));
    history::apply(conn, Change { event, op: Op::Sell, hold, booking, seats, areas, until: None }).await?;
    Ok(())
}

/// Tickets for places, ready to be written: seats in their order, then places of areas.
pub(super) fn issue<'a>(
    services: &Services,
    key: &PaymentKey,
    seats: &[i32],
    areas: impl Iterator<Item = (&'a str, i32)>,
) -> Vec<NewTicket> {
    let ticket = |seat_no: Option<i32>, area: Option<String>| {
        let id = TicketId::new(Uuid::now_v7());
        NewTicket { id, seat_no, area, code: services.buyers.ticket_code(&key.event, id) }
    };
    let places = areas.flat_map(|(area, quantity)| (0..quantity).map(|_| area.to_owned()));
    let seats = seats.iter().map(|seat_no| ticket(Some(*seat_no), None));
    seats.chain(places.map(|area| ticket(None, Some(area)))).collect()
}

/// Ends an attempt without money: the places go back to the hold, which lives on until it expires, and at
/// least as long as a buyer needs to try again, under the cap.
async fn give_back(
    conn: &mut PgConnection,
    services: &Services,
    asked: &Asked,
    locked: &Locked,
    act: Act,
) -> Result<(), Error> {
    let Locked { hold, booking, payment } = locked;
    let (key, event) = (&payment.key, &payment.key.event);
    let declined = act == Act::Decline;
    let state = if declined { payment.state.decline()? } else { payment.state.fail()? };
    let known = asked.known.as_ref();
    let step = Step {
        provider_payment: known.map(|known| known.id.clone()),
        decline_reason: known.and_then(|known| known.decline_reason.clone()),
        // What was given up may still turn up late, and is looked for, less and less often; what the provider never
        // took, once.
        check_in_s: (!declined).then_some(if asked.not_taken { LATE_CHECK_S } else { FIRST_CHECK_S }),
        checks: if asked.not_taken { LAST_LOOK } else { 0 },
    };
    payments::set_state(conn, key, state, &step).await?;
    bookings::set_state(conn, event, booking.id, booking.state.payment_failed()?, None).await?;
    let (config, failed) = (&services.config, hold.hold.payment_failed()?);
    let active = failed.prolonged(hold.now, hold.created_at, config.checkout.retry_s, config.holds.max_life_s);
    if active.expires_at != failed.expires_at {
        late::prolong(conn, event, hold.id, active.expires_at).await?;
    }
    holds::set_state(conn, event, hold.id, active.state).await?;
    let until = Some(active.expires_at);
    let seats = seats::lock_of_hold(conn, event, hold.id, SeatState::Pending).await?;
    let areas = areas::move_hold(conn, event, hold.id, Counted::Pending, Counted::Held, until).await?;
    let (hold, booking) = (hold.id.get(), Some(booking.id.get()));
    history::apply(conn, Change { event, op: Op::Unpend, hold, booking, seats: &seats, areas, until }).await?;
    Ok(())
}

/// Writes down what the provider did with the money.
async fn note(conn: &mut PgConnection, asked: &Asked, locked: &Locked, act: Act) -> Result<(), Error> {
    let Locked { booking, payment, .. } = locked;
    let key = &payment.key;
    let provider_payment = asked.known.as_ref().map(|known| known.id.clone());
    if act == Act::NoteCaptured {
        // A cancellation that came between capture and this note still has to pay back.
        let check_in_s = (payment.refunded < payment.refund_due).then_some(0);
        let step = Step { provider_payment, check_in_s, ..Step::default() };
        return payments::set_state(conn, key, payment.state.capture()?, &step).await;
    }
    // The money of an earlier attempt says nothing about the booking.
    let sold = matches!(payment.state, PaymentState::Authorized | PaymentState::Captured);
    let state = match (act, payment.state) {
        (Act::NoteVoided, state) => state.void()?,
        // Captured at the provider although we never heard of it: the same money, the same way back.
        (_, PaymentState::Authorized) => payment.state.capture()?.refund()?,
        (_, state) => state.refund()?,
    };
    payments::set_state(conn, key, state, &Step { provider_payment, ..Step::default() }).await?;
    refunds::moot(conn, key).await?;
    if sold && booking.state == BookingState::Cancelled {
        money_is_back(conn, key).await?;
    }
    Ok(())
}

/// Ends a cancelled booking whose money is back. It is locked.
///
/// # Errors
/// When the database cannot be had.
pub(crate) async fn money_is_back(conn: &mut PgConnection, key: &PaymentKey) -> Result<(), Error> {
    bookings::set_state(conn, &key.event, key.booking, BookingState::Cancelled.refund()?, None).await?;
    let payload = json!({ "event": key.event, "booking": key.booking });
    outbox::announce(conn, &key.event, key.booking, "booking.refunded", payload).await
}

/// Notes that a refund went back; the last one of a cancelled booking ends it.
///
/// # Errors
/// When the database cannot be had.
pub(crate) async fn note_refund(services: &Services, key: &PaymentKey, refund: Refund) -> Result<(), Error> {
    let key = key.clone();
    in_tx(&services.db, move |conn| {
        let (key, refund) = (key.clone(), refund.clone());
        Box::pin(async move {
            let Locked { booking, payment, .. } = locks::payment_with_booking(conn, &key).await?;
            if payment.state != PaymentState::Captured || !refunds::note_done(conn, &key, &refund).await? {
                return Ok(());
            }
            let refunded = payment.refunded + refund.amount;
            let all = refunded == payment.amount.amount();
            let open = refunded < payment.refund_due;
            let state = if all { payment.state.refund()? } else { payment.state };
            let step = Step { check_in_s: open.then_some(0), ..Step::default() };
            payments::set_state(conn, &key, state, &step).await?;
            if !open && booking.state == BookingState::Cancelled {
                money_is_back(conn, &key).await?;
            }
            Ok(())
        })
    })
    .await
}

/// The money of a sale cannot be had for good: the sale is undone in one transaction, and what is left of the
/// authorisation is given back by the next look.
async fn undo_sale(conn: &mut PgConnection, locked: &Locked) -> Result<(), Error> {
    let Locked { hold, booking, payment } = locked;
    let key = &payment.key;
    let at_once = Step { check_in_s: Some(0), ..Step::default() };
    payments::set_state(conn, key, payment.state.fail()?, &at_once).await?;
    bookings::set_state(conn, &key.event, booking.id, booking.state.capture_refused()?, None).await?;
    unsell(conn, booking, hold).await?;
    let payload = json!({ "event": key.event, "booking": booking.id });
    outbox::announce(conn, &key.event, booking.id, "booking.failed", payload).await
}

/// Frees the places of a sale that ends, and takes its tickets out of use. Hold and booking are locked.
pub(crate) async fn unsell(conn: &mut PgConnection, booking: &BookingRow, hold: &HoldRow) -> Result<(), Error> {
    let event = &booking.event;
    tickets::void(conn, event, booking.id).await?;
    let seats = seats::lock_of_hold(conn, event, hold.id, SeatState::Sold).await?;
    let areas = areas::move_hold(conn, event, hold.id, Counted::Sold, Counted::Free, None).await?;
    let (hold, booking) = (hold.id.get(), Some(booking.id.get()));
    history::apply(conn, Change { event, op: Op::Cancel, hold, booking, seats: &seats, areas, until: None }).await?;
    Ok(())
}
