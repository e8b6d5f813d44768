//! Free loopback ports, several stacks at once.
//!
//! A port is drawn from below the range that the system uses for outgoing connections, so that no client
//! socket can sit on it when a killed server comes back, and is held by a listener until its server
//! is about to start. Whoever still loses the moment between release and bind is started again on other ports.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Result, StackError};

const LOWEST: u16 = 15_000;
const TRIES: u32 = 2_000;

/// A port that is ours until released.
#[derive(Debug)]
pub(crate) struct HeldPort {
    listener: TcpListener,
    port: u16,
}

impl HeldPort {
    /// Finds a free port and holds it.
    pub(crate) fn take() -> Result<HeldPort> {
        let end = first_ephemeral_port().max(LOWEST + 1_000);
        for _ in 0..TRIES {
            let port = rand::random_range(LOWEST..end);
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                return Ok(HeldPort { listener, port });
            }
        }
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StackError::io("finding a free loopback port"))?;
        let port = listener.local_addr().map_err(StackError::io("asking for the port in hand"))?.port();
        Ok(HeldPort { listener, port })
    }

    /// The number, while the port stays held.
    pub(crate) fn number(&self) -> u16 {
        self.port
    }

    /// Lets go, for the server that is started next.
    pub(crate) fn release(self) -> u16 {
        drop(self.listener);
        self.port
    }
}

fn first_ephemeral_port() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_taken_and_a_released_one_is_free() {
        let held = HeldPort::take().unwrap();
        let number = held.number();
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_err());
        assert_eq!(held.release(), number);
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok());
    }
}
