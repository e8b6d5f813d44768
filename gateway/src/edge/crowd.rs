//! How many connections one address holds at once. The map holds only addresses with a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections by address (IPv6: by /64).
#[derive(Debug)]
pub struct Crowd {
    most: u32,
    held: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// A counted connection; dropping it gives the count back.
#[derive(Debug)]
pub struct Seat {
    address: Option<IpAddr>,
    held: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

impl Crowd {
    /// At most this many each; 0 counts nobody.
    pub fn new(most: u32) -> Self {
        Self { most, held: Arc::default() }
    }

    /// Counts a connection, or refuses it. One whose address is not known is let in uncounted.
    pub fn admit(&self, address: Option<IpAddr>) -> Option<Seat> {
        let address = address.filter(|_| self.most > 0);
        if let Some(address) = address {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let count = held.entry(address).or_default();
            if *count >= self.most {
                return None;
            }
            *count += 1;
        }
        Some(Seat { address, held: self.held.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_as_many_as_allowed_and_none_is_forgotten() {
        let crowd = Crowd::new(2);
        let [one, two] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|octets| Some(IpAddr::from(octets)));
        let first = crowd.admit(one).unwrap();
        let second = crowd.admit(one).unwrap();
        assert!(crowd.admit(one).is_none());
        assert!(crowd.admit(two).is_some(), "another address is not concerned");
        drop(first);
        let third = crowd.admit(one).unwrap();
        assert!(crowd.admit(one).is_none());
        drop((second, third));
        assert!(crowd.held.lock().unwrap().is_empty());
    }

    #[test]
    fn zero_counts_nobody() {
        let crowd = Crowd::new(0);
        let seats: Vec<_> = (0..10_000).map(|_| crowd.admit(Some(IpAddr::from([10, 0, 0, 1]))).unwrap()).collect();
        assert!(crowd.held.lock().unwrap().is_empty());
        drop(seats);
    }
}
