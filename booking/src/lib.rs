//! The booking core: atomic holds and checkout over Postgres.
//!
//! ```text
//! http, jobs ──► app ──► storage ──► domain        app ──► payments
//! reads may go http ──► storage; every write goes through app
//! ```
//!
//! Invariants:
//! * Postgres is the truth; what is kept in memory hardly changes ([`events`]) or is brought up to date before
//!   it is shown ([`feed`]).
//! * Every change of seats and areas bumps the event's version and is in the history, in the same transaction.
//! * Transactions are opened by `storage::tx` alone, in the lock order that `storage` names.
//! * No remote call is made while a transaction is open.
//! * Times that decide are the database's; the node's clock only judges tokens.

pub mod app;
pub mod buyer;
pub mod config;
pub mod crash;
pub mod error;
pub mod events;
pub mod feed;
pub mod http;
pub mod jobs;
pub mod organiser;
pub mod passes;
pub mod patience;
pub mod payments;
pub mod serve;
pub mod services;
pub mod storage;
