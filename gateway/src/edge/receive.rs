//! Reads one request's head: bounded in bytes and in time, however the bytes trickle in.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::{Duration, Instant};

use super::deadline::Deadline;
use super::head::{self, Fault};
use super::stopping::Stopping;
use crate::config::Limits;

/// What came of waiting for a head.
#[derive(Debug)]
pub enum Received {
    /// A whole head that may pass, with whatever came along behind it.
    Head(BytesMut),
    /// Nothing, in time: the client is gone or idle, or we are stopping.
    Nothing,
    /// Something that is answered here; with the bytes so far.
    Refused(Refusal, BytesMut),
}

/// Why the proxy does not get to see a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The head is at fault.
    Fault(Fault),
    /// The head was begun and not finished in time.
    Late,
}

/// Room for a usual head, taken when its first byte is there: most connections wait most of the time.
const USUAL_BYTES: usize = 2048;

/// Waits for a head: `wait` for its first byte, then the head's own time for all of it.
pub async fn receive(
    stream: &mut Stream,
    deadline: &mut Deadline,
    wait: Duration,
    limits: &Limits,
    stop: &mut Stopping,
) -> Received {
    let mut first = [0];
    let idle_until = Instant::now() + wait;
    let read = tokio::select! {
        biased;
        read = stream.read(&mut first) => read,
        () = deadline.passes(idle_until) => return Received::Nothing,
        () = stop.comes() => return Received::Nothing,
    };
    if !matches!(read, Ok(1)) {
        return Received::Nothing;
    }
    let mut bytes = BytesMut::with_capacity(USUAL_BYTES);
    bytes.extend_from_slice(&first);
    // Mostly the rest is there already, and no clock is needed.
    let mut until = None;
    let (mut looked_at, mut skipped) = (0, false);
    loop {
        let late = async {
            let until = *until.get_or_insert_with(|| Instant::now() + limits.head_timeout());
            deadline.passes(until).await;
        };
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut bytes) => read,
            () = late => return Received::Refused(Refusal::Late, bytes),
        };
        if !matches!(read, Ok(1..)) {
            return Received::Nothing;
        }
        // Some clients end a body with an empty line too many; one is let pass.
        if !skipped && bytes.starts_with(b"\r\n") {
            bytes.advance(2);
            skipped = true;
        }
        if let Some(cut) = head::whole(&bytes, limits) {
            return Received::Head(without(bytes, cut));
        }
        let found = match head::end(&bytes, looked_at) {
            Ok(Some(end)) => head::check(&bytes[..end], limits).map(Some),
            Ok(None) if bytes.len() > limits.head_max_bytes => Err(Fault::Head),
            Ok(None) => Ok(None),
            Err(fault) => Err(fault),
        };
        match found {
            Ok(Some(cut)) => return Received::Head(without(bytes, cut)),
            Ok(None) => looked_at = bytes.len(),
            Err(fault) => return Received::Refused(Refusal::Fault(fault), bytes),
        }
    }
}

fn without(mut bytes: BytesMut, cut: Range<usize>) -> BytesMut {
    if !cut.is_empty() {
        let rest = bytes.split_off(cut.end);
        bytes.truncate(cut.start);
        bytes.extend_from_slice(&rest);
    }
    bytes
}
