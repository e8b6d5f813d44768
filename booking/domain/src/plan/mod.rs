//! Seating plans: the map of the module.
//!
//! - [`format`](mod@format): the public pretix seating-plan format, read and written;
//! - [`check`]: what a plan must satisfy before it is imported, and [`Seating`], the flat
//!   list of seats that a plan which satisfies it yields;
//! - [`sidecar`]: what the format has no room for (prices, capacities, attributes);
//! - [`packed`]: a plan for those who draw it;
//! - [`generate`](mod@generate): plans of any size, for rehearsals and demonstrations.
//!
//! A seat's `seat_no` is its position in document order (zones, then rows, then seats),
//! counted from 0. It never changes for a given plan, so seat states can travel as an array.

pub mod check;
pub mod format;
pub mod generate;
mod geometry;
pub mod packed;
mod seating;
pub mod sidecar;
mod unknown;

pub use check::{Fault, Faults, MAX_SEATS};
pub use format::{Plan, PlanError, Position};
pub use generate::{GenerateError, GenerateOptions, generate};
pub use seating::{Seat, Seating};
pub use sidecar::{Attribute, Price, Sidecar, StandingArea};
