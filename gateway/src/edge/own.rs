//! Requests to our own routes, read and answered without the library.
//!
//! Only those are taken that leave nothing to decide about the message itself: HTTP/1.1, no body, nothing behind the head, and
//! nothing said about the connection but whether it stays. Everything else goes the library's way and gets the same answer.

use std::net::IpAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use pingora::protocols::Stream;
use tokio::io::AsyncWriteExt;

use super::head::position;
use super::wire::on_the_wire;
use crate::problem::{Kind, Problem};
use crate::room::{Asked, Gate, guarded};
use crate::routes::{self, OwnRoute};
use crate::{forwarded, own, telemetry};

/// Room for the fields of a usual request.
const FIELDS_USUAL: usize = 16;

/// A request to a route of ours.
#[derive(Debug)]
pub struct OwnRequest {
    head: Parts,
    route: OwnRoute,
    last: bool,
}

impl OwnRequest {
    /// Whether the client wants the connection to end with it.
    pub fn is_last(&self) -> bool {
        self.last
    }
}

/// Reads a checked head; gives the bytes back when they are not for us here.
///
/// # Errors
/// The bytes, unchanged.
pub fn read(bytes: BytesMut) -> Result<OwnRequest, BytesMut> {
    let target = bytes.iter().position(|byte| *byte == b' ').map(|space| &bytes[space + 1..]);
    if !target.is_some_and(|target| target.starts_with(routes::OWN_PREFIX.as_bytes())) {
        return Err(bytes);
    }
    let bytes = bytes.freeze();
    parse(&bytes).ok_or_else(|| BytesMut::from(bytes))
}

fn parse(bytes: &Bytes) -> Option<OwnRequest> {
    let mut rest = bytes.strip_suffix(b"\r\n\r\n")?;
    if rest.ends_with(b"\r\n") {
        return None;
    }
    let mut words = next_line(&mut rest)?.split(|byte| *byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri = Uri::from_maybe_shared(bytes.slice_ref(words.next()?)).ok()?;
    if words.next() != Some(b"HTTP/1.1") {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(FIELDS_USUAL);
    while let Some(line) = next_line(&mut rest) {
        // An empty line before the last one: the head ends there, and more stands behind it.
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line[colon + 1..].trim_ascii())).ok()?;
        headers.append(name, value);
    }
    let route = routes::own_route(&method, uri.path())?;
    let last = is_last(&headers)?;
    if has_body(&headers) {
        return None;
    }
    let mut head = http::Request::new(()).into_parts().0;
    (head.method, head.uri, head.headers) = (method, uri, headers);
    Some(OwnRequest { head, route, last })
}

/// Takes the next line off `rest`; lines end with CRLF only, as was checked.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let (line, after) = match position(rest, b'\r') {
        Some(end) => (&rest[..end], rest.get(end + 2..).unwrap_or_default()),
        None => (*rest, Default::default()),
    };
    *rest = after;
    Some(line)
}

fn has_body(headers: &HeaderMap) -> bool {
    let told = headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    told || headers.contains_key(TRANSFER_ENCODING) || headers.contains_key(EXPECT)
}

/// Whether the connection is to end; `None` when more than that is said about it.
fn is_last(headers: &HeaderMap) -> Option<bool> {
    let mut said = headers.get_all(CONNECTION).iter();
    let Some(first) = said.next() else { return Some(false) };
    let is = |word: &str| first.as_bytes().eq_ignore_ascii_case(word.as_bytes());
    match said.next() {
        None if is("keep-alive") => Some(false),
        None if is("close") => Some(true),
        _ => None,
    }
}

/// Answers; `None` when the connection ends with it.
pub async fn answer(
    gate: &Gate,
    asked: OwnRequest,
    peer: Option<IpAddr>,
    stream: &mut Stream,
    last: bool,
) -> Option<()> {
    let started = Instant::now();
    let request_id = telemetry::new_request_id();
    let OwnRequest { head, route, .. } = asked;
    let peer = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let address = forwarded::client_address(peer, &head.headers, gate.config.trusted_hops);
    let asked = Asked {
        head: &head,
        address: forwarded::limit_key(address),
        request_id: &request_id,
        now_us: telemetry::now_us(),
    };
    let answer = match gate.limits.request(asked.address) {
        Ok(()) => own::answer(gate, &asked, route, None).await,
        Err(wait_s) => guarded::too_often(&asked, wait_s),
    };
    let bare = head.method == Method::HEAD;
    let bytes = on_the_wire(&answer, bare, last).or_else(|| {
        tracing::error!(%request_id, "an answer of ours cannot be sent");
        let problem = Problem::new(Kind::Internal, "The request could not be served.");
        on_the_wire(&problem.answer(asked.path(), &request_id), bare, last)
    })?;
    let sent = send(stream, &bytes, last).await;
    let seconds = started.elapsed().as_secs_f64();
    telemetry::count_request(answer.outcome, seconds);
    let (method, path, status, outcome) = (&head.method, head.uri.path(), answer.status, answer.outcome);
    let ms = seconds * 1000.0;
    tracing::debug!(target: "usher::access", %request_id, %method, path, status, outcome, ms, "request");
    if let Err(error) = &sent {
        tracing::debug!(%request_id, %error, "the client did not wait for its answer");
    }
    (sent.is_ok() && !last).then_some(())
}

async fn send(stream: &mut Stream, bytes: &[u8], last: bool) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    if last { AsyncWriteExt::shutdown(stream).await } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET /_usher/sales/demo/place HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\n";

    fn request(text: &str) -> Result<OwnRequest, BytesMut> {
        read(BytesMut::from(text))
    }

    #[test]
    fn a_poll_is_read_with_all_it_says() {
        let asked = request(&format!("{GET}Authorization:\t Place T \r\ncookie: c\r\n\r\n")).unwrap();
        assert_eq!(asked.route, OwnRoute::Place("demo".parse().unwrap()));
        assert_eq!((asked.head.method.as_str(), asked.head.uri.path()), ("GET", "/_usher/sales/demo/place"));
        assert_eq!(asked.head.headers["authorization"], "Place T");
        assert_eq!(asked.head.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=b", "c"]);
        assert_eq!(asked.head.headers.len(), 4);
        assert!(!asked.is_last());
        assert!(request(&format!("{GET}Connection: Close\r\n\r\n")).unwrap().is_last());
        assert!(!request(&format!("{GET}Connection: keep-alive\r\n\r\n")).unwrap().is_last());
        let join = request("POST /_usher/sales/demo/join?x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(join.route, OwnRoute::Join("demo".parse().unwrap()));
        assert_eq!(request("GET /_usher/x HTTP/1.1\r\n\r\n").unwrap().route, OwnRoute::NotFound);
    }

    #[test]
    fn whatever_leaves_something_to_decide_is_given_back_as_it_was() {
        let head = |line: &str| format!("{GET}{line}\r\n\r\n");
        for text in [
            "GET /events HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET /_usherx HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET /x/_usher/keys HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET /_usher/keys HTTP/1.0\r\n\r\n".to_owned(),
            head("Content-Length: 5"),
            head("Content-Length: 00"),
            head("Transfer-Encoding: chunked"),
            head("Content-Length: 5\r\nExpect: 100-continue"),
            head("Connection: upgrade"),
            head("Connection: keep-alive, cookie"),
            head("Connection: close\r\nConnection: x"),
            // Another request behind it, with and without its end.
            format!("{}{}", head("X: y"), head("X: y")),
            format!("{}{GET}", head("X: y")),
            format!("{}\r\n\r\n", head("X: y")),
            format!("{}\r\n", head("X: y")),
        ] {
            assert_eq!(request(&text).map(|asked| asked.route).unwrap_err(), text.as_bytes(), "{text:?}");
        }
    }
}
