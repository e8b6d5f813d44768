//! Bringing a payment and its booking to one end, whoever asks first: the confirmation itself, or the
//! reconciler after a crash or a timeout.
//!
//! Authorise → commit sale, tickets and announcement in one transaction → capture. A crash before the commit
//! leaves an authorisation, which is voided or turned into the sale by asking the provider; a crash after it
//! leaves a sale whose capture is repeated. So there is never money without seats or seats without money for
//! longer than the reconciler's interval. No remote call is made while a transaction is open.

use booking_domain::{PaymentState, SeatState, TicketId};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::collect_payment::{collect, growing, later};
use super::once::Once;
use super::payment_outcome::{self, Settled, conclude, keep};
use super::views::BookingView;
use crate::error::{Error, Refusal};
use crate::payments::{ProviderError, ProviderPayment, ProviderStatus};
use crate::services::Services;
use crate::storage::areas::{self, Counted};
use crate::storage::history::{self, Change, Op};
use crate::storage::locks::{self, Locked};
use crate::storage::payments::{self, PaymentKey, PaymentRow, Step};
use crate::storage::tickets::{self, NewTicket};
use crate::storage::tx::in_tx;
use crate::storage::{bookings, holds, seats};

/// How soon the reconciler looks after a capture that should be done by then.
const CAPTURE_CHECK_S: u32 = 5;
/// How soon it asks again after an unknown answer.
const UNKNOWN_CHECK_S: u32 = 1;
/// After a payment that was never heard of, how often it is asked for once more, and how far apart.
const LATE_CHECKS: i32 = 3;
const LATE_CHECK_S: u32 = 300;

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
        Ok(known) => settle_known(services, payment, known, repeat).await,
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

async fn settle_known(
    services: &Services,
    payment: &PaymentRow,
    known: ProviderPayment,
    repeat: Option<Once<BookingView>>,
) -> Result<Settled, Error> {
    let key = &payment.key;
    let is_ours = known.amount == payment.amount.amount();
    match known.status {
        ProviderStatus::Authorized | ProviderStatus::Captured if is_ours => {
            sell(services, key, &known).await?;
            services.feeds.changed(&key.event);
            collect(services, key, &known).await?;
            conclude(services, key, repeat).await
        }
        ProviderStatus::Declined | ProviderStatus::Voided | ProviderStatus::Refunded => {
            let refusal = Refusal::PaymentDeclined { reason: known.decline_reason.clone() };
            give_back(services, key, PaymentState::Declined, Some(known), refusal, repeat).await
        }
        // Money of another amount is no payment of this booking: it goes back when the time is over.
        ProviderStatus::Authorized | ProviderStatus::Captured | ProviderStatus::Processing => {
            if !is_ours {
                tracing::error!(reference = key.reference(), ours = %payment.amount, theirs = known.amount,
                                "the provider has another amount");
            }
            if payment.now < payment.deadline {
                payments::check_in(&services.db, key, Some(UNKNOWN_CHECK_S)).await?;
                return Ok(Settled::Open);
            }
            tracing::warn!(reference = key.reference(), "the payment was not made in time; it is given up");
            give_back(services, key, PaymentState::Failed, Some(known), Refusal::PaymentFailed, repeat).await
        }
    }
}

/// Commits the sale: seats, tickets and announcement in one transaction; nothing when the payment was settled
/// by somebody else.
async fn sell(services: &Services, key: &PaymentKey, known: &ProviderPayment) -> Result<(), Error> {
    let (services, key, id) = (services.clone(), key.clone(), known.id.clone());
    in_tx(&services.db.clone(), move |conn| {
        let (services, key, id) = (services.clone(), key.clone(), id.clone());
        Box::pin(async move { sell_in(conn, &services, &key, Some(id)).await })
    })
    .await?;
    Ok(())
}

/// Sells the pending seats of a created payment; `false` when it is not created any more. The caller's
/// transaction.
pub(crate) async fn sell_in(
    conn: &mut PgConnection,
    services: &Services,
    key: &PaymentKey,
    provider_payment: Option<String>,
) -> Result<bool, Error> {
    let Locked { hold, booking, payment } = locks::payment_with_booking(conn, key).await?;
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
    let (event, key) = (&key.event, key.clone());
    let settled = in_tx(&services.db, move |conn| {
        let (facts, key, repeat) = (facts.clone(), key.clone(), repeat.clone());
        let (known, refusal) = (known.clone(), refusal.clone());
        Box::pin(async move {
            let given_back = give_back_in(conn, &key, end, known).await?;
            let settled = if given_back {
                Settled::NotPaid(refusal)
            } else {
                // Somebody else settled it meanwhile: the answer is what came of it.
                payment_outcome::read(conn, &facts, &key).await?.settled
            };
            keep(conn, repeat, &settled).await?;
            Ok(settled)
        })
    });
    let settled = settled.await?;
    services.feeds.changed(event);
    Ok(settled)
}

async fn give_back_in(
    conn: &mut PgConnection,
    key: &PaymentKey,
    end: PaymentState,
    known: Option<ProviderPayment>,
) -> Result<bool, Error> {
    let Locked { hold, booking, payment } = locks::payment_with_booking(conn, key).await?;
    if payment.state != PaymentState::Created {
        return Ok(false);
    }
    let declined = end == PaymentState::Declined;
    let state = if declined { payment.state.decline()? } else { payment.state.fail()? };
    // What was never heard of may still turn up late; what is known is given back at once; what was declined
    // has ended.
    let late_s = if known.is_some() { UNKNOWN_CHECK_S } else { LATE_CHECK_S };
    let check_in_s = (!declined).then_some(late_s);
    let (provider_payment, decline_reason) = known.map(|known| (known.id, known.decline_reason)).unzip();
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

/// Looks at one payment about which something is open: asks the provider and acts on the answer.
///
/// # Errors
/// When the database cannot be had.
pub async fn reconcile(services: &Services, payment: &PaymentRow) -> Result<(), Error> {
    let key = &payment.key;
    let known = match look_up(services, payment).await {
        Ok(known) => known,
        Err(error) => return later(key, &error),
    };
    match (payment.state, known) {
        (PaymentState::Declined | PaymentState::Voided | PaymentState::Refunded, _) => {
            payments::check_in(&services.db, key, None).await
        }
        (PaymentState::Created, Some(known)) => {
            settle(services, payment, Ok(known), None).await?;
            Ok(())
        }
        (_, Some(known)) => collect(services, key, &known).await,
        (PaymentState::Created, None) if payment.now < payment.deadline => {
            payments::check_in(&services.db, key, Some(UNKNOWN_CHECK_S)).await
        }
        (PaymentState::Created, None) => {
            tracing::warn!(reference = key.reference(), "the provider never heard of the payment");
            give_back(services, key, PaymentState::Failed, None, Refusal::PaymentFailed, None).await?;
            Ok(())
        }
        (PaymentState::Failed, None) if payment.provider_payment.is_none() => {
            let again = (payment.checks < LATE_CHECKS).then_some(LATE_CHECK_S);
            payments::check_in(&services.db, key, again).await
        }
        // The provider knew it before: money is somewhere, and following it up never ends.
        (PaymentState::Authorized | PaymentState::Captured | PaymentState::Failed, None) => {
            tracing::error!(reference = key.reference(), payment = payment.provider_payment, state = %payment.state,
                            "the provider does not find a payment that it knew");
            payments::check_in(&services.db, key, Some(growing(payment.checks))).await
        }
    }
}

/// What the provider knows of a payment: by our reference, else by its own id.
async fn look_up(services: &Services, payment: &PaymentRow) -> Result<Option<ProviderPayment>, ProviderError> {
    let found = services.provider.find(&payment.key.reference()).await?;
    match (&payment.provider_payment, found) {
        (Some(id), None) => services.provider.get(id).await,
        (_, found) => Ok(found),
    }
}
