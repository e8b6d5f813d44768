//! The load harness: a crowd of fans that walks the real path through the gateway, and an audit
//! that reads what they saw and what the database kept.
//!
//! | module | owns |
//! |---|---|
//! | [`scenario`] | the TOML file: arrivals, behaviour, bounds, thresholds |
//! | [`arrivals`] | when each fan comes, drawn from the seed; open loop |
//! | [`fan`] | one fan as a state machine without I/O |
//! | [`plan`] | the seats, and how a fan picks among the free ones |
//! | [`wire`] | the documents that the gateway and the booking core answer with |
//! | [`engine`] | runs the crowd: clock, connections, signals |
//! | [`history`] | one line per operation, for the audit |
//! | [`watch`] | invariants that can be seen broken during the run |
//! | [`meter`] | counts and latencies |
//! | [`report`] | summary, JSON, HTML, progress, thresholds |
//! | [`audit`] | history against Postgres and the payment provider |
//! | [`exit`] | exit codes |
//!
//! It shares no code with the system it tests: everything it knows, it learnt over HTTP, or, in the
//! audit, from the tables.

pub mod arrivals;
pub mod audit;
pub mod engine;
pub mod exit;
pub mod fan;
pub mod history;
pub mod meter;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod watch;
pub mod wire;
