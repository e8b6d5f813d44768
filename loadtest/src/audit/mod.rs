//! The audit: history, database and payment ledger against each other, after the run.
//!
//! It shares no code with the system. Each check is a pure function from what was read to a
//! [`Finding`]; reading is apart, so every check is tested by facts that break it.
//!
//! | file | what |
//! |---|---|
//! | `facts.rs`, `fans.rs` | what the history says, read line by line |
//! | `books.rs`, `database.rs` | what Postgres holds, read in one snapshot |
//! | `replay.rs` | the history of seats and areas, change by change |
//! | `ledger.rs` | what the payment provider holds |
//! | `seats.rs` | no seat is sold twice |
//! | `areas.rs` | areas are never oversold |
//! | `promises.rs` | what was acknowledged is there |
//! | `money.rs` | money and bookings agree |
//! | `rate.rs` | the line moves no faster than its rate, in every window |
//! | `order.rs` | the line keeps its order |
//! | `places.rs` | nobody loses a place |
//! | `keys.rs` | one key, one effect |
//! | `conduct.rs` | the whole audit, with time to settle |

mod areas;
mod books;
mod conduct;
mod database;
mod facts;
mod fans;
mod finding;
mod keys;
mod ledger;
mod money;
mod order;
mod places;
mod promises;
mod rate;
mod replay;
#[cfg(test)]
mod sample;
mod seats;
#[cfg(test)]
mod tests;

pub use conduct::{AuditError, AuditOptions, Report, audit};
pub use finding::Finding;
