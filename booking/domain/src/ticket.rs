//! A ticket: what a confirmed booking yields, one per seat or place.

use crate::InvalidTransition;
use crate::transition::states;

states! {
    /// The stages of a ticket.
    TicketState, "ticket", {
        /// Opens the door.
        Valid = "valid",
        /// Its booking was cancelled or failed.
        Void = "void",
    }
}

impl TicketState {
    /// Its booking came to an end. Twice is once.
    ///
    /// # Errors
    /// Never at present; a ticket that was used will refuse.
    pub fn void(self) -> Result<Self, InvalidTransition> {
        Ok(Self::Void)
    }
}
