//! Connections that are given up when their peer takes nothing.
//!
//! A peer that stops reading leaves its answer stuck in the kernel, and with it a task and its buffers, for as long as
//! it likes. Here a write that finds no room for [`PATIENCE`] fails, which ends the connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

/// How long a peer may take nothing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A listener whose connections lose patience.
#[derive(Debug)]
pub struct Patient(pub TcpListener);

impl Listener for Patient {
    type Io = Impatient<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Without TCP_NODELAY every small streamed write waits for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        (Impatient::new(stream, PATIENCE), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection that fails when nothing can be written for a while.
#[derive(Debug)]
pub struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs since a write first found no room.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    /// Gives up after so long.
    #[must_use]
    pub const fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, stuck: None }
    }

    fn judge<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let patience = self.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        ready!(stuck.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Says nothing of the peer: what was written lies with the kernel.
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = duplex(8);
        let patience = Duration::from_millis(50);
        let mut ours = Impatient::new(ours, patience);
        let began = Instant::now();
        let stuck = ours.write_all(&[0; 16]).await.unwrap_err();
        assert!(
            stuck.kind() == io::ErrorKind::TimedOut && began.elapsed() >= patience,
            "{stuck} {:?}",
            began.elapsed()
        );
    }

    #[tokio::test]
    async fn a_slow_peer_is_waited_for() {
        let (ours, mut theirs) = duplex(8);
        let patience = Duration::from_millis(600);
        let mut ours = Impatient::new(ours, patience);
        let began = Instant::now();
        let slow = async {
            let mut taken = 0;
            while taken < 64 {
                tokio::time::sleep(patience / 6).await;
                taken += theirs.read(&mut [0; 8]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(async { ours.write_all(&[0; 64]).await }, slow);
        written.unwrap();
        assert!(began.elapsed() > patience, "longer than the patience in all");
    }
}
