//! The measurements. Adding one: a file here, and a line in [`ALL`].

use anyhow::Result;

use crate::Effort;
use crate::row::Row;

mod admit_tick;
mod best_available;
mod bookings;
mod callbacks;
mod far_poll_calls;
mod flushall;
mod gateway_memory;
mod holds;
mod join;
mod line_memory;
mod live_map;
mod pass;
mod poll;
mod writers;

/// A measurement.
pub(crate) struct Measurement {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it measures, in a few words.
    pub(crate) what: &'static str,
    /// Whether it takes minutes.
    pub(crate) long: bool,
    /// Measures.
    pub(crate) run: fn(Effort) -> Result<Vec<Row>>,
}

/// All of them, in the order in which they run.
#[rustfmt::skip]
pub(crate) const ALL: &[Measurement] = &[
    Measurement { name: "pass", what: "proxied requests with a valid pass, beside bare Pingora and nginx", long: false, run: pass::measure },
    Measurement { name: "poll", what: "polls behind the horizon, beside nginx with a static body of that size", long: false, run: poll::measure },
    Measurement { name: "join", what: "joins beside polls, and joins sustained", long: false, run: join::measure },
    Measurement { name: "far-poll-calls", what: "Redis commands that a poll behind the horizon causes", long: false, run: far_poll_calls::measure },
    Measurement { name: "line-memory", what: "Redis memory of a waiting visitor among a million", long: false, run: line_memory::measure },
    Measurement { name: "admit", what: "the tick with a million waiting", long: false, run: admit_tick::measure },
    Measurement { name: "gateway-memory", what: "gateway memory of a sale with a million waiting", long: false, run: gateway_memory::measure },
    Measurement { name: "live-map", what: "ten thousand viewers of one map while a thousand seats a second change", long: false, run: live_map::measure },
    Measurement { name: "holds", what: "holds over HTTP, beside pgbench with a single-row statement", long: false, run: holds::measure },
    Measurement { name: "best-available", what: "the best seats of a hall of which half is sold", long: false, run: best_available::measure },
    Measurement { name: "bookings", what: "hold, book, pay, confirmed", long: false, run: bookings::measure },
    Measurement { name: "callbacks", what: "signed callbacks of the provider, accepted", long: false, run: callbacks::measure },
    Measurement { name: "writers", what: "four ways of holding a seat on one box", long: false, run: writers::measure },
    Measurement { name: "flushall", what: "a million waiting lose their Redis and go on asking", long: true, run: flushall::measure },
];
