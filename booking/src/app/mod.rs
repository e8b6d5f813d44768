//! The use cases, one per file. Each owns its transactions; none knows HTTP.

pub mod block_seats;
pub mod cancel_booking;
mod collect_payment;
pub mod confirm_booking;
pub mod expire_holds;
pub mod extend_area;
pub mod extend_hold;
pub mod hold_seats;
pub mod import_event;
pub mod once;
pub mod payment_outcome;
pub mod release_hold;
pub mod reprice_seats;
pub mod settle_payment;
pub mod start_booking;
pub mod views;
pub mod writer;
