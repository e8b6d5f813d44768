//! The line of a sale: who waits, who is called, who is inside. Redis holds it, as one function library.
//!
//! Owns: the Redis keys ([`keys`]), the Lua functions (`lua/`, one operation per file) and one typed wrapper per
//! operation, in the file of the same name:
//!
//! | operation | what |
//! |---|---|
//! | [`configure`] | creates a sale or changes its settings, under a version |
//! | [`govern`] | the origin's say on the rate |
//! | [`heard`] | a gateway hears the origin |
//! | [`join`] | places visitors, in the order given |
//! | [`admit`] | the tick: calls the first present visitors, within rate and room |
//! | [`seen`] | presence near the front; the way back into the line |
//! | [`claim`] | a called visitor goes inside |
//! | [`renew`] | an active visitor keeps its slot |
//! | [`depart`] | a place or pass is given back |
//! | [`offer`] | a code is noted with which a place may be taken to another device |
//! | [`take`] | the place that a code leads to moves to the device that asks |
//! | [`snapshot`] | what a gateway needs to answer every poll of the next second |
//!
//! Invariants, kept by the Lua functions and checked by the model in `tests/`:
//! * Order: among present visitors, the lower score is called first. Scores are unique and only rise.
//! * Rate: in every window of length t at most `rate * t + burst` visitors are called, however many gateways tick.
//! * Capacity: called + inside never grows beyond `max_inside`.
//! * A visitor stands in one place at a time, and one device at a time holds it.
//!
//! Deliberately absent: tokens (see `queue-token`), HTTP, timers, and any decision about when to call what.

mod address;
pub mod admit;
pub mod claim;
mod code;
pub mod configure;
mod connection;
pub mod depart;
mod error;
pub mod govern;
pub mod heard;
pub mod join;
pub mod keys;
mod library;
pub mod offer;
pub mod renew;
pub mod seen;
mod sentinel;
pub mod settings;
pub mod snapshot;
mod standing;
pub mod take;

pub use code::{Code, CodeError};
pub use error::LineError;
pub use library::{Clock, Line, LineOptions};
pub use settings::{SaleState, Settings, SettingsError};
pub use standing::{Standing, Turn};
