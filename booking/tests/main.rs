//! The booking core over HTTP, against a real Postgres and the real sandbox provider.
//!
//! One server process for all tests, one database per test, cloned from a template. Every test ends with
//! `check`: the invariants of the tables, read by SQL that shares nothing with the code under test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod admission;
mod attempts;
mod bookings;
mod callbacks;
mod cancelled_events;
mod catalogue;
mod crashes;
mod extend;
mod holds;
mod idempotency;
mod ladder;
mod lapsed;
mod large_plan;
mod late;
mod late_places;
mod live;
mod live_maps;
mod lost_answers;
mod lost_commits;
mod money;
mod mute_wire;
mod operators;
mod outage;
mod outbox;
mod passes;
mod payment_failures;
mod plans;
mod problems;
mod refunds;
mod refused;
mod shop;
mod statistics;
mod steps;
mod stock;
mod stripe;
mod support;
mod till;
mod till_guards;
mod told;
