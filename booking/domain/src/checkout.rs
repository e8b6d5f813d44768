//! What is to be done next about a payment: one decision for every state and every answer of the provider.
//!
//! Whoever looks after a payment (the confirmation, a callback, the reconciler) asks the provider, puts the
//! answer and the stored states into [`Facts`], and does what [`next`] says; then it looks again. So there is
//! no order of events to get wrong: after any crash the next look goes on from what is true.
//!
//! Invariants, explored exhaustively by `tests/checkout.rs`: no reachable state has money and neither seats nor
//! somebody who will give it back; a sale without money is undone; nothing is taken twice.
//!
//! Left out: how an act is done (a transaction under lock that decides again, or a call to the provider with a
//! fixed idempotency key), and when the next look is.

use crate::{BookingState, PaymentState};

/// What the provider says of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Told {
    /// No answer that settles anything.
    Unknown,
    /// It never heard of the payment.
    Never,
    /// It is at it; the outcome comes later.
    Processing,
    /// No.
    Declined,
    /// The money is kept for us.
    Authorized,
    /// The money is kept for us, and taking it was refused for good.
    Uncapturable,
    /// The money is ours.
    Captured,
    /// The authorisation was given back.
    Voided,
    /// All of the money went back.
    Refunded,
    /// Money of another amount or currency is kept for us.
    OtherKept,
    /// Money of another amount or currency was taken.
    OtherTaken,
}

impl Told {
    /// Every answer.
    pub const ALL: [Self; 11] = [
        Self::Unknown,
        Self::Never,
        Self::Processing,
        Self::Declined,
        Self::Authorized,
        Self::Uncapturable,
        Self::Captured,
        Self::Voided,
        Self::Refunded,
        Self::OtherKept,
        Self::OtherTaken,
    ];
}

/// How long a payment has been open, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Age {
    /// Before its deadline.
    InTime,
    /// Past its deadline: what the provider does not know or does not finish is given up.
    Late,
    /// Past the hard cap: it is given up even when nobody can be asked.
    Capped,
    /// So old that a provider that does not know it will never know it.
    Forgotten,
}

/// How much of the money the seller keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// All.
    All,
    /// Some; the rest goes back.
    Part,
    /// Nothing.
    Nothing,
}

/// All that a decision rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The booking's stage.
    pub booking: BookingState,
    /// The payment's stage.
    pub payment: PaymentState,
    /// What the provider says.
    pub told: Told,
    /// How long it has been open.
    pub age: Age,
    /// What is kept after all refunds that were decided.
    pub keep: Keep,
    /// Whether a refund was decided that has not reached the provider.
    pub refund_due: bool,
    /// Whether money that comes late may still buy the places: nobody tried yet, and no other attempt runs.
    pub may_rescue: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Ask the provider again, later.
    Ask,
    /// Nothing is open.
    Close,
    /// Have a person look at it, and ask again.
    Alarm,
    /// Money of another amount: sell nothing for it, have a person look at it, and ask again.
    Quarantine,
    /// Commit the sale, its tickets and its announcement.
    Sell,
    /// Write down the provider's no; the places go back to the hold.
    Decline,
    /// Give the attempt up; the places go back to the hold, and the money is still looked for.
    GiveUp,
    /// Late money: commit the sale if the same places, or equal ones, can be had.
    Rescue,
    /// Take the money that is kept for us.
    Capture,
    /// Write down that the money is ours.
    NoteCaptured,
    /// The money of a sale cannot be had: free the places, take the tickets out of use.
    UndoSale,
    /// Give the authorisation back.
    Void,
    /// Write down that the authorisation was given back.
    NoteVoided,
    /// Pay back all that was taken by an attempt that sold nothing.
    PayBackAll,
    /// Pay back the next refund that was decided.
    PayBack,
    /// Write down that the money went back.
    NoteRefunded,
}

/// What is to be done next about a payment.
#[must_use]
pub fn next(facts: &Facts) -> Act {
    match facts.payment {
        PaymentState::Created => unsettled(facts),
        PaymentState::Authorized => sold(facts),
        PaymentState::Captured => paid(facts),
        PaymentState::Declined | PaymentState::Failed => unsold(facts),
        PaymentState::Voided | PaymentState::Refunded => Act::Close,
    }
}

/// The places are pending, and nothing is decided.
fn unsettled(facts: &Facts) -> Act {
    let in_time = facts.age == Age::InTime;
    match facts.told {
        Told::Authorized | Told::Uncapturable | Told::Captured => Act::Sell,
        Told::Declined | Told::Voided | Told::Refunded => Act::Decline,
        Told::OtherKept | Told::OtherTaken if in_time => Act::Quarantine,
        Told::Never | Told::Processing if in_time => Act::Ask,
        // Money may be there: without an answer the places stay pending until the cap.
        Told::Unknown if facts.age < Age::Capped => Act::Ask,
        Told::OtherKept | Told::OtherTaken | Told::Never | Told::Processing | Told::Unknown => Act::GiveUp,
    }
}

/// The sale was committed, and the money is not ours yet.
fn sold(facts: &Facts) -> Act {
    let stands = facts.booking == BookingState::Confirmed;
    let wanted = stands || facts.keep != Keep::Nothing;
    match facts.told {
        Told::Authorized if wanted => Act::Capture,
        Told::Captured => Act::NoteCaptured,
        Told::Uncapturable | Told::Declined | Told::Voided | Told::Refunded if stands => Act::UndoSale,
        Told::Authorized | Told::Uncapturable => Act::Void,
        Told::Declined | Told::Voided => Act::NoteVoided,
        Told::Refunded => Act::NoteRefunded,
        Told::OtherKept | Told::OtherTaken => Act::Quarantine,
        Told::Processing | Told::Unknown => Act::Ask,
        Told::Never => Act::Alarm,
    }
}

/// The money is ours.
fn paid(facts: &Facts) -> Act {
    match facts.told {
        Told::Captured | Told::Refunded if facts.refund_due => Act::PayBack,
        Told::Captured => Act::Close,
        Told::OtherKept | Told::OtherTaken => Act::Quarantine,
        Told::Processing | Told::Unknown => Act::Ask,
        // The provider took back the money of a sale, or lost it.
        Told::Never | Told::Declined | Told::Authorized | Told::Uncapturable | Told::Voided | Told::Refunded => {
            Act::Alarm
        }
    }
}

/// The attempt sold nothing: whatever the provider has goes back, unless late money can still buy the places.
fn unsold(facts: &Facts) -> Act {
    let given_up = facts.payment == PaymentState::Failed;
    let rescue = given_up && facts.may_rescue && matches!(facts.booking, BookingState::Held | BookingState::Expired);
    match facts.told {
        Told::Authorized | Told::Captured if rescue => Act::Rescue,
        Told::Authorized | Told::Uncapturable | Told::OtherKept => Act::Void,
        Told::Captured | Told::OtherTaken => Act::PayBackAll,
        Told::Voided => Act::NoteVoided,
        Told::Refunded => Act::NoteRefunded,
        Told::Never if given_up && facts.age < Age::Forgotten => Act::Ask,
        Told::Never | Told::Declined => Act::Close,
        Told::Processing | Told::Unknown => Act::Ask,
    }
}
