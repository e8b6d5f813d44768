//! Connections: HTTP/1.1 over TCP, a bounded number per target, kept while they are good.
//!
//! A fan has a connection only from sending until the answer is complete; a waiting fan holds none.
//! A kept connection that turns out closed before anything was sent is replaced without a word, as
//! browsers do; anything after that moment is reported.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::fan::{Answer, Call, Heard, Lost};

/// A kept connection older than this is not used again: servers close idle ones, and a request
/// that meets the closing is a loss that says nothing about the system.
const KEPT_FOR: Duration = Duration::from_secs(20);

/// Why an address cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum BadTarget {
    /// Not an address of the expected form.
    #[error("`{0}` is not of the form http://HOST[:PORT]")]
    Form(String),
    /// The name does not resolve.
    #[error("`{target}` cannot be resolved: {source}")]
    Unknown {
        /// The address.
        target: String,
        /// What the resolver said.
        source: std::io::Error,
    },
}

/// Bounds of the pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    /// Connections per target.
    pub connections: usize,
    /// From sending to the complete answer.
    pub request: Duration,
    /// Bytes of an answer.
    pub answer_bytes: usize,
}

/// Connections to all targets.
#[derive(Debug)]
pub struct Pool {
    targets: Vec<Target>,
    limits: PoolLimits,
}

#[derive(Debug)]
struct Target {
    authority: String,
    address: SocketAddr,
    slots: Semaphore,
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("since", &self.since).finish_non_exhaustive()
    }
}

/// What came of a request, and when it was sent if it was.
#[derive(Debug)]
pub struct Exchange {
    /// The answer or the loss.
    pub heard: Heard,
    /// When the request went out.
    pub sent: Option<Instant>,
}

impl Pool {
    /// A pool for these addresses.
    pub async fn new(targets: &[String], limits: PoolLimits) -> Result<Self, BadTarget> {
        let mut resolved = Vec::with_capacity(targets.len());
        for target in targets {
            resolved.push(Target::resolve(target, limits.connections).await?);
        }
        Ok(Self { targets: resolved, limits })
    }

    /// How many targets there are.
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Sends a request and waits for the complete answer, all within bounds.
    pub async fn exchange(&self, call: &Call) -> Exchange {
        let target = &self.targets[call.target % self.targets.len()];
        let lost = |lost, sent| Exchange { heard: Heard::Lost(lost), sent };
        let Ok(Ok(_slot)) = timeout(self.limits.request, target.slots.acquire()).await else {
            return lost(Lost::NoConnection, None);
        };
        let deadline = Instant::now() + self.limits.request;
        let mut request = target.request(call);
        // Kept connections first; the bound is how many there can be.
        for _ in 0..=self.limits.connections {
            let sender = match target.take_kept() {
                Some(sender) => sender,
                None => match timeout_at(deadline, target.connect()).await {
                    Ok(Ok(sender)) => sender,
                    Ok(Err(_)) | Err(_) => return lost(Lost::Refused, None),
                },
            };
            let sent = Instant::now();
            match timeout_at(deadline, self.send(target, sender, request)).await {
                Err(_) => return lost(Lost::Timeout, Some(sent)),
                Ok(Sent::Heard(heard)) => return Exchange { heard, sent: Some(sent) },
                Ok(Sent::NotYet(unsent)) => request = *unsent,
            }
        }
        lost(Lost::Refused, None)
    }

    async fn send(&self, target: &Target, mut sender: SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Sent {
        if sender.ready().await.is_err() {
            return Sent::NotYet(Box::new(request));
        }
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                return match error.take_message() {
                    Some(request) => Sent::NotYet(Box::new(request)),
                    None => Sent::Heard(Heard::Lost(Lost::Broken)),
                };
            }
        };
        let (head, body) = response.into_parts();
        match Limited::new(body, self.limits.answer_bytes).collect().await {
            Ok(body) => {
                target.keep(sender);
                Sent::Heard(Heard::Answer(answer_of(head.status.as_u16(), &head.headers, body.to_bytes())))
            }
            Err(error) if error.is::<LengthLimitError>() => Sent::Heard(Heard::Lost(Lost::TooLong)),
            Err(_) => Sent::Heard(Heard::Lost(Lost::Broken)),
        }
    }
}

enum Sent {
    Heard(Heard),
    /// The connection was closed before the request went out.
    NotYet(Box<Request<Full<Bytes>>>),
}

impl Target {
    async fn resolve(target: &str, connections: usize) -> Result<Self, BadTarget> {
        let form = || BadTarget::Form(target.to_owned());
        let uri: Uri = target.parse().map_err(|_| form())?;
        let bare = uri.path() == "/" && uri.query().is_none();
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http") && bare).ok_or_else(form)?;
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
        let unknown = |source| BadTarget::Unknown { target: target.to_owned(), source };
        let bare_host = host.trim_start_matches('[').trim_end_matches(']');
        let address = tokio::net::lookup_host((bare_host, port))
            .await
            .map_err(unknown)?
            .next()
            .ok_or_else(|| unknown(std::io::Error::other("no address")))?;
        Ok(Self {
            authority: authority.as_str().to_owned(),
            address,
            slots: Semaphore::new(connections),
            kept: Mutex::new(VecDeque::new()),
        })
    }

    fn request(&self, call: &Call) -> Request<Full<Bytes>> {
        let accept = if call.html { "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1" } else { "application/json" };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, "usher-loadtest")
            .header(ACCEPT, accept);
        if let Some(auth) = &call.auth {
            request = request.header(AUTHORIZATION, auth.header());
        }
        if let Some(key) = &call.key {
            request = request.header("Idempotency-Key", key);
        }
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = call.body.as_ref().map(|body| Bytes::from(body.clone())).unwrap_or_default();
        request.body(Full::new(body)).unwrap_or_else(|_| {
            // A server sent an id or token that fits in no header or path: ask nothing sensible.
            Request::new(Full::new(Bytes::new()))
        })
    }

    async fn connect(&self) -> std::io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        // Ends by itself when the sender is dropped or the server closes.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn take_kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.kept.lock().expect("no holder of this lock panics");
        while let Some(candidate) = kept.pop_back() {
            if candidate.since.elapsed() > KEPT_FOR {
                // The newest is too old, so are all others.
                kept.clear();
                return None;
            }
            if !candidate.sender.is_closed() {
                return Some(candidate.sender);
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        if !sender.is_closed() {
            let kept = Kept { sender, since: Instant::now() };
            self.kept.lock().expect("no holder of this lock panics").push_back(kept);
        }
    }
}

fn answer_of(status: u16, headers: &HeaderMap, body: Bytes) -> Answer {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Answer {
        status,
        retry_after_s: text(RETRY_AFTER.as_str()).and_then(|value| value.parse().ok()),
        place: text("usher-place"),
        // The origin's word to the gateway uses the same header.
        pass: text("usher-pass").filter(|pass| pass != "depart"),
        body,
    }
}
