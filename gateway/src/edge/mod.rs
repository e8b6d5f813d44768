//! The edge: what happens on a connection before the proxy library sees a request, and between two requests.
//!
//! * [`head`] – pure: which bytes are a request's head
//! * [`deadline`] – the one timer of a connection
//! * [`receive`] – reads one head, within a deadline and a size
//! * [`refuse`] – answers what is not let through, and hangs up
//! * [`paced`] – a stream that gives up on a client which does not read
//! * [`crowd`] – how many connections one address holds
//!
//! The library reads a head for as long as bytes keep coming, and mends heads that could be read in two ways. So each
//! head is read and judged here, and only a whole and unambiguous one is handed on, as bytes that the library reads
//! again by itself. Bodies and answers stay with the library.

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

pub mod crowd;
pub mod deadline;
pub mod head;
pub mod paced;
pub mod receive;
pub mod refuse;

use crowd::Crowd;
use deadline::Deadline;
use paced::Paced;
use receive::{Received, receive};

/// What serves connections: the proxy behind its edge.
pub struct Edge {
    config: Arc<Config>,
    crowd: Crowd,
    proxy: Arc<HttpProxy<Proxy>>,
}

impl Edge {
    /// Puts the edge before a proxy.
    pub fn new(config: Arc<Config>, proxy: HttpProxy<Proxy>) -> Self {
        // With a proxy of ours in front, all connections are its.
        let most = if config.trusted_hops == 0 { config.limits.connections_per_address } else { 0 };
        Self { config, crowd: Crowd::new(most), proxy: Arc::new(proxy) }
    }
}

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let peer = stream.get_socket_digest().and_then(|digest| Some(digest.peer_addr()?.as_inet()?.ip()));
        let Some(_seat) = self.crowd.admit(peer.map(forwarded::limit_key)) else {
            metrics::counter!("usher_gateway_connections_refused_total").increment(1);
            return None;
        };
        let limits = &self.config.limits;
        let mut stream: Stream = Box::new(Paced::new(stream, limits.write_idle()));
        let mut settings: Option<HttpPersistentSettings> = None;
        let mut stop = shutdown.clone();
        let mut left = limits.requests_per_connection;
        let mut deadline = Deadline::new(Instant::now() + limits.head_timeout());
        loop {
            let wait = if settings.is_none() { limits.head_timeout() } else { limits.keepalive() };
            let head = match receive(&mut stream, &mut deadline, wait, limits, &mut stop).await {
                Received::Head(head) => head,
                Received::Nothing => return None,
                Received::Refused(refusal, head) => {
                    refuse::refuse(&mut stream, refusal, &head).await;
                    return None;
                }
            };
            let mut session = ServerSession::new_http1(stream);
            let mut carried = settings.take().unwrap_or_else(|| HttpPersistentSettings::for_session(&session));
            // The library takes these bytes as read, and reads on from the stream only for the body.
            carried.set_pipelined_prefix(head);
            carried.apply_to_session(&mut session);
            left = left.saturating_sub(1);
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
