//! A lean HTTP client: one connection that stays open, one request at a time. A load that shares its cores with what is
//! measured should cost little; a client for everything costs as much as the server.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer that is read.
const LARGEST_BYTES: usize = 1024 * 1024;

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Wire {
    /// Connects to a server.
    ///
    /// # Errors
    /// When it does not listen.
    pub(crate) async fn to(url: &str) -> Result<Self> {
        let host = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).await.with_context(|| format!("connecting to {url}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host, request: Vec::new(), answer: Vec::new() })
    }

    /// Posts a document with these further head lines, each with its end of line; answers status and body.
    ///
    /// # Errors
    /// When the connection breaks, or the answer is not framed by its length.
    pub(crate) async fn post(&mut self, path: &str, lines: &str, body: &[u8]) -> Result<(u16, &[u8])> {
        self.request.clear();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{lines}content-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        loop {
            if let Some(Framed { status, body, end }) = framed(&self.answer)?
                && self.answer.len() >= end
            {
                ensure!(self.answer.len() == end, "more was answered than was asked for");
                return Ok((status, &self.answer[body..end]));
            }
            ensure!(self.answer.len() < LARGEST_BYTES, "an answer has no end");
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the connection ended in an answer");
        }
    }
}

/// Where an answer's body begins and ends.
#[derive(Debug, PartialEq, Eq)]
struct Framed {
    status: u16,
    body: usize,
    end: usize,
}

/// Reads the head of an answer, once it is whole.
fn framed(answer: &[u8]) -> Result<Option<Framed>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head]).context("a head that is no text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let (body, length) = (head + 4, value.trim().parse::<usize>()?);
            return Ok(Some(Framed { status, body, end: body + length }));
        }
    }
    bail!("an answer {status} does not say its length")
}

#[cfg(test)]
mod tests {
    use super::{Framed, framed};

    #[test]
    fn answers_are_framed_by_their_length() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nx: y\r\n\r\n{}";
        assert_eq!(framed(answer).expect("an answer"), Some(Framed { status: 201, body: 49, end: 51 }));
        assert_eq!(framed(&answer[..40]).expect("half a head"), None);
        assert!(framed(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
