//! The booking core over HTTP, against a real Postgres and the real sandbox provider.
//!
//! One server process for all tests, one database per test, cloned from a template. Every test ends with
//! `check`: the invariants of the tables, read by SQL that shares nothing with the code under test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod attempts;
mod bookings;
mod catalogue;
mod holds;
mod idempotency;
mod lapsed;
mod live;
mod money;
mod passes;
mod problems;
mod shop;
mod stripe;
mod support;
