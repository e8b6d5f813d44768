//! Best available: which free seats to offer to people who want to sit together.
//!
//! A ladder is climbed down, and the answer names the rung that gave the seats:
//!
//! 1. **together**: neighbours of one row and one category, nearest to the focal point on average, such that no single
//!    free seat is left between taken ones;
//! 2. **orphan**: the same, with a single free seat left beside them, when nothing else is possible;
//! 3. **split**: two blocks of neighbours, as even as can be, the second nearest to the first;
//! 4. **apart**: the nearest seats one by one.
//!
//! Who insists on sitting together stays on the first two. Since the last rung takes any seats that suit, a refusal
//! means that there are too few of them: there is no false sold-out. Seats kept for those who ask for them (wheelchair
//! places and their companions') are chosen only for wishes that ask.
//!
//! The hall is prepared once per event; what is free lies in a [`Stock`], which knows of each run how many seats
//! are free and how long the longest stretch is, so that a choice looks only where something can be had.

mod choose;
mod hall;
mod stock;

pub use hall::{Features, Hall};
pub use stock::Stock;

/// Most seats of one wish.
pub const MAX_QUANTITY: u32 = 100;

/// What somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// How many seats.
    pub quantity: u32,
    /// In which price category; any if none is named.
    pub category: Option<String>,
    /// Only in these categories, by their index: those within a price cap.
    pub affordable: Option<Vec<u16>>,
    /// At least one of them at an aisle.
    pub aisle: bool,
    /// All of them without steps on the way.
    pub step_free: bool,
    /// So many of them are wheelchair places; the others sit beside these, on companions' seats or ordinary ones.
    pub accessible: u32,
    /// Rather nothing than not beside each other.
    pub together: bool,
}

/// On which rung of the ladder seats were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Neighbours, and nobody is left alone beside them.
    Together,
    /// Neighbours; a single free seat is left beside them.
    Orphan,
    /// Two blocks of neighbours.
    Split,
    /// One by one.
    Apart,
}

impl Rung {
    /// Its name in tables and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Orphan => "orphan",
            Self::Split => "split",
            Self::Apart => "apart",
        }
    }

    /// By its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Together, Self::Orphan, Self::Split, Self::Apart].into_iter().find(|rung| rung.name() == name)
    }

    /// Why these seats, for a person.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Together => "the best seats beside each other",
            Self::Orphan => "the best seats beside each other; a single seat is left beside them",
            Self::Split => "so many seats are not free beside each other any more: these are two groups",
            Self::Apart => "only single seats are free any more: these are the nearest",
        }
    }
}

/// Seats to offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Their numbers, ascending.
    pub seats: Vec<u32>,
    /// Where on the ladder they were found.
    pub rung: Rung,
    /// Their average distance from the focal point.
    pub distance: f64,
}

/// No seats can be offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BestError {
    /// None, or more than [`MAX_QUANTITY`], or more wheelchair places than seats.
    #[error("{0} seats: between 1 and {MAX_QUANTITY} can be asked for")]
    Quantity(u32),
    /// The plan has no such category.
    #[error("there is no category {0:?}")]
    UnknownCategory(String),
    /// Fewer are free than asked for.
    #[error("{free} of {quantity} seats are free")]
    NotEnough {
        /// Free seats that suit.
        free: u32,
        /// Seats asked for.
        quantity: u32,
    },
    /// Enough are free, but not beside each other, which was insisted on; or none at an aisle.
    #[error("{quantity} such seats are not free beside each other")]
    NotTogether {
        /// Seats asked for.
        quantity: u32,
    },
}
