//! The use cases, one per file. Each owns its transactions; none knows HTTP.

pub mod block_seats;
pub mod cancel_booking;
pub mod cancel_event;
pub mod confirm_booking;
pub mod deliver_announcements;
pub mod expire_holds;
pub mod extend_area;
pub mod extend_hold;
pub mod hold_seats;
pub mod import_event;
mod late_payment;
mod late_places;
pub mod once;
mod payment_calls;
mod payment_failures;
pub mod payment_outcome;
mod payment_steps;
mod provider_outage;
pub mod receive_callback;
pub mod refund_booking;
pub mod release_hold;
pub mod reprice_seats;
pub mod settle_payment;
pub mod start_booking;
pub mod views;
pub mod writer;
