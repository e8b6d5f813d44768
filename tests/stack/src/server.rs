//! A server of ours: a process, its ports, and where it says that it is ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::configuration::{Ports, address};
use crate::error::Result;
use crate::http;
use crate::node::Node;

/// How long a server may take to become ready.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// A node with the address at which it says whether it is ready.
#[derive(Debug)]
pub struct Server {
    pub(crate) node: Node,
    pub(crate) ports: Ports,
    pub(crate) health: &'static str,
}

impl Server {
    /// Starts it (again, after a kill) on the same ports, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&self) -> Result<u32> {
        let pid = self.node.spawn()?;
        self.wait_ready()?;
        Ok(pid)
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends first, or takes too long.
    pub fn wait_ready(&self) -> Result<()> {
        self.node.wait_until(READY_WITHIN, || http::healthy(loopback(self.ports.private), self.health))
    }

    /// Its process, to watch or to hurt.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its public address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", address(self.ports.public))
    }

    /// Its address for operators.
    #[must_use]
    pub fn private_url(&self) -> String {
        format!("http://{}", address(self.ports.private))
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
