//! `stack demo --kill-bookings S`: the booking nodes die in turn while the crowd buys, each by `kill -9`, and come back.
//!
//! Owns when and which; the death itself, at a moment when somebody pays, is [`stack::kills`]'s.

use std::time::Duration;

use stack::{Stack, kills};

/// How long a killed node stays away: longer than a client tries again, shorter than a hold.
const AWAY: Duration = Duration::from_secs(3);
/// How long a death waits for an open payment. Once the crowd has gone there may be none any more.
const OPENS_WITHIN: Duration = Duration::from_secs(10);

/// Kills and starts again, one node after the other, each so long after the last. Ends only when a node cannot be
/// killed or started, or the database does not answer.
///
/// # Errors
/// That.
pub(crate) async fn take(stack: &Stack, bookings: usize, every: Duration) -> anyhow::Result<()> {
    for turn in 0.. {
        tokio::time::sleep(every).await;
        let booking = turn % bookings;
        let open = kills::kill_at_payment(stack, booking, OPENS_WITHIN).await?;
        let node = stack.booking(booking).node();
        eprintln!("stack: killed {} (kill -9) with {open} payments open", node.name());
        tokio::time::sleep(AWAY).await;
        let pid = node.spawn()?;
        eprintln!("stack: started {} again as {pid}", node.name());
    }
    Ok(())
}
