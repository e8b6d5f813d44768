//! What the tests of the line share. Each test program uses its part of it.
//!
//! `operations` says what can happen, `generate` makes it up from a seed for a sale as `profiles` tell. `subject` is
//! whatever it happens to, a real Redis (`server`) or a model; `observation` is what can be seen of it from outside.
//! `rules` are the promises that must hold on whatever was observed, the rate among them in `rate_bound`, which device holds a place in `devices`. `run` puts
//! it together and `shrink` makes a failure short. `crowd` keeps a line busy while its servers are hurt.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod crowd;
pub(crate) mod devices;
pub(crate) mod generate;
pub(crate) mod observation;
pub(crate) mod operations;
pub(crate) mod profiles;
pub(crate) mod rate_bound;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod shrink;
pub(crate) mod subject;
