//! How a visit can end, and what happens on the way that the run counts or watches.

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Bought and confirmed.
    Confirmed,
    /// The card was declined and the fan gave up.
    Declined,
    /// Gave its hold back.
    Released,
    /// Walked away from its hold.
    Abandoned,
    /// Found nothing left to want, or lost too many races.
    SoldOut,
    /// The hold expired before the payment.
    HoldExpired,
    /// Holds more than it may.
    Limited,
    /// Left the line on purpose.
    Left,
    /// Fell silent in the line on purpose.
    WentSilent,
    /// Waited longer than the scenario lets a fan wait.
    GaveUp,
    /// The sale closed while the fan waited.
    SaleOver,
    /// Called, but the claim window passed.
    ClaimExpired,
    /// The gateway no longer knew the place.
    PlaceLost,
    /// The pass no longer opened the shop.
    PassLost,
    /// The payment was pending for too long.
    PendingTooLong,
    /// Errors, after all attempts.
    Failed,
    /// In the line when the run ended.
    StillWaiting,
    /// Inside, without a hold, when the run ended.
    StillShopping,
    /// In mid-purchase when even the time to finish was over.
    CutOff,
}

impl Outcome {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 19] = [
        Self::Confirmed,
        Self::Declined,
        Self::Released,
        Self::Abandoned,
        Self::SoldOut,
        Self::HoldExpired,
        Self::Limited,
        Self::Left,
        Self::WentSilent,
        Self::GaveUp,
        Self::SaleOver,
        Self::ClaimExpired,
        Self::PlaceLost,
        Self::PassLost,
        Self::PendingTooLong,
        Self::Failed,
        Self::StillWaiting,
        Self::StillShopping,
        Self::CutOff,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Declined => "declined",
            Self::Released => "released",
            Self::Abandoned => "abandoned",
            Self::SoldOut => "sold_out",
            Self::HoldExpired => "hold_expired",
            Self::Limited => "limited",
            Self::Left => "left",
            Self::WentSilent => "went_silent",
            Self::GaveUp => "gave_up",
            Self::SaleOver => "sale_over",
            Self::ClaimExpired => "claim_expired",
            Self::PlaceLost => "place_lost",
            Self::PassLost => "pass_lost",
            Self::PendingTooLong => "pending_too_long",
            Self::Failed => "failed",
            Self::StillWaiting => "still_waiting",
            Self::StillShopping => "still_shopping",
            Self::CutOff => "cut_off",
        }
    }
}

/// Something that happened to a fan and that the run counts or watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// It has a place.
    Joined,
    /// It has a pass, so long after joining.
    GotIn {
        /// Time in the line.
        wait_us: u64,
    },
    /// Its position rose although it never left.
    MovedBack {
        /// Before.
        from: u64,
        /// After.
        to: u64,
    },
    /// The gateway answered with another visitor than the place is of.
    OtherVisitor {
        /// Before.
        was: String,
        /// After.
        is: String,
    },
    /// It holds.
    Held {
        /// The hold.
        hold: String,
        /// Seats, by number.
        seats: Vec<u32>,
        /// For how long at least, from the moment of asking.
        for_us: u64,
    },
    /// It is about to give its hold back.
    GivingBack {
        /// The hold.
        hold: String,
    },
    /// Its payment is on its way: the seats stay until it ends.
    Paying {
        /// The hold.
        hold: String,
    },
    /// It bought.
    Bought {
        /// The hold.
        hold: String,
        /// The booking.
        booking: String,
        /// Seats, by number.
        seats: Vec<u32>,
        /// Places in areas.
        places: u32,
        /// Minor units.
        total: i64,
    },
}
