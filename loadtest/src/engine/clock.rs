//! Time of a run: microseconds since its start on the monotonic clock; the wall clock is read once.

use jiff::Timestamp;
use tokio::time::Instant;

/// The run's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    zero: Instant,
    wall: Timestamp,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { zero: Instant::now(), wall: Timestamp::now() }
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        self.us_of(Instant::now())
    }

    /// A moment in microseconds since the start.
    pub fn us_of(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.zero).as_micros() as u64
    }

    /// The moment so many microseconds after the start.
    pub fn moment(&self, at_us: u64) -> Instant {
        self.zero + std::time::Duration::from_micros(at_us)
    }

    /// The wall clock at the start.
    pub fn wall(&self) -> Timestamp {
        self.wall
    }
}
