//! Paying a part of a booking's money back while the booking stands, by an organiser's decision.

use booking_domain::{BookingId, EventId};

use crate::error::{Error, Refusal};
use crate::services::Services;
use crate::storage::bookings;
use crate::storage::locks;
use crate::storage::payments;
use crate::storage::refunds::{self, Decided, NewRefund};
use crate::storage::tx::in_tx;

/// What is to be paid back.
#[derive(Debug, Clone)]
pub struct RefundRequest {
    /// The event.
    pub event: EventId,
    /// The booking.
    pub booking: BookingId,
    /// Minor units of its currency.
    pub amount: i64,
    /// Why, for people.
    pub reason: String,
    /// What asks for it: the same request is the same refund.
    pub request: String,
}

/// Decides a refund. The reconciler pays it; never more than was taken goes back, however many ask at once.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] when it was not paid for or so much is not left; that the database
/// cannot be had.
pub async fn refund_booking(services: &Services, request: RefundRequest) -> Result<Decided, Error> {
    in_tx(&services.db, move |conn| {
        let request = request.clone();
        Box::pin(async move {
            let RefundRequest { event, booking, amount, reason, request } = request;
            let found = bookings::find(conn, &event, booking).await?;
            found.ok_or(Refusal::NotFound { what: "booking" })?;
            let payment = payments::foremost(conn, &event, booking).await?;
            let payment = payment.ok_or(Refusal::NotFound { what: "payment of the booking" })?;
            let locked = locks::payment_with_booking(conn, &payment.key).await?;
            let captured = locked.payment.state == booking_domain::PaymentState::Captured;
            if !captured || locked.booking.sold_attempt != Some(payment.key.attempt) {
                let state = locked.booking.state.name();
                return Err(Refusal::Conflict { detail: "there is no money to give back".into(), state }.into());
            }
            let new = NewRefund { amount, reason: &reason, request: &request };
            match refunds::decide(conn, &locked.payment, new).await? {
                Decided::TooMuch { left } => {
                    let detail = format!("{amount} is not between 1 and the {left} that are left");
                    Err(Refusal::Conflict { detail, state: locked.booking.state.name() }.into())
                }
                decided => Ok(decided),
            }
        })
    })
    .await
}
