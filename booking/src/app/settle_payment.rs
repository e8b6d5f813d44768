//! Bringing a payment and its booking to one end, whoever asks first: the confirmation itself, or the
//! reconciler after a crash or a timeout.
//!
//! Authorise → commit sale, tickets and announcement in one transaction → capture. A crash before the commit
//! leaves an authorisation, which is voided or turned into the sale by asking the provider; a crash after it
//! leaves a sale whose capture is repeated. So there is never money without seats or seats without money for
//! longer than the reconciler's interval. No remote call is made while a transaction is open.

use booking_domain::{BookingState, PaymentState, SeatState, TicketId};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::once::Once;
use super::views::{self, BookingView};
use crate::error::{Error, Refusal};
use crate::payments::{ProviderError, ProviderPayment, ProviderStatus};
use crate::services::Services;
use crate::storage::areas::{self, Counted};
use crate::storage::bookings::{self, BookingRow};
use crate::storage::history::{self, Change, Op};
use crate::storage::holds::{self, HoldRow};
use crate::storage::payments::{self, PaymentKey, PaymentRow, Step};
use crate::storage::tickets::{self, NewTicket};
use crate::storage::tx::in_tx;
use crate::storage::seats;

/// How soon the reconciler looks after a capture that should be done by then.
const CAPTURE_CHECK_S: u32 = 5;
/// How soon it asks again after an unknown answer.
const UNKNOWN_CHECK_S: u32 = 1;
/// After a payment that was never heard of, how often it is asked for once more, and how far apart.
const LATE_CHECKS: i32 = 3;
const LATE_CHECK_S: u32 = 300;

/// How a payment ended.
#[derive(Debug)]
pub enum Settled {
    /// Sold, with its tickets.
    Sold(Box<BookingView>),
    /// No money; the hold lives on until it expires.
    NotPaid(Refusal),
    /// Not known yet; somebody will ask again.
    Open,
}

/// Hold, booking and payment under lock, in this order.
struct Locked {
    hold: HoldRow,
    booking: BookingRow,
    payment: PaymentRow,
}

async fn lock_all(conn: &mut PgConnection, key: &PaymentKey) -> Result<Locked, Error> {
    let lost = || Error::defect(format!("the payment {} has lost its booking or hold", key.reference()));
    let hold = bookings::find(conn, &key.event, key.booking).await?.ok_or_else(lost)?.hold;
    let hold = holds::lock(conn, &key.event, hold).await?.ok_or_else(lost)?;
    bookings::lock(conn, &key.event, key.booking).await?;
    let booking = bookings::find(conn, &key.event, key.booking).await?.ok_or_else(lost)?;
    let payment = payments::lock(conn, key).await?.ok_or_else(lost)?;
    Ok(Locked { hold, booking, payment })
}

/// Acts on what the provider says of a payment that was just created.
///
/// # Errors
/// When the database cannot be had; the reconciler goes on then.
pub async fn settle(
    services: &Services,
    payment: &PaymentRow,
    answer: Result<ProviderPayment, ProviderError>,
    repeat: Option<Once<BookingView>>,
) -> Result<Settled, Error> {
    let key = &payment.key;
    match answer {
        Ok(known) if known.amount != payment.amount.amount() => {
            tracing::error!(reference = key.reference(), ours = %payment.amount, theirs = known.amount,
                            "the provider has another amount; the payment stays open for a person to look at");
            Ok(Settled::Open)
        }
        Ok(known) => match known.status {
            ProviderStatus::Authorized | ProviderStatus::Captured => {
                let sold = sell(services, key, &known, repeat).await?;
                collect(services, payment, &known).await?;
                Ok(sold)
            }
            ProviderStatus::Declined | ProviderStatus::Voided | ProviderStatus::Refunded => {
                let refusal = Refusal::PaymentDeclined { reason: known.decline_reason.clone() };
                give_back(services, key, PaymentState::Declined, Some(known), refusal, repeat).await
            }
            ProviderStatus::Processing => {
                payments::check_in(&services.db, key, Some(UNKNOWN_CHECK_S)).await?;
                Ok(Settled::Open)
            }
        },
        Err(ProviderError::Refused { status, detail }) => {
            tracing::info!(reference = key.reference(), status, detail, "the provider refused the request");
            let refusal = Refusal::invalid("/payment/token", "the payment provider does not take this token");
            give_back(services, key, PaymentState::Failed, None, refusal, repeat).await
        }
        Err(ProviderError::Unknown(source)) => {
            tracing::warn!(reference = key.reference(), error = %crate::passes::chain(&*source),
                           "the provider's answer is unknown; it will be asked");
            payments::check_in(&services.db, key, Some(UNKNOWN_CHECK_S)).await?;
            Ok(Settled::Open)
        }
    }
}

/// Commits the sale: seats, tickets, announcement and the kept answer in one transaction.
async fn sell(
    services: &Services,
    key: &PaymentKey,
    known: &ProviderPayment,
    repeat: Option<Once<BookingView>>,
) -> Result<Settled, Error> {
    let facts = services.events.get(&services.db, &key.event).await?;
    let (services, key, known) = (services.clone(), key.clone(), known.clone());
    in_tx(&services.db.clone(), move |conn| {
        let (services, key, known) = (services.clone(), key.clone(), known.clone());
        let (facts, repeat) = (facts.clone(), repeat.clone());
        Box::pin(async move {
            let sold = sell_in(conn, &services, &key, Some(known.id)).await?;
            let view = views::read_booking(conn, &facts, key.booking).await?;
            let view = view.ok_or_else(|| Error::defect(format!("the booking {} is lost", key.booking)))?;
            // If somebody else settled it meanwhile, the answer is what came of it.
            let settled = if sold { Settled::Sold(Box::new(view)) } else { settled_already(view) };
            keep(conn, repeat, &settled).await?;
            Ok(settled)
        })
    })
    .await
}

/// Keeps the answer in the transaction of the effect.
async fn keep(conn: &mut PgConnection, repeat: Option<Once<BookingView>>, settled: &Settled) -> Result<(), Error> {
    let Some(once) = repeat else { return Ok(()) };
    match settled {
        Settled::Sold(view) => once.keep(conn, Ok(view)).await,
        Settled::NotPaid(refusal) => once.keep(conn, Err(refusal)).await,
        Settled::Open => Ok(()),
    }
}

fn settled_already(view: BookingView) -> Settled {
    match view.state() {
        BookingState::Confirmed => Settled::Sold(Box::new(view)),
        BookingState::PaymentPending => Settled::Open,
        _ => Settled::NotPaid(Refusal::PaymentDeclined { reason: view.decline_reason() }),
    }
}

/// Sells the pending seats of a created payment; `false` when it is not created any more. The caller's
/// transaction.
pub(crate) async fn sell_in(
    conn: &mut PgConnection,
    services: &Services,
    key: &PaymentKey,
    provider_payment: Option<String>,
) -> Result<bool, Error> {
    let Locked { hold, booking, payment } = lock_all(conn, key).await?;
    if payment.state != PaymentState::Created {
        return Ok(false);
    }
    let event = &key.event;
    let (id, owner_hold) = (booking.id, hold.id);
    let step = Step { provider_payment, check_in_s: Some(CAPTURE_CHECK_S), ..Step::default() };
    payments::set_state(conn, key, payment.state.authorize()?, &step).await?;
    bookings::set_state(conn, event, id, booking.state.confirm()?, None).await?;
    holds::set_state(conn, event, owner_hold, hold.hold.consume()?.state).await?;
    let seats = seats::lock_of_hold(conn, event, owner_hold, SeatState::Pending).await?;
    let areas = areas::move_hold(conn, event, owner_hold, Counted::Pending, Counted::Sold, None).await?;
    let issued = issue(services, key, &seats, &areas);
    tickets::insert(conn, event, id, &issued).await?;
    let payload = json!({ "event": event, "booking": id, "tickets": issued.len() });
    tickets::announce(conn, event, id, "booking.confirmed", payload).await?;
    let hold = owner_hold.get();
    let change = Change { event, op: Op::Sell, hold, booking: Some(id.get()), seats: &seats, areas, until: None };
    history::apply(conn, change).await?;
    Ok(true)
}

fn issue(services: &Services, key: &PaymentKey, seats: &[i32], areas: &[history::AreaChange]) -> Vec<NewTicket> {
    let ticket = |seat_no: Option<i32>, area: Option<String>| {
        let id = TicketId::new(Uuid::now_v7());
        NewTicket { id, seat_no, area, code: services.buyers.ticket_code(&key.event, id) }
    };
    let places = areas.iter().flat_map(|area| (0..area.quantity).map(|_| area.area.clone()));
    let seats = seats.iter().map(|seat_no| ticket(Some(*seat_no), None));
    seats.chain(places.map(|area| ticket(None, Some(area)))).collect()
}

/// Ends a payment without money: the seats go back to the hold, which lives on until it expires.
async fn give_back(
    services: &Services,
    key: &PaymentKey,
    end: PaymentState,
    known: Option<ProviderPayment>,
    refusal: Refusal,
    repeat: Option<Once<BookingView>>,
) -> Result<Settled, Error> {
    let facts = services.events.get(&services.db, &key.event).await?;
    let key = key.clone();
    in_tx(&services.db, move |conn| {
        let (facts, key, repeat) = (facts.clone(), key.clone(), repeat.clone());
        let (known, refusal) = (known.clone(), refusal.clone());
        Box::pin(async move {
            let given_back = give_back_in(conn, &key, end, known).await?;
            let settled = if given_back {
                Settled::NotPaid(refusal)
            } else {
                let view = views::read_booking(conn, &facts, key.booking).await?;
                settled_already(view.ok_or_else(|| Error::defect(format!("the booking {} is lost", key.booking)))?)
            };
            keep(conn, repeat, &settled).await?;
            Ok(settled)
        })
    })
    .await
}

async fn give_back_in(
    conn: &mut PgConnection,
    key: &PaymentKey,
    end: PaymentState,
    known: Option<ProviderPayment>,
) -> Result<bool, Error> {
    let Locked { hold, booking, payment } = lock_all(conn, key).await?;
    if payment.state != PaymentState::Created {
        return Ok(false);
    }
    let declined = end == PaymentState::Declined;
    let state = if declined { payment.state.decline()? } else { payment.state.fail()? };
    let (provider_payment, decline_reason) = known.map(|known| (known.id, known.decline_reason)).unzip();
    // What was never heard of may still turn up late; what was declined will not.
    let check_in_s = (!declined).then_some(LATE_CHECK_S);
    let step = Step { provider_payment, decline_reason: decline_reason.flatten(), check_in_s };
    payments::set_state(conn, key, state, &step).await?;
    let event = &key.event;
    bookings::set_state(conn, event, booking.id, booking.state.payment_failed()?, None).await?;
    let active = hold.hold.payment_failed()?;
    holds::set_state(conn, event, hold.id, active.state).await?;
    let until = Some(active.expires_at);
    let seats = seats::lock_of_hold(conn, event, hold.id, SeatState::Pending).await?;
    let areas = areas::move_hold(conn, event, hold.id, Counted::Pending, Counted::Held, until).await?;
    let (hold, booking) = (hold.id.get(), Some(booking.id.get()));
    history::apply(conn, Change { event, op: Op::Unpend, hold, booking, seats: &seats, areas, until }).await?;
    Ok(true)
}

/// Takes the money of a sale, or gives it back when there is no sale for it.
async fn collect(services: &Services, payment: &PaymentRow, known: &ProviderPayment) -> Result<(), Error> {
    let key = &payment.key;
    let booking = {
        let mut conn = services.db.acquire().await?;
        bookings::find(&mut conn, &key.event, key.booking).await?
    };
    let confirmed = booking.is_some_and(|booking| booking.state == BookingState::Confirmed);
    match (confirmed, known.status) {
        (true, ProviderStatus::Captured) => mark(services, key, Mark::Captured).await,
        (true, _) => match services.provider.capture(&known.id, payment.amount).await {
            Ok(_) => mark(services, key, Mark::Captured).await,
            Err(ProviderError::Refused { status, detail }) => {
                tracing::warn!(reference = key.reference(), status, detail, "the capture was refused");
                match services.provider.find(&key.reference()).await {
                    Ok(Some(now)) if now.status == ProviderStatus::Captured => mark(services, key, Mark::Captured).await,
                    Ok(_) => capture_refused(services, key).await,
                    Err(error) => later(key, &error),
                }
            }
            Err(error) => later(key, &error),
        },
        (false, ProviderStatus::Authorized) => match services.provider.void(&known.id).await {
            Ok(_) => mark(services, key, Mark::Voided(known.id.clone())).await,
            Err(error) => later(key, &error),
        },
        (false, ProviderStatus::Captured) => match services.provider.refund(&known.id, payment.amount).await {
            Ok(_) => mark(services, key, Mark::Refunded(known.id.clone())).await,
            Err(error) => later(key, &error),
        },
        (false, ProviderStatus::Voided) => mark(services, key, Mark::Voided(known.id.clone())).await,
        (false, ProviderStatus::Refunded) => mark(services, key, Mark::Refunded(known.id.clone())).await,
        (false, ProviderStatus::Declined) => payments::check_in(&services.db, key, None).await,
        (false, ProviderStatus::Processing) => Ok(()),
    }
}

/// Nothing is lost: the payment stays due, and the reconciler comes again.
fn later(key: &PaymentKey, error: &ProviderError) -> Result<(), Error> {
    tracing::warn!(reference = key.reference(), error = %crate::passes::chain(error), "the money will be settled later");
    Ok(())
}

/// What happened to the money.
#[derive(Debug, Clone)]
enum Mark {
    Captured,
    Voided(String),
    Refunded(String),
}

async fn mark(services: &Services, key: &PaymentKey, mark: Mark) -> Result<(), Error> {
    let key = key.clone();
    in_tx(&services.db, move |conn| {
        let (key, mark) = (key.clone(), mark.clone());
        Box::pin(async move { mark_in(conn, &key, mark).await })
    })
    .await
}

async fn mark_in(conn: &mut PgConnection, key: &PaymentKey, mark: Mark) -> Result<(), Error> {
    let Locked { booking, payment, .. } = lock_all(conn, key).await?;
    let (state, provider_payment) = match mark {
        Mark::Captured if payment.state == PaymentState::Captured => (PaymentState::Captured, None),
        Mark::Captured => (payment.state.capture()?, None),
        Mark::Voided(id) if payment.state == PaymentState::Voided => (PaymentState::Voided, Some(id)),
        Mark::Voided(id) => (payment.state.void()?, Some(id)),
        Mark::Refunded(id) => match payment.state {
            PaymentState::Refunded => (PaymentState::Refunded, Some(id)),
            // Captured at the provider although we never heard of it: the same money, the same way back.
            PaymentState::Authorized => (payment.state.capture()?.refund()?, Some(id)),
            other => (other.refund()?, Some(id)),
        },
    };
    // A cancellation that came between capture and this mark still has to pay back.
    let open = state == PaymentState::Captured && booking.state != BookingState::Confirmed;
    let step = Step { provider_payment, check_in_s: open.then_some(0), ..Step::default() };
    payments::set_state(conn, key, state, &step).await?;
    let back = matches!(state, PaymentState::Voided | PaymentState::Refunded);
    if back && booking.state == BookingState::Cancelled && booking.confirmed_at.is_some() {
        bookings::set_state(conn, &key.event, booking.id, booking.state.refund()?, None).await?;
        let payload = json!({ "event": key.event, "booking": booking.id });
        tickets::announce(conn, &key.event, booking.id, "booking.refunded", payload).await?;
    }
    Ok(())
}

/// The provider refuses the capture of what it had authorised: the sale is undone in one transaction.
async fn capture_refused(services: &Services, key: &PaymentKey) -> Result<(), Error> {
    let key = key.clone();
    in_tx(&services.db, move |conn| {
        let key = key.clone();
        Box::pin(async move {
            let Locked { hold, booking, payment } = lock_all(conn, &key).await?;
            if payment.state != PaymentState::Authorized || booking.state != BookingState::Confirmed {
                return Ok(());
            }
            payments::set_state(conn, &key, payment.state.fail()?, &Step::default()).await?;
            bookings::set_state(conn, &key.event, booking.id, booking.state.capture_refused()?, None).await?;
            unsell(conn, &booking, &hold).await?;
            let payload = json!({ "event": key.event, "booking": booking.id });
            tickets::announce(conn, &key.event, booking.id, "booking.failed", payload).await
        })
    })
    .await
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

/// Looks at one payment about which something is open: asks the provider and acts on the answer.
///
/// # Errors
/// When the database cannot be had.
pub async fn reconcile(services: &Services, payment: &PaymentRow) -> Result<(), Error> {
    let key = &payment.key;
    let known = match services.provider.find(&key.reference()).await {
        Ok(known) => known,
        Err(error) => return later(key, &error),
    };
    match (payment.state, known) {
        (PaymentState::Created, Some(known)) => {
            settle(services, payment, Ok(known), None).await?;
            Ok(())
        }
        (PaymentState::Created, None) if payment.now < payment.deadline => {
            payments::check_in(&services.db, key, Some(UNKNOWN_CHECK_S)).await
        }
        (PaymentState::Created, None) => {
            tracing::warn!(reference = key.reference(), "the provider never heard of the payment");
            let refusal = Refusal::PaymentDeclined { reason: None };
            give_back(services, key, PaymentState::Failed, None, refusal, None).await?;
            Ok(())
        }
        (PaymentState::Failed, None) if payment.checks < LATE_CHECKS => {
            payments::check_in(&services.db, key, Some(LATE_CHECK_S)).await
        }
        (_, Some(known)) => collect(services, payment, &known).await,
        (_, None) => payments::check_in(&services.db, key, None).await,
    }
}
