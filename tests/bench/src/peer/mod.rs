//! Peers and props: programs beside ours in the same run, started by us and gone with us.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cores::Core;

pub(crate) mod bare_proxy;
pub(crate) mod nginx;
pub(crate) mod origin;

/// How long a peer may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running program of one process; killed when dropped.
pub(crate) struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    /// Starts a command that will listen at this address, and waits until it does.
    ///
    /// # Errors
    /// When it does not start or does not listen.
    pub(crate) fn start(mut command: Command, address: SocketAddr) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting a peer")?;
        let mut peer = Self { child, address };
        let until = Instant::now() + READY_WITHIN;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = peer.child.try_wait()? {
                bail!("a peer ended at once: {status}");
            }
            if Instant::now() > until {
                bail!("a peer does not listen at {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }

    /// Starts this very program in another role.
    ///
    /// # Errors
    /// When it does not start or does not listen.
    pub(crate) fn ourselves(core: Core, role: &str, address: SocketAddr, more: &[String]) -> Result<Self> {
        let mut command = core.command(std::env::current_exe()?);
        command.arg(role).arg(address.to_string()).args(more);
        Self::start(command, address)
    }

    /// Its process; `taskset` becomes the program that it starts.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It holds nothing that is worth an orderly end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address that nobody listens at now.
///
/// # Errors
/// When there is none.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
