//! A payment: one attempt to be paid for a booking. Attempts are never deleted.
//!
//! ```text
//! created ──► authorized ──► captured ──► refunded
//!    │            ├──► voided      the seats could not be had, or the booking was cancelled
//!    │            └──► failed      the provider refused the capture
//!    ├──► declined ──► voided     the provider kept the money in spite of its no
//!    │       └───────► refunded   it took the money in spite of its no
//!    └──► failed ──► voided        never heard of in time; authorised late after all
//!            ├─────► refunded      never heard of in time; captured late after all
//!            └─────► authorized    never heard of in time; late, and the places could still be had
//! ```
//!
//! Invariant: transitions are monotonic; nothing overrides `captured` but the refund.

use crate::InvalidTransition;
use crate::transition::states;

states! {
    /// The stages of a payment.
    PaymentState, "payment", {
        /// Intended and recorded; the provider may or may not know of it.
        Created = "created",
        /// The provider keeps the money for us.
        Authorized = "authorized",
        /// The provider said no.
        Declined = "declined",
        /// The money is ours.
        Captured = "captured",
        /// The authorisation was given back.
        Voided = "voided",
        /// It came to nothing.
        Failed = "failed",
        /// Captured and paid back.
        Refunded = "refunded",
    }
}

impl PaymentState {
    /// The provider keeps the money for us.
    ///
    /// # Errors
    /// Unless it was just created.
    pub fn authorize(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Created => Ok(Self::Authorized),
            other => other.refuse("be authorized"),
        }
    }

    /// It was given up, and its money came late and in time for the places.
    ///
    /// # Errors
    /// Unless it was given up.
    pub fn rescue(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Failed => Ok(Self::Authorized),
            other => other.refuse("be rescued"),
        }
    }

    /// The provider said no.
    ///
    /// # Errors
    /// Unless it was just created.
    pub fn decline(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Created => Ok(Self::Declined),
            other => other.refuse("be declined"),
        }
    }

    /// Given up: never heard of by the provider, or its capture was refused.
    ///
    /// # Errors
    /// Once captured or ended.
    pub fn fail(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Created | Self::Authorized => Ok(Self::Failed),
            other => other.refuse("fail"),
        }
    }

    /// The money is ours.
    ///
    /// # Errors
    /// Unless it is authorised.
    pub fn capture(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Authorized => Ok(Self::Captured),
            other => other.refuse("be captured"),
        }
    }

    /// The authorisation is given back.
    ///
    /// # Errors
    /// Once captured or ended otherwise.
    pub fn void(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Created | Self::Authorized | Self::Declined | Self::Failed => Ok(Self::Voided),
            other => other.refuse("be voided"),
        }
    }

    /// The money went back.
    ///
    /// # Errors
    /// Unless it was captured, or had been given up or declined before it was.
    pub fn refund(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Captured | Self::Declined | Self::Failed => Ok(Self::Refunded),
            other => other.refuse("be refunded"),
        }
    }
}
