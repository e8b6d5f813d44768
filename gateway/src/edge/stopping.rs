//! The gateway's stop, as a connection waits for it.
//!
//! Between two requests a connection waits for bytes, for its deadline, and for the gateway to stop, which happens once in its
//! life. Taking a seat among those who are told costs a lock that all connections share, so a connection keeps its seat
//! from one request to the next.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pingora::server::ShutdownWatch;

/// The seat of one connection.
pub struct Stopping {
    watch: ShutdownWatch,
    /// Ends with the signal to stop, or with whoever would send it.
    signal: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    /// Whom the signal wakes.
    seated: Option<Waker>,
    stopped: bool,
}

impl Stopping {
    /// Will tell of this watch.
    pub fn new(watch: &ShutdownWatch) -> Self {
        let mut waits = watch.clone();
        let signal = Box::pin(async move {
            // A watch without a sender is one of a gateway that has stopped.
            drop(waits.wait_for(|stopping| *stopping).await);
        });
        Self { watch: watch.clone(), signal, seated: None, stopped: false }
    }

    /// Waits until the gateway stops. May be given up and begun again.
    pub async fn comes(&mut self) {
        poll_fn(|cx| self.poll_comes(cx)).await;
    }

    fn poll_comes(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let seated = self.seated.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        // Whatever was sent has used up the seat, even if it was no signal to stop.
        if seated && matches!(self.watch.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        self.stopped = self.stopped || self.signal.as_mut().poll(cx).is_ready();
        self.seated = Some(cx.waker().clone());
        if self.stopped { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopping").field("stopped", &self.stopped).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::time::timeout;

    const WHILE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_comes_once_and_stays_whoever_waited_before() {
        let (sender, watch) = watch::channel(false);
        let mut stop = Stopping::new(&watch);
        for _ in 0..3 {
            assert!(timeout(WHILE, stop.comes()).await.is_err(), "not yet");
        }
        sender.send(false).unwrap();
        assert!(timeout(WHILE, stop.comes()).await.is_err(), "that was no signal to stop");
        let waits = tokio::spawn(async move {
            stop.comes().await;
            stop
        });
        tokio::task::yield_now().await;
        sender.send(true).unwrap();
        let mut stop = timeout(WHILE, waits).await.expect("woken in the task that waits now").unwrap();
        assert!(timeout(WHILE, stop.comes()).await.is_ok(), "and again");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_left_to_send_it_is_a_stop() {
        let (sender, watch) = watch::channel(false);
        let mut stop = Stopping::new(&watch);
        assert!(timeout(WHILE, stop.comes()).await.is_err());
        drop(sender);
        assert!(timeout(WHILE, stop.comes()).await.is_ok());
    }
}
