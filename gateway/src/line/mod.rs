//! The gateway's side of the line: one [`room::SaleRoom`] per sale, and the jobs that keep the rooms going.
//!
//! * [`rooms`] – all sales this gateway knows, and which of them guards a path
//! * [`room`] – one sale: its snapshot, its floor, its batches
//! * [`view`] – what a snapshot means for fans: position, estimate, poll interval (pure)
//! * [`estimate`] – how long the wait will be, learnt from how the line moved (pure); `probes` keep its range honest
//! * [`batch`] – many requests, one call
//! * [`in_flight`] – one round per sale at a time
//! * [`jobs`] – connects, looks for sales, refreshes snapshots, ticks

pub mod batch;
pub mod estimate;
pub mod in_flight;
pub mod jobs;
mod probes;
pub mod room;
pub mod rooms;
pub mod view;
