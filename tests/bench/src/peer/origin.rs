//! The origin behind every proxy: the cheapest HTTP/1.1 server that keeps connections open. One answer for everything.
//!
//! It reads heads only; bodies never come its way.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Length of the answer's body.
const BODY_BYTES: usize = 1024;
/// Longest head; a client of ours sends no longer one.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// Serves until killed.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn serve(listen: SocketAddr) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
    let answer: &'static [u8] = Box::leak([head.as_bytes(), &[b'x'; BODY_BYTES]].concat().into_boxed_slice());
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A connection that breaks is its client's affair.
            tokio::spawn(async move { drop(converse(stream, answer).await) });
        }
    })
}

async fn converse(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(4096);
    while stream.read_buf(&mut bytes).await? > 0 {
        while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            bytes.drain(..end + 4);
            stream.write_all(answer).await?;
        }
        if bytes.len() > HEAD_MAX_BYTES {
            break;
        }
    }
    Ok(())
}
