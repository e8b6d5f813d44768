//! Locking what belongs together, in the order of all.

use sqlx::PgConnection;

use super::bookings::{self, BookingRow};
use super::holds::{self, HoldRow};
use super::payments::{self, PaymentKey, PaymentRow};
use crate::error::Error;

/// Hold, booking and payment under lock, in this order.
#[derive(Debug)]
pub struct Locked {
    /// The hold that the booking was made of.
    pub hold: HoldRow,
    /// The booking.
    pub booking: BookingRow,
    /// The payment.
    pub payment: PaymentRow,
}

/// Locks a payment with its booking and hold.
///
/// # Errors
/// When the database cannot be had; a defect when one of them is lost.
pub async fn payment_with_booking(conn: &mut PgConnection, key: &PaymentKey) -> Result<Locked, Error> {
    let lost = || Error::defect(format!("the payment {} has lost its booking or hold", key.reference()));
    let hold = bookings::find(conn, &key.event, key.booking).await?.ok_or_else(lost)?.hold;
    let hold = holds::lock(conn, &key.event, hold).await?.ok_or_else(lost)?;
    bookings::lock(conn, &key.event, key.booking).await?;
    let booking = bookings::find(conn, &key.event, key.booking).await?.ok_or_else(lost)?;
    let payment = payments::lock(conn, key).await?.ok_or_else(lost)?;
    Ok(Locked { hold, booking, payment })
}
