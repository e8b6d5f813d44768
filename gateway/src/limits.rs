//! How often one client may ask: by address, by address for new places and for wrong codes, by visitor for polls.
//!
//! The buckets are this gateway's own. The number of keys is bounded: a full map lets everybody through until the next
//! sweep has forgotten the quiet ones, since a crowd of that size is no single client. A refused poll costs the visitor
//! nothing but time.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use queue_token::VisitorId;

use crate::config::Limits;

mod guesses;

use guesses::Guesses;

/// Most keys of one limit.
const KEYS_MAX: usize = 100_000;

/// All limits of this gateway.
#[derive(Debug)]
pub struct ClientLimits {
    address: Option<Limit<IpAddr>>,
    join: Option<Limit<IpAddr>>,
    visitor: Option<Limit<VisitorId>>,
    guesses: Option<Guesses>,
}

#[derive(Debug)]
struct Limit<K: Hash + Eq + Clone> {
    keyed: DefaultKeyedRateLimiter<K>,
    /// Counting keys locks the whole map, so it is done once a sweep.
    full: AtomicBool,
    clock: DefaultClock,
}

/// How long a refused client should wait, in seconds.
pub type RetryAfterS = u64;

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(per_s: u32, burst: u32) -> Option<Self> {
        let quota = Quota::per_second(NonZeroU32::new(per_s)?).allow_burst(NonZeroU32::new(burst.max(1))?);
        Some(Self { keyed: RateLimiter::keyed(quota), full: AtomicBool::new(false), clock: DefaultClock::default() })
    }

    fn check(&self, key: &K) -> Result<(), RetryAfterS> {
        if self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.keyed.check_key(key).map_err(|until| until.wait_time_from(self.clock.now()).as_secs() + 1)
    }

    fn sweep(&self) {
        self.keyed.retain_recent();
        self.keyed.shrink_to_fit();
        self.full.store(self.keyed.len() >= KEYS_MAX, Ordering::Relaxed);
    }
}

impl ClientLimits {
    /// Limits as configured.
    pub fn new(limits: &Limits) -> Self {
        Self {
            address: Limit::new(limits.address_per_s, limits.address_burst),
            join: Limit::new(limits.join_per_s, limits.join_burst),
            visitor: Limit::new(limits.visitor_per_s, limits.visitor_burst),
            guesses: Guesses::new(limits.code_per_min, limits.code_burst),
        }
    }

    /// Counts a request of an address.
    ///
    /// # Errors
    /// After how many seconds to try again.
    pub fn request(&self, address: IpAddr) -> Result<(), RetryAfterS> {
        self.address.as_ref().map_or(Ok(()), |limit| limit.check(&address))
    }

    /// Counts a new place of an address.
    ///
    /// # Errors
    /// After how many seconds to try again.
    pub fn join(&self, address: IpAddr) -> Result<(), RetryAfterS> {
        self.join.as_ref().map_or(Ok(()), |limit| limit.check(&address))
    }

    /// Counts a poll of a visitor.
    ///
    /// # Errors
    /// After how many seconds to try again.
    pub fn poll(&self, visitor: VisitorId) -> Result<(), RetryAfterS> {
        self.visitor.as_ref().map_or(Ok(()), |limit| limit.check(&visitor))
    }

    /// Counts a code that an address sends as a wrong one, until [`Self::was_no_guess`] says otherwise.
    ///
    /// # Errors
    /// After how many seconds to try again.
    pub fn guess(&self, address: IpAddr) -> Result<(), RetryAfterS> {
        self.guesses.as_ref().map_or(Ok(()), |guesses| guesses.pay(address, Instant::now()))
    }

    /// The code was right, or could not be looked at.
    pub fn was_no_guess(&self, address: IpAddr) {
        if let Some(guesses) = &self.guesses {
            guesses.give_back(address);
        }
    }

    /// Forgets clients that have been quiet; called once in a while.
    pub fn sweep(&self) {
        if let Some(limit) = &self.address {
            limit.sweep();
        }
        if let Some(limit) = &self.join {
            limit.sweep();
        }
        if let Some(limit) = &self.visitor {
            limit.sweep();
        }
        if let Some(guesses) = &self.guesses {
            guesses.sweep(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_refused_per_key() {
        let limits = ClientLimits::new(&Limits { visitor_per_s: 1, visitor_burst: 3, ..Limits::default() });
        let (one, two) = (VisitorId::from_bytes([1; 16]), VisitorId::from_bytes([2; 16]));
        assert!((0..3).all(|_| limits.poll(one).is_ok()));
        assert!(limits.poll(one).is_err_and(|wait_s| wait_s >= 1));
        assert!(limits.poll(two).is_ok(), "another visitor has its own bucket");
    }

    #[test]
    fn zero_switches_a_limit_off() {
        let limits = ClientLimits::new(&Limits { address_per_s: 0, ..Limits::default() });
        assert!((0..10_000).all(|_| limits.request(IpAddr::from([127, 0, 0, 1])).is_ok()));
    }
}
