//! `stack demo --kill-bookings S`: the booking nodes die in turn while the crowd buys, each by `kill -9`, and come back.
//!
//! Owns when and which; that a killed process is gone is seen to by [`stack::Node::kill9`]. What the deaths left open is
//! finished by the nodes themselves: [`settled`] waits for it, and does nothing about it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use stack::Stack;
use tokio::process::Command;

/// How long a killed node stays away: longer than a client tries again, shorter than a hold.
const AWAY: Duration = Duration::from_secs(3);
/// Payments that nobody finishes in this time are a defect: the deadline of a pending one, and a minute.
const SETTLES_WITHIN: Duration = Duration::from_secs(150);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const OPEN: &str = "select count(*) from payment where state in ('created', 'authorized') or refunded < refund_due";

/// Kills and starts again, one node after the other, each so long after the last. Ends only when a node cannot be
/// killed or started.
///
/// # Errors
/// That.
pub(crate) async fn in_turn(stack: &Stack, bookings: usize, every: Duration) -> anyhow::Result<()> {
    for turn in 0.. {
        tokio::time::sleep(every).await;
        let node = stack.booking(turn % bookings).node();
        // Kill and wait block for some milliseconds at most.
        node.kill9()?;
        eprintln!("stack: killed {} (kill -9) with {} payments open", node.name(), open(stack).await?);
        tokio::time::sleep(AWAY).await;
        let pid = node.spawn()?;
        eprintln!("stack: started {} again as {pid}", node.name());
    }
    Ok(())
}

/// Sees to it that all booking nodes run, and waits until no payment is open any more.
///
/// # Errors
/// When one stays open.
pub(crate) async fn settled(stack: &Stack, bookings: usize) -> anyhow::Result<()> {
    for i in 0..bookings {
        stack.booking(i).node().spawn()?;
    }
    let until = tokio::time::Instant::now() + SETTLES_WITHIN;
    loop {
        let open = open(stack).await?;
        if open == 0 {
            return Ok(());
        }
        if tokio::time::Instant::now() > until {
            bail!("{open} payments are still open after {SETTLES_WITHIN:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn open(stack: &Stack) -> anyhow::Result<u64> {
    let output = Command::new(stack.postgres().bin().join("psql"))
        .args(["--no-psqlrc", "-tA", "-c", OPEN, &stack.ready().postgres])
        .stdin(Stdio::null())
        .output()
        .await
        .context("starting psql")?;
    if !output.status.success() {
        bail!("asking which payments are open: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8_lossy(&output.stdout).trim().parse().context("a number of payments")
}
