//! What one client may send, how often and how slowly: the `[limits]` of the configuration.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;

/// Bounds on what one client may send. A rate of 0 switches that limit off.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests per second of one address (IPv6: one /64).
    pub address_per_s: u32,
    /// Requests that one address may send at once.
    pub address_burst: u32,
    /// New places per second of one address.
    pub join_per_s: u32,
    /// New places that one address may take at once.
    pub join_burst: u32,
    /// Polls per second of one visitor.
    pub visitor_per_s: u32,
    /// Polls that one visitor may send at once.
    pub visitor_burst: u32,
    /// Wrong codes per minute of one address, with which a place would be taken to another device.
    pub code_per_min: u32,
    /// Wrong codes that one address may send at once.
    pub code_burst: u32,
    /// Longest request head in bytes.
    pub head_max_bytes: usize,
    /// Most header fields of a request.
    pub headers_max: usize,
    /// Longest request body in bytes.
    pub body_max_bytes: u64,
    /// Time for a whole request head, in milliseconds: from its first byte, or from the connection's beginning.
    pub head_timeout_ms: u64,
    /// How long a connection may be idle between two requests, in milliseconds.
    pub keepalive_ms: u64,
    /// Requests after which a connection is closed.
    pub requests_per_connection: u32,
    /// Longest pause within a request's body, in milliseconds; after as long, the slowest rate counts.
    pub body_idle_ms: u64,
    /// Slowest request body, in bytes per second.
    pub body_min_per_s: u64,
    /// How long a client may take nothing of its answer, in milliseconds.
    pub write_idle_ms: u64,
    /// Connections that one address may hold (IPv6: one /64); 0 counts nobody, as do trusted proxies before us.
    pub connections_per_address: u32,
}

impl Limits {
    /// Time for a whole request head.
    pub fn head_timeout(&self) -> Duration {
        Duration::from_millis(self.head_timeout_ms)
    }

    /// How long a connection may be idle between two requests.
    pub fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms)
    }

    /// Longest pause within a request's body.
    pub fn body_idle(&self) -> Duration {
        Duration::from_millis(self.body_idle_ms)
    }

    /// How long a client may take nothing of its answer.
    pub fn write_idle(&self) -> Duration {
        Duration::from_millis(self.write_idle_ms)
    }

    pub(super) fn check(&self) -> Result<()> {
        for (name, ms) in [
            ("head_timeout_ms", self.head_timeout_ms),
            ("keepalive_ms", self.keepalive_ms),
            ("body_idle_ms", self.body_idle_ms),
            ("write_idle_ms", self.write_idle_ms),
        ] {
            if !(100..=600_000).contains(&ms) {
                bail!("limits.{name}: must be from 100 to 600000");
            }
        }
        if self.requests_per_connection == 0 {
            bail!("limits.requests_per_connection: must be at least 1");
        }
        Ok(())
    }

    /// Whether a body of which `bytes` came in `elapsed` is slower than allowed.
    pub fn is_too_slow(&self, bytes: u64, elapsed: Duration) -> bool {
        let expected = u128::from(self.body_min_per_s) * elapsed.as_millis() / 1_000;
        elapsed > self.body_idle() && u128::from(bytes) < expected
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address_per_s: 200,
            address_burst: 1_000,
            join_per_s: 50,
            join_burst: 500,
            visitor_per_s: 5,
            visitor_burst: 30,
            code_per_min: 10,
            code_burst: 20,
            head_max_bytes: 16 * 1024,
            headers_max: 64,
            body_max_bytes: 1024 * 1024,
            head_timeout_ms: 5_000,
            keepalive_ms: 60_000,
            requests_per_connection: 1_000,
            body_idle_ms: 10_000,
            body_min_per_s: 1_000,
            write_idle_ms: 10_000,
            connections_per_address: 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_too_slow_only_after_a_while() {
        let limits = Limits { body_idle_ms: 10_000, body_min_per_s: 1_000, ..Limits::default() };
        assert!(!limits.is_too_slow(1, Duration::from_secs(10)));
        assert!(limits.is_too_slow(10_999, Duration::from_secs(11)));
        assert!(!limits.is_too_slow(11_000, Duration::from_secs(11)));
    }
}
