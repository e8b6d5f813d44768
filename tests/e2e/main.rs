//! Goal: what outside programs were promised is true of the whole thing: real Redis, real Postgres, gateways and
//! booking nodes, spoken to over HTTP only.
//! Method: one stack per concern, started by `tests/stack`; tests of one stack use sales or visitors of their own, so
//! that they may run side by side. Tests wait for conditions with a bound, never for a length of time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod bad_input;
mod buyer_journey;
mod calling_back;
mod canary;
mod exact_rate;
mod far_polls;
mod file_sales;
mod governor;
mod hall;
mod hold_kills;
mod hold_races;
mod lagging_replica;
mod last_seats;
mod line_crowd;
mod live_map;
mod node_loss;
mod other_device;
mod payment_faults;
mod raw_sockets;
mod redis_away;
mod redis_loss;
mod redis_restored;
mod redis_slow;
#[path = "../../booking/tests/support/oracle.rs"]
mod refusals;
mod sale_life;
mod slow_clients;
mod spellings;
mod waiting_room;
mod world;
