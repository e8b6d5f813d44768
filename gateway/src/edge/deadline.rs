//! A deadline that moves with every request and hardly ever passes.
//!
//! A timer that is set and cleared for each request costs more than reading its head. So one timer serves a connection
//! for all its life: it is left where it was set, and when it goes off too early it is set to where the deadline is now.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of one connection.
#[derive(Debug)]
pub struct Deadline {
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    /// A deadline that is first awaited for this time.
    pub fn new(until: Instant) -> Self {
        Self { timer: Box::pin(sleep_until(until)) }
    }

    /// Waits until this time has come, whatever it waited for before.
    pub async fn passes(&mut self, until: Instant) {
        std::future::poll_fn(|cx| self.poll_passed(until, cx)).await;
    }

    fn poll_passed(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.deadline() > until {
            self.timer.as_mut().reset(until);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Waits for a deadline this many seconds from now, and tells how long that took.
    async fn waited_s(deadline: &mut Deadline, seconds: u64) -> u64 {
        let began = Instant::now();
        deadline.passes(began + Duration::from_secs(seconds)).await;
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn it_passes_when_it_should_whether_it_moved_on_or_back() {
        let mut deadline = Deadline::new(Instant::now() + Duration::from_secs(5));
        assert_eq!(waited_s(&mut deadline, 60).await, 60, "set for 5 s, moved on");
        assert_eq!(waited_s(&mut deadline, 60).await, 60, "gone off before");
        let unfinished = tokio::time::timeout(Duration::from_secs(1), waited_s(&mut deadline, 60)).await;
        assert!(unfinished.is_err(), "given up after a second");
        assert_eq!(waited_s(&mut deadline, 5).await, 5, "set for a minute, moved back");
        assert_eq!(waited_s(&mut deadline, 0).await, 0, "passed already");
    }
}
