//! An origin that tells what reached it, and a client that sends bytes as they are.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The origin: answers every request with the request's own head in lower case, and remembers all bytes.
#[derive(Clone, Default)]
pub struct Canary {
    heard: Arc<Mutex<Vec<u8>>>,
    /// Answers to `/big` that were broken off by the reader.
    pub broken_off: Arc<AtomicUsize>,
}

impl Canary {
    /// Starts it on a free port; it lives as long as the process.
    pub fn start() -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let canary = Self::default();
        let serving = canary.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let canary = serving.clone();
                std::thread::spawn(move || canary.serve(stream));
            }
        });
        (canary, port)
    }

    /// Whether these bytes arrived, in whatever place.
    pub fn heard(&self, what: &str) -> bool {
        self.heard.lock().unwrap().windows(what.len()).any(|window| window == what.as_bytes())
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            while let Some((head, whole)) = first_request(&bytes) {
                bytes.drain(..whole);
                if head.starts_with("get /big") {
                    if big(&mut stream).is_err() {
                        self.broken_off.fetch_add(1, Ordering::Relaxed);
                    }
                    return;
                }
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            match stream.read(&mut piece) {
                Ok(n @ 1..) => {
                    bytes.extend_from_slice(&piece[..n]);
                    self.heard.lock().unwrap().extend_from_slice(&piece[..n]);
                }
                _ => return,
            }
        }
    }
}

/// The head of the first request, and how many bytes it and its body are; `None` until all are there.
fn first_request(bytes: &[u8]) -> Option<(String, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = match field(&head, "content-length") {
        Some(length) => length.parse().unwrap(),
        None if field(&head, "transfer-encoding").is_some() => {
            bytes[end..].windows(5).position(|window| window == b"0\r\n\r\n")? + 5
        }
        None => 0,
    };
    (bytes.len() >= end + length).then_some((head, end + length))
}

/// More than all buffers on the way together.
fn big(stream: &mut TcpStream) -> std::io::Result<()> {
    let chunk = vec![b'x'; 1 << 20];
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 268435456\r\n\r\n")?;
    (0..256).try_for_each(|_| stream.write_all(&chunk))
}

/// The value of a field in a head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
}

/// A connection whose bytes are written by hand.
pub struct Raw(pub TcpStream);

/// What came back.
#[derive(Debug)]
pub struct Heard {
    pub status: u16,
    pub text: String,
}

impl Raw {
    /// To a base URL.
    pub fn connect(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).unwrap();
    }

    /// One answer with a declared length; the connection stays.
    pub fn answer(&mut self) -> Heard {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && body.len() >= field(head, "content-length").unwrap_or("0").parse::<usize>().unwrap()
            {
                return Heard { status: status(&text), text: text.into_owned() };
            }
            let n = self.0.read(&mut piece).unwrap();
            assert!(n > 0, "the connection ended early: {text}");
            bytes.extend_from_slice(&piece[..n]);
        }
    }

    /// All until the other side closes; fails when it does not. Status 0: closed without an answer.
    pub fn rest(&mut self) -> Heard {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("still open: {error}; {}", String::from_utf8_lossy(&bytes)),
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Heard { status: status(&text), text }
    }

    /// Sends one byte after the other, with a pause, until the other side closes; how long that took and what it said.
    pub fn drip(&mut self, bytes: &str, pause: Duration) -> (Duration, Heard) {
        let started = Instant::now();
        for byte in bytes.bytes() {
            if self.0.write_all(&[byte]).is_err() || self.is_closed() {
                break;
            }
            std::thread::sleep(pause);
        }
        let heard = self.rest();
        (started.elapsed(), heard)
    }

    fn is_closed(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

fn status(text: &str) -> u16 {
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}
