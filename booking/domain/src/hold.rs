//! A hold: seats or places reserved for a short time.
//!
//! ```text
//! active ──► pending ──► consumed
//!   │ ▲         │
//!   │ └─────────┘ payment declined
//!   ├──► released
//!   ├──► expired     by the database's clock, for everybody at once
//!   └──► consumed    also from expired: late money, and the places could still be had
//! ```
//!
//! Invariant: a hold that is pending neither expires nor is released; only its payment ends that.

use jiff::Timestamp;

use crate::InvalidTransition;
use crate::transition::states;

states! {
    /// The stages of a hold.
    HoldState, "hold", {
        /// Reserved until its expiry.
        Active = "active",
        /// A payment runs on it.
        Pending = "pending",
        /// It became a sale.
        Consumed = "consumed",
        /// Its holder let it go.
        Released = "released",
        /// Its time ran out.
        Expired = "expired",
    }
}

/// A hold's stage and its expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Its stage.
    pub state: HoldState,
    /// When an active hold lapses.
    pub expires_at: Timestamp,
}

impl Hold {
    /// The hold as it is at `now`: an active one past its expiry has expired, swept or not.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        match self.state {
            HoldState::Active if self.expires_at <= now => Self { state: HoldState::Expired, ..self },
            _ => self,
        }
    }

    /// A payment begins.
    ///
    /// # Errors
    /// Unless it is active.
    pub fn start_payment(self) -> Result<Self, InvalidTransition> {
        match self.state {
            HoldState::Active => Ok(Self { state: HoldState::Pending, ..self }),
            other => other.refuse("start a payment"),
        }
    }

    /// The payment came to nothing; the hold lives on until it expires.
    ///
    /// # Errors
    /// Unless a payment runs on it.
    pub fn payment_failed(self) -> Result<Self, InvalidTransition> {
        match self.state {
            HoldState::Pending => Ok(Self { state: HoldState::Active, ..self }),
            other => other.refuse("lose a payment"),
        }
    }

    /// The payment went through.
    ///
    /// # Errors
    /// Unless a payment runs on it.
    pub fn consume(self) -> Result<Self, InvalidTransition> {
        match self.state {
            HoldState::Pending => Ok(Self { state: HoldState::Consumed, ..self }),
            other => other.refuse("be consumed"),
        }
    }

    /// Money came late, and the places could still be had.
    ///
    /// # Errors
    /// Unless it is active or its time ran out.
    pub fn rescue(self) -> Result<Self, InvalidTransition> {
        match self.state {
            HoldState::Active | HoldState::Expired => Ok(Self { state: HoldState::Consumed, ..self }),
            other => other.refuse("be rescued"),
        }
    }

    /// When it lapses if its holder is to have so many seconds more, but never later than so many after it was
    /// made.
    #[must_use]
    pub fn prolonged(self, now: Timestamp, created_at: Timestamp, least_s: u32, cap_s: u32) -> Self {
        let after = |start: Timestamp, seconds: u32| {
            start.checked_add(jiff::SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
        };
        let wanted = after(now, least_s).min(after(created_at, cap_s));
        Self { expires_at: self.expires_at.max(wanted), ..self }
    }

    /// The holder lets go. Letting go twice, or of what has expired, changes nothing.
    ///
    /// # Errors
    /// While a payment runs, and after the sale.
    pub fn release(self) -> Result<Self, InvalidTransition> {
        match self.state {
            HoldState::Active => Ok(Self { state: HoldState::Released, ..self }),
            HoldState::Released | HoldState::Expired => Ok(self),
            other => other.refuse("be released"),
        }
    }
}
