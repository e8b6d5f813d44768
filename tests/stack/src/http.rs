//! The few requests a launcher sends: health checks and the creation of a sale.
//!
//! One connection per request, a bound on time and size, no runtime: a launcher has nothing else to do meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Result, StackError};

const BOUND: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: u64 = 1 << 20;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One request to a server of ours.
pub(crate) fn request(
    method: &str,
    server: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, BOUND)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_write_timeout(Some(BOUND))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no HTTP answer: {head:?}")))?;
    Ok(Answer { status, body: body.to_owned() })
}

/// Whether a health route answers 200, in the form that waits take.
pub(crate) fn healthy(server: SocketAddr, path: &str) -> Result<(), String> {
    match request("GET", server, path, &[], "") {
        Ok(Answer { status: 200, .. }) => Ok(()),
        Ok(Answer { status, body }) => Err(format!("{path} answered {status} {}", body.trim())),
        Err(problem) => Err(format!("{path}: {problem}")),
    }
}

/// The header that opens a control or organiser route.
pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Sends a JSON document, which must be taken.
pub(crate) fn put(server: SocketAddr, path: &str, token: &str, document: &str) -> Result<()> {
    let doing = format!("PUT http://{server}{path}");
    let answer =
        request("PUT", server, path, &[("Authorization", &bearer(token))], document).map_err(StackError::io(&doing))?;
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    Err(StackError::Answer { doing, answer: format!("{} {}", answer.status, answer.body.trim()) })
}
