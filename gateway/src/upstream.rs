//! Origin nodes: which one answers a request, and which are healthy.
//!
//! Requests about one event go to one node (consistent hashing), so that one node sees a hot event's holds together;
//! any node is correct, so a request goes to the next healthy one when the first cannot be reached.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::http::RequestHeader;
use pingora::lb::health_check::HttpHealthCheck;
use pingora::lb::selection::consistent::KetamaHashing;
use pingora::lb::{Backends, LoadBalancer, discovery};
use pingora::prelude::HttpPeer;
use pingora::protocols::TcpKeepalive;
use pingora::services::background::{GenBackgroundService, background_service};

/// Points of the hash ring looked at before giving up; each node has about 160 of them.
const TRIES: usize = 4096;
/// Longest wait for a connection to a node on the same network.
const CONNECT: Duration = Duration::from_millis(500);
/// Longest silence of an origin: event streams send a comment every 15 s.
const READ: Duration = Duration::from_secs(60);
/// A connection that nobody uses is asked after so long whether it is still one, then every few seconds. A node that
/// closes it is heard at once; this is for one that went away without a word, or for a wall in between that forgot it.
/// The kernel does it; a timer of ours would be set and cleared with every request.
const ALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(20),
    interval: Duration::from_secs(5),
    count: 3,
    #[cfg(target_os = "linux")]
    user_timeout: Duration::ZERO,
};

/// The balancer over the origin nodes.
pub type Balancer = LoadBalancer<KetamaHashing>;

/// A balancer as a service that checks the nodes' health twice a second.
///
/// # Errors
/// When the health path cannot stand in a request.
pub fn balancer(nodes: &[SocketAddr], health_path: &str) -> anyhow::Result<GenBackgroundService<Balancer>> {
    let backends = nodes
        .iter()
        .map(|node| pingora::lb::Backend::new(&node.to_string()))
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow::anyhow!("upstreams: {error}"))?;
    let mut balancer = Balancer::from_backends(Backends::new(discovery::Static::new(backends)));
    let mut check = HttpHealthCheck::new("usher-gateway", false);
    check.req = RequestHeader::build("GET", health_path.as_bytes(), Some(2))
        .and_then(|mut head| {
            head.insert_header("host", "usher-gateway")?;
            Ok(head)
        })
        .map_err(|error| anyhow::anyhow!("health_path: {error}"))?;
    check.reuse_connection = true;
    check.consecutive_failure = 2;
    check.peer_template.options.connection_timeout = Some(CONNECT);
    check.peer_template.options.read_timeout = Some(Duration::from_secs(2));
    balancer.set_health_check(Box::new(check));
    balancer.health_check_frequency = Some(Duration::from_millis(500));
    balancer.parallel_health_check = true;
    Ok(background_service("origin health", balancer))
}

/// The origin nodes, to choose from.
pub struct Nodes {
    balancer: Arc<Balancer>,
    /// The one that there is, when there is one: then nothing is to be weighed for each request.
    only: Option<SocketAddr>,
}

impl Nodes {
    /// The nodes of a balancer.
    pub fn new(balancer: Arc<Balancer>, nodes: &[SocketAddr]) -> Self {
        let only = if let [only] = nodes { Some(*only) } else { None };
        Self { balancer, only }
    }

    /// The node for a request: the event's, or by the request's own key; never one that was tried in vain. When every
    /// node looks ill, the health check may be what is wrong: then an untried one is better than a refusal.
    pub fn choose<'k>(&self, key: impl FnOnce() -> &'k str, tried: &[SocketAddr]) -> Option<HttpPeer> {
        match self.only {
            Some(only) => (!tried.contains(&only)).then(|| peer(only)),
            None => Some(peer(self.weigh(key(), tried)?)),
        }
    }

    fn weigh(&self, key: &str, tried: &[SocketAddr]) -> Option<SocketAddr> {
        let untried =
            |backend: &pingora::lb::Backend| !backend.addr.as_inet().is_some_and(|address| tried.contains(address));
        let select = |ill_too: bool| {
            self.balancer
                .select_with(key.as_bytes(), TRIES, |backend, healthy| (healthy || ill_too) && untried(backend))
        };
        select(false).or_else(|| select(true))?.addr.as_inet().copied()
    }
}

fn peer(node: SocketAddr) -> HttpPeer {
    let mut peer = HttpPeer::new(node, false, String::new());
    peer.options.connection_timeout = Some(CONNECT);
    peer.options.read_timeout = Some(READ);
    peer.options.write_timeout = Some(READ);
    peer.options.tcp_keepalive = Some(ALIVE);
    peer
}
