//! Runs a crowd: arrivals, one task per fan, connections, clock, signals, and the end of it all.
//!
//! | file | what |
//! |---|---|
//! | `clock.rs` | time since the start, and the wall clock at zero |
//! | `pool.rs` | bounded connections |
//! | `setup.rs` | reads the plan before the first fan comes |
//! | `life.rs` | one fan's task: wait, ask, record, hear |
//! | `control.rs` | reads the line's settings for the history |
//! | `run.rs` | the whole run |
//!
//! Everything waits with a bound, and the run as a whole has one: `run_s`, then `drain_s`, then
//! what is left is cut off and recorded as such.

mod clock;
mod control;
mod life;
mod pool;
#[cfg(test)]
mod pool_tests;
mod run;
mod setup;

pub use clock::Clock;
pub use control::Control;
pub(crate) use control::client as control_client;
pub use pool::{BadTarget, Exchange, Pool, PoolLimits};
pub use run::{Finished, RunError, RunOptions, run};
pub use setup::SetupError;
