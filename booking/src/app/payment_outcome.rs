//! What became of one attempt to pay: what its buyer is told, now and when the request is repeated.
//!
//! Read from the tables under the locks of whoever settles the attempt, after everything was done about it: a
//! sale whose capture was refused is no sale. An attempt answers for itself: one that did not pay is not told
//! as paid because a later one did.

use booking_domain::{BookingState, PaymentState};
use sqlx::PgConnection;

use super::once::Once;
use super::views::{self, BookingView};
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::locks;
use crate::storage::payments::{PaymentKey, PaymentRow};
use crate::storage::tx::in_tx;

/// How a payment ended.
#[derive(Debug)]
pub enum Settled {
    /// Sold, with its tickets; perhaps cancelled since.
    Sold(Box<BookingView>),
    /// No money; the hold lives on until it expires.
    NotPaid(Refusal),
    /// Not known yet; somebody will ask again.
    Open,
    /// Nobody was asked for the money, and what had begun was taken back: the same request may begin anew.
    NotBegun,
}

/// What an attempt came to. Payment and booking were read under their locks, or in one snapshot.
pub(crate) fn outcome(payment: &PaymentRow, view: BookingView) -> Settled {
    if payment.state == PaymentState::Created {
        return Settled::Open;
    }
    if view.row.sold_attempt == Some(payment.key.attempt) && view.state() != BookingState::Failed {
        return Settled::Sold(Box::new(view));
    }
    Settled::NotPaid(match payment.state {
        PaymentState::Declined => Refusal::PaymentDeclined { reason: payment.decline_reason.clone() },
        PaymentState::Failed if view.state() != BookingState::Failed => Refusal::PaymentLate,
        _ => Refusal::PaymentFailed,
    })
}

/// Reads what an attempt came to, under its locks.
pub(crate) async fn read(conn: &mut PgConnection, facts: &EventFacts, key: &PaymentKey) -> Result<Told, Error> {
    let payment = locks::payment_with_booking(conn, key).await?.payment;
    let view = views::read_booking(conn, facts, key.booking).await?;
    let view = view.ok_or_else(|| Error::defect(format!("the booking {} is lost", key.booking)))?;
    // Between sale and capture the outcome may still turn; somebody is at it until the deadline.
    let is_final = payment.state != PaymentState::Authorized || payment.now >= payment.deadline;
    Ok(Told { settled: outcome(&payment, view), is_final })
}

/// An outcome, and whether it may be kept as the answer of all repetitions.
pub(crate) struct Told {
    pub(crate) settled: Settled,
    pub(crate) is_final: bool,
}

/// The outcome of an attempt about which everything was done that can be done now, kept as the answer to the request
/// if it cannot change any more.
pub(crate) async fn conclude(
    services: &Services,
    key: &PaymentKey,
    repeat: Option<Once<BookingView>>,
) -> Result<Settled, Error> {
    let facts = services.events.get(&services.db, &key.event).await?;
    let key = key.clone();
    in_tx(&services.db, move |conn| {
        let (facts, key, repeat) = (facts.clone(), key.clone(), repeat.clone());
        Box::pin(async move {
            let Told { settled, is_final } = read(conn, &facts, &key).await?;
            // A sale that may still turn is told and not kept: who asks again is told what it came to.
            if is_final || matches!(settled, Settled::NotPaid(_)) {
                keep(conn, repeat, &settled).await?;
            }
            Ok(settled)
        })
    })
    .await
}

/// Keeps an outcome as the answer to the request.
pub(crate) async fn keep(
    conn: &mut PgConnection,
    repeat: Option<Once<BookingView>>,
    settled: &Settled,
) -> Result<(), Error> {
    let Some(once) = repeat else { return Ok(()) };
    match settled {
        Settled::Sold(view) => once.keep(conn, Ok(view)).await,
        Settled::NotPaid(refusal) => once.keep(conn, Err(refusal)).await,
        Settled::Open => Ok(()),
        Settled::NotBegun => once.take_back(conn).await,
    }
}
