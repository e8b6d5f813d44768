//! The money of a sale: taking it, or giving it back when there is no sale for it.
//!
//! Every step asks the provider first and writes down what it said after; a step that was lost in between is
//! repeated by the reconciler, with the same key at the provider.

use booking_domain::{BookingState, Money, PaymentState, SeatState};
use serde_json::json;
use sqlx::PgConnection;

use crate::error::Error;
use crate::payments::{ProviderError, ProviderPayment, ProviderStatus};
use crate::services::Services;
use crate::storage::areas::{self, Counted};
use crate::storage::bookings::{self, BookingRow};
use crate::storage::history::{self, Change, Op};
use crate::storage::holds::HoldRow;
use crate::storage::locks::{self, Locked};
use crate::storage::payments::{self, PaymentKey, PaymentRow, Step};
use crate::storage::seats;
use crate::storage::tickets;
use crate::storage::tx::in_tx;

/// Longest wait between two looks at a payment, and the first one, which doubles.
const MOST_CHECK_S: u32 = 3600;
const FIRST_CHECK_S: u32 = 2;

/// Takes the money of a sale, or gives it back when this attempt sold nothing.
pub(crate) async fn collect(services: &Services, key: &PaymentKey, known: &ProviderPayment) -> Result<(), Error> {
    let (booking, payment) = {
        let mut conn = services.db.acquire().await?;
        let lost = || Error::defect(format!("the payment {} or its booking is lost", key.reference()));
        let booking = bookings::find(&mut conn, &key.event, key.booking).await?.ok_or_else(lost)?;
        (booking, payments::find(&mut conn, key).await?.ok_or_else(lost)?)
    };
    // Of all attempts only the one that sold the booking may cost money.
    let sold = booking.state == BookingState::Confirmed
        && matches!(payment.state, PaymentState::Authorized | PaymentState::Captured);
    if sold { take(services, &payment, known).await } else { pay_back(services, &payment, known).await }
}

/// Takes the money of a sale.
async fn take(services: &Services, payment: &PaymentRow, known: &ProviderPayment) -> Result<(), Error> {
    let key = &payment.key;
    match known.status {
        ProviderStatus::Captured => mark(services, key, Mark::Captured).await,
        ProviderStatus::Processing => wait(services, payment).await,
        ProviderStatus::Authorized => match services.provider.capture(&known.id, payment.amount).await {
            Ok(now) if now.status == ProviderStatus::Captured => mark(services, key, Mark::Captured).await,
            Ok(_) => wait(services, payment).await,
            Err(ProviderError::Refused { status, detail }) => {
                tracing::warn!(reference = key.reference(), status, detail, "the capture was refused");
                match services.provider.find(&key.reference()).await {
                    Ok(Some(now)) if now.status == ProviderStatus::Captured => {
                        mark(services, key, Mark::Captured).await
                    }
                    Ok(Some(now)) if now.status != ProviderStatus::Processing => undo_sale(services, key).await,
                    Ok(_) => wait(services, payment).await,
                    Err(error) => later(key, &error),
                }
            }
            Err(error) => later(key, &error),
        },
        ProviderStatus::Declined | ProviderStatus::Voided | ProviderStatus::Refunded => {
            if payment.state == PaymentState::Authorized {
                return undo_sale(services, key).await;
            }
            tracing::error!(reference = key.reference(), status = ?known.status,
                            "the provider took back the money of a sale; a person has to look at it");
            wait(services, payment).await
        }
    }
}

/// Gives back the money of an attempt that sold nothing, or whose sale was cancelled.
async fn pay_back(services: &Services, payment: &PaymentRow, known: &ProviderPayment) -> Result<(), Error> {
    let key = &payment.key;
    match known.status {
        ProviderStatus::Authorized => match services.provider.void(&known.id).await {
            Ok(now) if now.status == ProviderStatus::Voided => {
                mark(services, key, Mark::Voided(known.id.clone())).await
            }
            Ok(_) => wait(services, payment).await,
            Err(error) => later(key, &error),
        },
        ProviderStatus::Captured => {
            // All that was taken, also when it is not what we asked for.
            let taken = Money::new(known.amount, payment.amount.currency());
            match services.provider.refund(&known.id, taken, &format!("{}/refund", known.id)).await {
                Ok(now) if now.status == ProviderStatus::Refunded => {
                    mark(services, key, Mark::Refunded(known.id.clone())).await
                }
                Ok(_) => wait(services, payment).await,
                Err(error) => later(key, &error),
            }
        }
        ProviderStatus::Voided => mark(services, key, Mark::Voided(known.id.clone())).await,
        ProviderStatus::Refunded => mark(services, key, Mark::Refunded(known.id.clone())).await,
        // Kept for us once, and given up by the provider itself.
        ProviderStatus::Declined if payment.state == PaymentState::Authorized => {
            mark(services, key, Mark::Voided(known.id.clone())).await
        }
        ProviderStatus::Declined => payments::check_in(&services.db, key, None).await,
        ProviderStatus::Processing => wait(services, payment).await,
    }
}

/// Looks again, less and less often; never not at all.
async fn wait(services: &Services, payment: &PaymentRow) -> Result<(), Error> {
    payments::check_in(&services.db, &payment.key, Some(growing(payment.checks))).await
}

/// How long to wait after so many looks.
pub(crate) fn growing(checks: i32) -> u32 {
    let doublings = u32::try_from(checks).unwrap_or(0).min(16);
    (FIRST_CHECK_S << doublings).min(MOST_CHECK_S)
}

/// Nothing is lost: the payment stays due, and the reconciler comes again.
pub(crate) fn later(key: &PaymentKey, error: &ProviderError) -> Result<(), Error> {
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
    let Locked { booking, payment, .. } = locks::payment_with_booking(conn, key).await?;
    // The money of an earlier attempt says nothing about the booking.
    let sold = matches!(payment.state, PaymentState::Authorized | PaymentState::Captured);
    let (state, provider_payment) = match mark {
        // Marked already, perhaps even paid back since.
        Mark::Captured if matches!(payment.state, PaymentState::Captured | PaymentState::Refunded) => {
            (payment.state, None)
        }
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
    if sold && back && booking.state == BookingState::Cancelled && booking.confirmed_at.is_some() {
        bookings::set_state(conn, &key.event, booking.id, booking.state.refund()?, None).await?;
        let payload = json!({ "event": key.event, "booking": booking.id });
        tickets::announce(conn, &key.event, booking.id, "booking.refunded", payload).await?;
    }
    Ok(())
}

/// The money of a sale cannot be had for good: the sale is undone in one transaction, and what is left of the
/// authorisation is given back by the reconciler.
async fn undo_sale(services: &Services, key: &PaymentKey) -> Result<(), Error> {
    let key = key.clone();
    in_tx(&services.db, move |conn| {
        let key = key.clone();
        Box::pin(async move {
            let Locked { hold, booking, payment } = locks::payment_with_booking(conn, &key).await?;
            if payment.state != PaymentState::Authorized || booking.state != BookingState::Confirmed {
                return Ok(());
            }
            let at_once = Step { check_in_s: Some(0), ..Step::default() };
            payments::set_state(conn, &key, payment.state.fail()?, &at_once).await?;
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
