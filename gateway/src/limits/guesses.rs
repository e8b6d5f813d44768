//! Wrong codes of one address: a try is paid before the line is asked, and given back when it was no wrong guess. So
//! tries that run side by side are counted, and whoever types the right code pays nothing.
//!
//! Invariants: an address has at most `burst` tries at hand; the number of addresses is bounded, and a full map lets
//! nobody guess whom it does not know, until time has made room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Most addresses remembered.
const ADDRESSES_MAX: usize = 100_000;

/// Tries by address: how many are at hand, and as of when.
#[derive(Debug)]
pub(super) struct Guesses {
    per_min: f64,
    burst: f64,
    tries: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Guesses {
    /// `None` when the rate is 0: nobody is limited.
    pub(super) fn new(per_min: u32, burst: u32) -> Option<Self> {
        let (per_min, burst) = (f64::from(per_min), f64::from(burst.max(1)));
        (per_min > 0.0).then(|| Self { per_min, burst, tries: Mutex::default() })
    }

    /// Pays for a try; else, how many seconds to wait.
    pub(super) fn pay(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        let Ok(mut tries) = self.tries.lock() else { return Ok(()) };
        let known = tries.get(&address).map(|&known| self.at_hand(known, now));
        if known.is_none() && tries.len() >= ADDRESSES_MAX {
            return Err(self.seconds_for(1.0));
        }
        let left = known.unwrap_or(self.burst) - 1.0;
        if left < 0.0 {
            return Err(self.seconds_for(-left));
        }
        tries.insert(address, (left, now));
        Ok(())
    }

    /// Gives a try back.
    pub(super) fn give_back(&self, address: IpAddr) {
        let Ok(mut tries) = self.tries.lock() else { return };
        if let Some((left, _)) = tries.get_mut(&address) {
            *left = (*left + 1.0).min(self.burst);
        }
    }

    /// Forgets addresses that have all their tries again.
    pub(super) fn sweep(&self, now: Instant) {
        let Ok(mut tries) = self.tries.lock() else { return };
        tries.retain(|_, &mut known| self.at_hand(known, now) < self.burst);
        tries.shrink_to_fit();
    }

    fn at_hand(&self, (left, since): (f64, Instant), now: Instant) -> f64 {
        let earned = now.saturating_duration_since(since).as_secs_f64() * self.per_min / 60.0;
        (left + earned).min(self.burst)
    }

    fn seconds_for(&self, tries: f64) -> u64 {
        Duration::from_secs_f64(tries * 60.0 / self.per_min).as_secs() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn wrong_guesses_run_out_and_come_back_with_time() {
        let (guesses, start) = (Guesses::new(6, 3).unwrap(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        assert!((0..3).all(|_| guesses.pay(ADDRESS, at(0)).is_ok()));
        assert_eq!(guesses.pay(ADDRESS, at(0)), Err(11));
        assert!(guesses.pay(IpAddr::from([10, 0, 0, 1]), at(0)).is_ok(), "another address has its own");
        assert!(guesses.pay(ADDRESS, at(9)).is_err() && guesses.pay(ADDRESS, at(10)).is_ok(), "one in ten seconds");
        assert!(guesses.pay(ADDRESS, at(10)).is_err());
        guesses.sweep(at(11));
        assert!(guesses.pay(ADDRESS, at(11)).is_err(), "a sweep forgives nothing");
        guesses.sweep(at(1_000));
        assert!(guesses.tries.lock().unwrap().is_empty());
    }

    #[test]
    fn right_ones_are_free() {
        let (guesses, now) = (Guesses::new(1, 2).unwrap(), Instant::now());
        for _ in 0..1_000 {
            assert_eq!(guesses.pay(ADDRESS, now), Ok(()));
            guesses.give_back(ADDRESS);
        }
        assert!(Guesses::new(0, 5).is_none(), "0 switches it off");
    }

    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let (guesses, now) = (Guesses::new(1, 1).unwrap(), Instant::now());
        for i in 0..ADDRESSES_MAX as u32 {
            assert!(guesses.pay(IpAddr::from(i.to_be_bytes()), now).is_ok());
        }
        assert!(guesses.pay(IpAddr::from([255; 4]), now).is_err());
        assert_eq!(guesses.tries.lock().unwrap().len(), ADDRESSES_MAX);
    }
}
