//! Pingora's phases, each handed on: what a request is, who answers it, and what the origin is told.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::proxy::FailToProxy;
use queue_token::SaleId;

use crate::forwarded;
use crate::line::room::SaleRoom;
use crate::problem::{Kind, Problem};
use crate::room::{Answer, Asked, Entry, Gate, Outcome, arrive, guarded, join, leave, offer, place, status, take};
use crate::routes::{self, Guards, OwnRoute};
use crate::telemetry;
use crate::upstream::{self, Balancer};

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
    pub balancer: Arc<Balancer>,
    /// Where the origin speaks with gateways only.
    pub private: Guards,
}

/// Facts of one request, from its head to its log line.
pub struct Context {
    started: Instant,
    request_id: String,
    peer: IpAddr,
    sale: Option<String>,
    entry: Option<Entry>,
    room: Option<Arc<SaleRoom>>,
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
            request_id: format!("{:032x}", rand::random::<u128>()),
            peer: IpAddr::from([0, 0, 0, 0]),
            sale: None,
            entry: None,
            room: None,
            outcome: "proxied",
            tried: Vec::new(),
            body_bytes: 0,
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        session.set_read_timeout(Some(self.gate.config.limits.body_idle()));
        // Whoever wants another protocol gets this one.
        session.req_header_mut().remove_header("upgrade");
        if let Some(address) = session.client_addr().and_then(|address| address.as_inet()) {
            ctx.peer = address.ip();
        }
        match self.own_answer(session, ctx).await {
            Some(answer) => {
                ctx.outcome = answer.outcome;
                send(session, answer).await?;
                Ok(true)
            }
            None => Ok(false),
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
        let key = routes::event_of(session.req_header().uri.path()).unwrap_or(&ctx.request_id);
        match upstream::choose(&self.balancer, key, &ctx.tried) {
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
        let forged: Vec<HeaderName> = head.headers.keys().filter(|name| forwarded::is_forged(name)).cloned().collect();
        for name in forged {
            head.remove_header(&name);
        }
        match forwarded::foreign_cookies(inbound) {
            Some(cookies) => head.insert_header("cookie", cookies)?,
            None => drop(head.remove_header("cookie")),
        }
        // Our own credentials are for us; the origin gets the pass in a header of its own.
        if inbound.get("authorization").and_then(|v| v.to_str().ok()).is_some_and(is_ours) {
            head.remove_header("authorization");
        }
        let client = forwarded::client_address(ctx.peer, inbound, self.gate.config.trusted_hops);
        head.insert_header("x-forwarded-for", client.to_string())?;
        head.insert_header("x-forwarded-proto", if self.gate.config.secure_cookies { "https" } else { "http" })?;
        if let Some(host) = inbound.get("host") {
            head.insert_header("x-forwarded-host", host.clone())?;
        }
        head.insert_header("x-request-id", &ctx.request_id)?;
        if let Some(held) = ctx.entry.as_ref().and_then(|entry| entry.pass.as_ref()) {
            head.insert_header("usher-visitor", held.pass.visitor.to_string())?;
            head.insert_header("usher-sale", held.pass.sale.as_str())?;
            head.insert_header("usher-pass", &*held.token)?;
        }
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
        let said = head.headers.get("usher-pass").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let ours: Vec<HeaderName> =
            head.headers.keys().filter(|name| name.as_str().starts_with("usher-")).cloned().collect();
        for name in ours {
            head.remove_header(&name);
        }
        head.insert_header("x-request-id", &ctx.request_id)?;
        let Some(entry) = &ctx.entry else { return Ok(()) };
        if said.as_deref() == Some("depart")
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
        tracing::warn!(request_id = %ctx.request_id, status, error = %e, "a request failed");
        if status > 0 && session.response_written().is_none_or(|head| head.status.is_informational()) {
            let path = session.req_header().uri.path().to_owned();
            let answer = failure(status).answer(&path, &ctx.request_id);
            session.set_keepalive(None);
            if send(session, answer).await.is_err() {
                tracing::debug!(request_id = %ctx.request_id, "the client did not wait for the failure");
            }
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        let status = session.response_written().map_or(0, |head| head.status.as_u16());
        let seconds = ctx.started.elapsed().as_secs_f64();
        // An answer that a client did not wait for says nothing about the origin.
        if let Some(room) = ctx.room.as_ref().filter(|_| status > 0) {
            room.note_answer(status >= 500);
        }
        telemetry::count_request(ctx.outcome, seconds);
        let head = session.req_header();
        // What reached the origin is one line here and one there, under the same id; polls are far too many for that.
        let (id, method, path) = (&ctx.request_id, &head.method, head.uri.path());
        let (outcome, sale, ms) = (ctx.outcome, ctx.sale.as_deref(), seconds * 1000.0);
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
            request_id: &ctx.request_id,
            now_us: telemetry::now_us(),
        };
        if let Err(wait_s) = gate.limits.request(asked.address) {
            return Some(guarded::too_often(&asked, wait_s));
        }
        if let Some(route) = route {
            return Some(self.own_route(&asked, route, body.as_deref()).await);
        }
        let host = head.uri.host().or_else(|| asked.header("host")).unwrap_or_default();
        let paths = routes::readings(asked.path());
        if paths.iter().any(|path| self.private.speaks_of(host, path).is_some()) {
            return Some(
                Problem::new(Kind::NotFound, "There is no such route.").answer(asked.path(), asked.request_id),
            );
        }
        match gate.rooms.guarding(host, &head.method, &paths) {
            Some((room, view)) => {
                ctx.sale = Some(room.id.to_string());
                match guarded::decide(gate, &asked, &room, &view).await {
                    Outcome::Answer(answer) => return Some(answer),
                    Outcome::Enter(entry) => (ctx.entry, ctx.room) = (Some(entry), Some(room)),
                }
            }
            None => {
                let ring = gate.keys.ring();
                // With passes of several sales the one counts whose sale guards this path for another method.
                let near = gate.rooms.speaking_of(host, &paths);
                let pass = |sale: Option<&SaleId>| {
                    gate.credentials.pass(&head.headers, gate.cookies(), sale, &ring, asked.now_s())
                };
                let held = near.as_ref().and_then(|sale| pass(Some(sale))).or_else(|| pass(None));
                ctx.entry = held.map(|held| Entry { pass: Some(held), cookies: Vec::new(), fresh: false, place: None });
            }
        }
        None
    }

    async fn own_route(&self, asked: &Asked<'_>, route: OwnRoute, body: Option<&[u8]>) -> Answer {
        let gate = &*self.gate;
        let problem = |kind, detail: &str| Problem::new(kind, detail).answer(asked.path(), asked.request_id);
        let sale = match &route {
            OwnRoute::Keys => {
                let keys = Bytes::from(gate.keys.ring().jwks_json(asked.now_s()));
                return Answer::new(200, "application/jwk-set+json", keys)
                    .replace("cache-control", "public, max-age=60");
            }
            OwnRoute::NotFound => return problem(Kind::NotFound, "There is no such route."),
            OwnRoute::MethodNotAllowed(allowed) => {
                return problem(Kind::MethodNotAllowed, "This route knows other methods.").header("allow", *allowed);
            }
            OwnRoute::Join(sale) | OwnRoute::Place(sale) | OwnRoute::Leave(sale) | OwnRoute::Status(sale) => sale,
            OwnRoute::Offer(sale) | OwnRoute::Arrive(sale) | OwnRoute::Take(sale) => sale,
        };
        let Some((room, view)) = gate.rooms.get(sale).and_then(|room| room.view().map(|view| (room, view))) else {
            return problem(Kind::NotFound, "There is no such sale.");
        };
        match route {
            OwnRoute::Join(_) => join::join(gate, asked, &room, &view).await,
            OwnRoute::Place(_) => place::place(gate, asked, &room, &view).await,
            OwnRoute::Leave(_) => leave::leave(gate, asked, &room, &view).await,
            OwnRoute::Offer(_) => offer::offer(gate, asked, &room).await,
            OwnRoute::Arrive(_) => arrive::arrive(&room),
            OwnRoute::Take(_) => take::take(gate, asked, &room, &view, body).await,
            _ => status::status(asked, &room, &view),
        }
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

/// `Authorization` schemes that are for the gateway.
fn is_ours(value: &str) -> bool {
    let scheme = value.split(' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("pass") || scheme.eq_ignore_ascii_case("place")
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
        let value = HeaderValue::from_maybe_shared(Bytes::from(value)).or_err(InternalError, "header value")?;
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
