//! Pingora's phases, each handed on: what a request is, who answers it, and what the origin is told.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{HOST, UPGRADE};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::proxy::FailToProxy;
use queue_token::SaleId;

use crate::forwarded::{self, Told};
use crate::line::room::SaleRoom;
use crate::problem::{Kind, Problem};
use crate::room::{Answer, Asked, Entry, Gate, Outcome, guarded};
use crate::routes::{self, Guards, OwnRoute};
use crate::upstream::Nodes;
use crate::{own, telemetry};

/// A body that we refuse is still read up to this far, so that the client sees the answer and not a reset.
const SWALLOW_BYTES: usize = 4 << 20;
/// And at most for this long.
const SWALLOW: Duration = Duration::from_secs(2);
/// A body that we read ourselves is no longer than this, and comes within [`BODY`].
const BODY_BYTES: usize = 1024;
const BODY: Duration = Duration::from_secs(5);

/// The proxy.
pub struct Proxy {
    /// What answering needs.
    pub gate: Arc<Gate>,
    /// The origin nodes.
    pub nodes: Nodes,
    /// Where the origin speaks with gateways only.
    pub private: Guards,
}

/// Facts of one request, from its head to its log line.
pub struct Context {
    started: Instant,
    request_id: HeaderValue,
    peer: IpAddr,
    /// The sale that guards it.
    room: Option<Arc<SaleRoom>>,
    /// What it goes through with.
    entry: Option<Entry>,
    outcome: &'static str,
    tried: Vec<SocketAddr>,
    body_bytes: u64,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            started: Instant::now(),
            request_id: HeaderValue::try_from(telemetry::new_request_id()).expect("digits"),
            peer: IpAddr::from([0, 0, 0, 0]),
            room: None,
            entry: None,
            outcome: "proxied",
            tried: Vec::new(),
            body_bytes: 0,
        }
    }

    /// None: the one that the library would add compresses nothing, and is asked at every step.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        session.set_read_timeout(Some(self.gate.config.limits.body_idle()));
        // Whoever wants another protocol gets this one.
        session.req_header_mut().remove_header(&UPGRADE);
        if let Some(address) = session.client_addr().and_then(|address| address.as_inet()) {
            ctx.peer = address.ip();
        }
        match self.own_answer(session, ctx).await {
            Some(answer) => {
                ctx.outcome = answer.outcome;
                send(session, answer).await?;
                Ok(true)
            }
            None => {
                // From here on the request is copied and added to, which costs half as much without the names' case.
                with_request_head(session.req_header_mut(), |_| {});
                Ok(false)
            }
        }
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        // An empty last frame of HTTP/2 would become a second terminator towards an HTTP/1 origin.
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        ctx.body_bytes += body.as_ref().map_or(0, Bytes::len) as u64;
        let limits = &self.gate.config.limits;
        if ctx.body_bytes > limits.body_max_bytes {
            return Error::e_explain(HTTPStatus(413), "the body is longer than allowed");
        }
        if !end_of_stream && limits.is_too_slow(ctx.body_bytes, ctx.started.elapsed()) {
            return Error::e_explain(HTTPStatus(408), "the body comes too slowly");
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let key = || routes::event_of(session.req_header().uri.path()).unwrap_or_else(|| text(&ctx.request_id));
        match self.nodes.choose(key, &ctx.tried) {
            Some(peer) => Ok(Box::new(peer)),
            None => Error::e_explain(HTTPStatus(503), "no origin node can be reached"),
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let inbound = &session.req_header().headers;
        let told = Told {
            client: forwarded::client_address(ctx.peer, inbound, self.gate.config.trusted_hops),
            secure: self.gate.config.secure_cookies,
            request_id: ctx.request_id.clone(),
            pass: ctx.entry.as_ref().and_then(|entry| entry.pass.as_deref()),
        };
        with_request_head(head, |parts| forwarded::for_origin(&mut parts.headers, inbound, told));
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        // An interim answer (100, 103) carries nothing of ours.
        if head.status.is_informational() {
            return Ok(());
        }
        let request_id = ctx.request_id.clone();
        let said = with_answer_head(head, |parts| forwarded::from_origin(&mut parts.headers, request_id));
        let Some(entry) = &ctx.entry else { return Ok(()) };
        if said.is_some_and(|said| said == "depart")
            && let Some(held) = &entry.pass
        {
            self.depart(held);
            for cookie in self.gate.cookies().forget(&held.pass.sale) {
                head.append_header("set-cookie", cookie)?;
            }
            return Ok(());
        }
        for cookie in &entry.cookies {
            head.append_header("set-cookie", cookie.as_str())?;
        }
        if entry.fresh {
            if let Some(held) = &entry.pass {
                head.insert_header("usher-pass", &*held.token)?;
            }
            if let Some(place) = &entry.place {
                head.insert_header("usher-place", place)?;
            }
            // An answer that carries a credential is nobody else's.
            head.insert_header("cache-control", "no-store")?;
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Context,
        mut e: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent yet, so another node may be asked whatever the method.
        if let Some(address) = peer._address.as_inet() {
            ctx.tried.push(*address);
        }
        e.set_retry(ctx.tried.len() < 4);
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Context) -> FailToProxy {
        let status = match (e.etype(), e.esource()) {
            (HTTPStatus(code), _) => *code,
            (ReadError | WriteError | ConnectionClosed, ErrorSource::Downstream) => 0,
            (ReadTimedout | WriteTimedout, ErrorSource::Downstream) => 408,
            (_, ErrorSource::Downstream) => 400,
            // Nothing was sent: trying again is harmless. Otherwise nobody knows what the origin did.
            (ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError, ErrorSource::Upstream) => 503,
            (ReadTimedout | WriteTimedout, ErrorSource::Upstream) => 504,
            (_, ErrorSource::Upstream) => 502,
            (_, ErrorSource::Internal | ErrorSource::Unset) => 500,
        };
        ctx.outcome = "failed";
        tracing::warn!(request_id = text(&ctx.request_id), status, error = %e, "a request failed");
        if status > 0 && session.response_written().is_none_or(|head| head.status.is_informational()) {
            let path = session.req_header().uri.path().to_owned();
            let answer = failure(status).answer(&path, text(&ctx.request_id));
            session.set_keepalive(None);
            if send(session, answer).await.is_err() {
                tracing::debug!(request_id = text(&ctx.request_id), "the client did not wait for the failure");
            }
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        let status = session.response_written().map_or(0, |head| head.status.as_u16());
        let seconds = ctx.started.elapsed().as_secs_f64();
        // An answer that a client did not wait for says nothing about the origin.
        if let Some(room) = ctx.room.as_ref().filter(|_| status > 0 && ctx.entry.is_some()) {
            room.note_answer(status >= 500);
        }
        telemetry::count_request(ctx.outcome, seconds);
        let head = session.req_header();
        // What reached the origin is one line here and one there, under the same id; polls are far too many for that.
        let (id, method, path) = (text(&ctx.request_id), &head.method, head.uri.path());
        let sale = ctx.room.as_ref().map(|room| room.id.as_str());
        let (outcome, ms) = (ctx.outcome, seconds * 1000.0);
        if outcome == "proxied" {
            tracing::info!(target: "usher::access", request_id = id, %method, path, status, outcome, sale, ms, "request");
        } else {
            tracing::debug!(target: "usher::access", request_id = id, %method, path, status, outcome, sale, ms, "request");
        }
    }
}

impl Proxy {
    /// The gateway's own answer to a request, or `None` when the origin answers.
    async fn own_answer(&self, session: &mut Session, ctx: &mut Context) -> Option<Answer> {
        let route = routes::own_route(&session.req_header().method, session.req_header().uri.path());
        let body = match route {
            Some(OwnRoute::Take(_)) => small_body(session).await,
            _ => None,
        };
        let head: &http::request::Parts = session.req_header();
        let gate = &*self.gate;
        let address = forwarded::client_address(ctx.peer, &head.headers, gate.config.trusted_hops);
        let asked = Asked {
            head,
            address: forwarded::limit_key(address),
            request_id: text(&ctx.request_id),
            now_us: telemetry::now_us(),
        };
        if let Err(wait_s) = gate.limits.request(asked.address) {
            return Some(guarded::too_often(&asked, wait_s));
        }
        if let Some(route) = route {
            return Some(own::answer(gate, &asked, route, body.as_deref()).await);
        }
        let host = head.uri.host().or_else(|| asked.header(HOST)).unwrap_or_default();
        let paths = routes::readings(asked.path());
        if paths.iter().any(|path| self.private.speaks_of(host, path).is_some()) {
            return Some(
                Problem::new(Kind::NotFound, "There is no such route.").answer(asked.path(), asked.request_id),
            );
        }
        match gate.rooms.guarding(host, &head.method, &paths) {
            Some((room, view)) => {
                let outcome = guarded::decide(gate, &asked, &room, &view).await;
                ctx.room = Some(room);
                match outcome {
                    Outcome::Answer(answer) => return Some(answer),
                    Outcome::Enter(entry) => ctx.entry = Some(entry),
                }
            }
            None => {
                // With passes of several sales the one counts whose sale guards this path for another method.
                let near = gate.rooms.speaking_of(host, &paths);
                let pass = |sale: Option<&SaleId>| {
                    let ring = || gate.keys.ring();
                    gate.credentials.pass(&head.headers, gate.cookies(), sale, ring, asked.now_s())
                };
                let held = near.as_ref().and_then(|sale| pass(Some(sale))).or_else(|| pass(None));
                ctx.entry = held.map(|held| Entry { pass: Some(held), cookies: Vec::new(), fresh: false, place: None });
            }
        }
        None
    }

    /// The origin gave the visitor's slot back.
    fn depart(&self, held: &crate::credentials::HeldPass) {
        let visitor = held.pass.visitor;
        let left_s = held.pass.expires_at_s.saturating_sub(telemetry::now_s());
        self.gate.credentials.note_left(&[visitor], telemetry::now_s(), left_s);
        let Some(room) = self.gate.rooms.get(&held.pass.sale) else { return };
        // The answer need not wait for it; a slot that stays by a failure ends with its pass.
        tokio::spawn(async move {
            if let Err(error) = room.depart(visitor, None).await {
                tracing::warn!(%error, "a slot could not be freed");
            }
        });
    }
}

/// The text of a request's id.
fn text(request_id: &HeaderValue) -> &str {
    request_id.to_str().unwrap_or_default()
}

/// Changes a request's head without the library's second map, which remembers how names were written: they are no matter
/// of case. Its target is always a path, as the edge has cut off the rest; only another kind of target would be lost.
fn with_request_head<T>(head: &mut RequestHeader, change: impl FnOnce(&mut http::request::Parts) -> T) -> T {
    let nothing = http::Request::new(()).into_parts().0;
    let mut parts = http::request::Parts::from(std::mem::replace(head, nothing.into()));
    let changed = change(&mut parts);
    *head = parts.into();
    changed
}

/// The same with an answer's head; what a status is called is kept.
fn with_answer_head<T>(head: &mut ResponseHeader, change: impl FnOnce(&mut http::response::Parts) -> T) -> T {
    let called = head.get_reason_phrase().filter(|phrase| Some(*phrase) != head.status.canonical_reason());
    let called = called.map(str::to_owned);
    let nothing = http::Response::new(()).into_parts().0;
    let mut parts = http::response::Parts::from(std::mem::replace(head, nothing.into()));
    let changed = change(&mut parts);
    *head = parts.into();
    if called.is_some() && head.set_reason_phrase(called.as_deref()).is_err() {
        tracing::debug!("a status goes by its usual name");
    }
    changed
}

fn failure(status: u16) -> Problem {
    match status {
        413 => Problem::new(Kind::TooLarge, "The request's body is larger than allowed."),
        400..=499 => Problem::new(Kind::Invalid, "The request could not be read.").status(status),
        502 | 504 => {
            let detail = "The origin did not answer to the end; whether it acted is not known. Repeating with the same \
                          Idempotency-Key is safe.";
            Problem::new(Kind::OutcomeUnknown, detail).status(status).retry_after(1)
        }
        503 => {
            Problem::new(Kind::Unavailable, "The origin cannot answer now; nothing is lost. Try again.").retry_after(2)
        }
        _ => Problem::new(Kind::Internal, "The request could not be served.").status(status),
    }
}

/// The whole body of a request; `None` when it is too long or does not come in time.
async fn small_body(session: &mut Session) -> Option<Vec<u8>> {
    let read = async {
        let mut body = Vec::new();
        while let Some(chunk) = session.as_downstream_mut().read_request_body().await.ok()? {
            if body.len() + chunk.len() > BODY_BYTES {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        Some(body)
    };
    tokio::time::timeout(BODY, read).await.ok().flatten()
}

/// Writes an answer of our own; what is left of a refused body is read first, within bounds.
async fn send(session: &mut Session, answer: Answer) -> Result<()> {
    // Our names are no matter of case, so the library need not keep a second map of them.
    let mut head = ResponseHeader::build_no_case(answer.status, Some(answer.headers.len() + 3))?;
    for (name, value) in answer.headers {
        let value =
            HeaderValue::from_maybe_shared(Bytes::from(value.into_owned())).or_err(InternalError, "header value")?;
        head.append_header(name, value)?;
    }
    // RFC 9110 §8.6: a 204 says nothing about a length.
    if answer.status != 204 {
        head.insert_header("content-length", answer.body.len())?;
    }
    let no_body = answer.body.is_empty() || session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head), no_body).await?;
    if !no_body {
        session.write_response_body(Some(answer.body), true).await?;
    }
    if !session.as_downstream_mut().is_body_done() {
        let swallowed = tokio::time::timeout(SWALLOW, async {
            let mut left = SWALLOW_BYTES;
            while let Ok(Some(chunk)) = session.as_downstream_mut().read_request_body().await {
                left = left.saturating_sub(chunk.len());
                if left == 0 {
                    return false;
                }
            }
            true
        })
        .await;
        if swallowed != Ok(true) {
            session.set_keepalive(None);
        }
    }
    Ok(())
}
