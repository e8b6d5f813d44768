//! A booking: a hold on its way to being paid; the order.
//!
//! ```text
//! held ──► payment_pending ──► confirmed ──► cancelled ──► refunded
//!  │ ▲            │                └──► failed   the provider refused the capture
//!  │ └────────────┤ declined, the hold lives on
//!  │              └──► expired     declined, the hold had lapsed
//!  ├──► expired ──► confirmed    late money, and the places or equal ones could still be had
//!  └──► cancelled
//! ```

use crate::InvalidTransition;
use crate::transition::states;

states! {
    /// The stages of a booking.
    BookingState, "booking", {
        /// Made from a live hold; nothing is paid.
        Held = "held",
        /// A payment runs; its seats are pending.
        PaymentPending = "payment_pending",
        /// Paid for; it has tickets.
        Confirmed = "confirmed",
        /// The money could not be had; its seats are free.
        Failed = "failed",
        /// Its hold ran out.
        Expired = "expired",
        /// Given up by its buyer; a refund may be on its way.
        Cancelled = "cancelled",
        /// Cancelled and paid back.
        Refunded = "refunded",
    }
}

impl BookingState {
    /// A payment begins.
    ///
    /// # Errors
    /// Unless it is held.
    pub fn start_payment(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Held => Ok(Self::PaymentPending),
            other => other.refuse("start a payment"),
        }
    }

    /// The payment went through.
    ///
    /// # Errors
    /// Unless a payment runs.
    pub fn confirm(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::PaymentPending => Ok(Self::Confirmed),
            other => other.refuse("be confirmed"),
        }
    }

    /// Money came late, after its attempt was given up, and the places could still be had.
    ///
    /// # Errors
    /// Unless it waits for another attempt, or its hold ran out.
    pub fn rescue(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Held | Self::Expired => Ok(Self::Confirmed),
            other => other.refuse("be confirmed late"),
        }
    }

    /// The payment came to nothing and the hold lives on.
    ///
    /// # Errors
    /// Unless a payment runs.
    pub fn payment_failed(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::PaymentPending => Ok(Self::Held),
            other => other.refuse("lose a payment"),
        }
    }

    /// The hold ran out, before payment or while a payment came to nothing.
    ///
    /// # Errors
    /// Once it is paid for or ended.
    pub fn expire(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Held | Self::PaymentPending => Ok(Self::Expired),
            other => other.refuse("expire"),
        }
    }

    /// The provider refused the capture of what it had authorised.
    ///
    /// # Errors
    /// Unless it is confirmed.
    pub fn capture_refused(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Confirmed => Ok(Self::Failed),
            other => other.refuse("lose its capture"),
        }
    }

    /// The buyer gives it up. Twice is once.
    ///
    /// # Errors
    /// While a payment runs, and when it has failed or expired.
    pub fn cancel(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Held | Self::Confirmed => Ok(Self::Cancelled),
            Self::Cancelled | Self::Refunded => Ok(self),
            other => other.refuse("be cancelled"),
        }
    }

    /// The money is back.
    ///
    /// # Errors
    /// Unless it was cancelled.
    pub fn refund(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Cancelled => Ok(Self::Refunded),
            other => other.refuse("be refunded"),
        }
    }
}
