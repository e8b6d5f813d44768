//! The gateway's side of the line: one [`room::SaleRoom`] per sale, and the jobs that keep the rooms going.
//!
//! * [`rooms`] – all sales this gateway knows, and which of them guards a path
//! * [`room`] – one sale: its snapshot, its floor, its batches
//! * [`view`] – what a snapshot means for fans: position, estimate, poll interval (pure)
//! * [`batch`] – many requests, one call
//! * [`jobs`] – connects, looks for sales, refreshes snapshots, ticks

pub mod batch;
pub mod jobs;
pub mod room;
pub mod rooms;
pub mod view;
