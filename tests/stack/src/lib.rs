//! Runs the whole system on one machine: for development, tests, load runs and the demo.
//!
//! Private Postgres and Redis, the sandbox payment provider, booking nodes and gateways run as child processes in
//! a directory of their own, on free loopback ports. Nothing is left behind: not after an orderly stop, not
//! after a failed start, not after `kill -9` of whoever started it (see [`guard`]).
//!
//! No application crate is imported here; this crate starts their programs and speaks HTTP.
//!
//! ```no_run
//! let postgres = stack::postgres::Postgres::start(&Default::default())?;
//! let redis = stack::redis::Redis::start(&stack::redis::RedisOptions::on_socket())?;
//! println!("{} {}", postgres.url(), redis.url());
//! # Ok::<(), stack::StackError>(())
//! ```

pub mod binaries;
mod cache;
mod configuration;
mod error;
pub mod find;
mod fixture;
pub mod guard;
mod http;
pub mod identity;
pub mod interrupt;
pub mod kills;
mod node;
mod options;
mod owner;
mod ports;
pub mod postgres;
pub mod psp;
mod ready;
pub mod redis;
mod run;
mod running;
mod server;
mod starting;
mod workdir;

pub use error::{Result, StackError};
pub use node::{Node, Signal, kill};
pub use options::{Fixture, Pace, RedisLayout, Setting, StackOptions};
pub use ready::{Pids, Ready};
pub use running::Stack;
pub use server::Server;
pub use workdir::Workdir;
