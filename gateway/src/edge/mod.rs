//! The edge: what happens on a connection before the proxy library sees a request, and between two requests.
//!
//! * [`head`] – pure: which bytes are a request's head
//! * [`deadline`] – the one timer of a connection
//! * [`stopping`] – the gateway's stop, as a connection waits for it
//! * [`receive`] – reads one head, within a deadline and a size
//! * [`own`] – answers requests to our own routes that need nothing of the library
//! * [`refuse`] – answers what is not let through, and hangs up
//! * [`wire`] – an answer as bytes
//! * [`paced`] – a stream that gives up on a client which does not read
//! * [`crowd`] – how many connections one address holds
//!
//! The library reads a head for as long as bytes keep coming, and mends heads that could be read in two ways. So each
//! head is read and judged here, and only a whole and unambiguous one is handed on, as bytes that the library reads
//! again by itself. Bodies stay with the library, and so do the answers of the origin. Polls, which are most of what comes,
//! never get that far: making a session of a request costs more than answering it.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use crate::config::Config;
use crate::forwarded;
use crate::proxy::Proxy;
use crate::room::Gate;

pub mod crowd;
pub mod deadline;
pub mod head;
pub mod own;
pub mod paced;
pub mod receive;
pub mod refuse;
pub mod stopping;
pub mod wire;

use crowd::Crowd;
use deadline::Deadline;
use paced::Paced;
use receive::{Received, receive};
use stopping::Stopping;

/// What serves connections: the proxy behind its edge.
pub struct Edge {
    gate: Arc<Gate>,
    crowd: Crowd,
    proxy: Arc<HttpProxy<Proxy>>,
}

impl Edge {
    /// Puts the edge before a proxy.
    pub fn new(gate: Arc<Gate>, proxy: HttpProxy<Proxy>) -> Self {
        let config: &Config = &gate.config;
        // With a proxy of ours in front, all connections are its.
        let most = if config.trusted_hops == 0 { config.limits.connections_per_address } else { 0 };
        Self { gate, crowd: Crowd::new(most), proxy: Arc::new(proxy) }
    }
}

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let peer: Option<IpAddr> =
            stream.get_socket_digest().and_then(|digest| Some(digest.peer_addr()?.as_inet()?.ip()));
        let Some(_seat) = self.crowd.admit(peer.map(forwarded::limit_key)) else {
            metrics::counter!("usher_gateway_connections_refused_total").increment(1);
            return None;
        };
        let limits = &self.gate.config.limits;
        let mut stream: Stream = Box::new(Paced::new(stream, limits.write_idle()));
        let mut settings: Option<HttpPersistentSettings> = None;
        let mut stop = Stopping::new(shutdown);
        let mut first = true;
        let mut left = limits.requests_per_connection;
        let mut deadline = Deadline::new(Instant::now() + limits.head_timeout());
        loop {
            let wait = if std::mem::take(&mut first) { limits.head_timeout() } else { limits.keepalive() };
            let head = match receive(&mut stream, &mut deadline, wait, limits, &mut stop).await {
                Received::Head(head) => head,
                Received::Nothing => return None,
                Received::Refused(refusal, head) => {
                    refuse::refuse(&mut stream, refusal, &head).await;
                    return None;
                }
            };
            left = left.saturating_sub(1);
            let head = match own::read(head) {
                Ok(asked) => {
                    let last = left == 0 || asked.is_last() || *shutdown.borrow();
                    // Apart from the connection's own memory, which it has for as long as the visitor waits.
                    Box::pin(own::answer(&self.gate, asked, peer, &mut stream, last)).await?;
                    continue;
                }
                Err(head) => head,
            };
            let mut session = ServerSession::new_http1(stream);
            let mut carried = settings.take().unwrap_or_else(|| HttpPersistentSettings::for_session(&session));
            // The library takes these bytes as read, and reads on from the stream only for the body.
            carried.set_pipelined_prefix(head);
            carried.apply_to_session(&mut session);
            session.set_keepalive_reuses_remaining((left == 0).then_some(0));
            let (reused, kept) = self.proxy.process_new_http(session, shutdown).await?.consume();
            stream = reused;
            settings = Some(kept?);
        }
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
