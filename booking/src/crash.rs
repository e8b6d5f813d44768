//! Crash points: places where a test may have the process die, between two steps of a checkout.
//!
//! A node dies at one by `USHER_TEST_CRASH_AT=name` or `name:n` (the n-th time it comes there), without unwinding or
//! flushing, as by a power cut. Builds without debug assertions have none.

/// Every crash point, in the order in which a checkout that goes well, then late, then back comes to them.
pub const POINTS: [&str; 15] = [
    "held",
    "booked",
    "payment_begun",
    "authorised",
    "sold",
    "capture_asked",
    "capture_noted",
    "answered",
    "given_back",
    "rescued",
    "cancelled",
    "voided",
    "paid_back",
    "refund_noted",
    "announced",
];

/// Dies here if a test says so.
pub(crate) fn point(name: &str) {
    if cfg!(debug_assertions) {
        armed::reach(name);
    }
}

mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The armed point, and how often it is still passed.
    static ARMED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();

    fn read() -> Option<(String, AtomicU32)> {
        let text = std::env::var("USHER_TEST_CRASH_AT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().unwrap_or(1))))
    }

    pub(super) fn reach(name: &str) {
        if let Some((armed, left)) = ARMED.get_or_init(read)
            && armed == name
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            eprintln!("crash point {name}");
            std::process::abort();
        }
    }
}
