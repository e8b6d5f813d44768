//! The vocabulary and the rules of the booking core.
//!
//! Owns: ids, money, the lifecycles of seats, holds, bookings, payments and tickets, pricing, seating plans
//! and the choice of the best seats.
//!
//! Invariants:
//! * An amount of money is an integer of minor units with its currency; arithmetic is checked.
//! * A lifecycle step that the present state does not allow is an error, never a silent no-op.
//! * State names are the same here, in SQL and in JSON.
//!
//! Deliberately absent: I/O, async, the wall clock and ambient randomness. Time and ids are parameters, so
//! the same code runs in production and in a seeded simulation. No HTTP and no SQL either: which status a
//! refusal becomes is not known here.

pub mod best;
pub mod booking;
pub mod checkout;
pub mod hold;
pub mod ids;
pub mod money;
pub mod payment;
pub mod plan;
pub mod pricing;
pub mod refund;
pub mod seat;
pub mod ticket;
mod transition;

pub use booking::BookingState;
pub use hold::{Hold, HoldState};
pub use ids::{AreaId, BookingId, EventId, HoldId, IdError, Owner, SeatGuid, SeatNo, TicketId};
pub use iso_currency::Currency;
pub use money::{Money, MoneyError};
pub use payment::PaymentState;

pub use pricing::{Line, Tariff, TaxRate, Total, UnitPrice};
pub use refund::{PolicyError, RefundPolicy, RefundTier};
pub use seat::{PackedSeats, SeatState};
pub use ticket::TicketState;
pub use transition::{InvalidTransition, UnknownState};
