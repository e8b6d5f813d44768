//! The sandbox payment provider over HTTP, as its own process, with a real endpoint for what it tells.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod endpoint;
mod faults;
mod payments;
mod provider;
mod tokens;
mod webhooks;
