//! How many requests of one owner may wait at the same time, so that nobody fills the queue of an event alone.
//!
//! Counted per node over all its events. An owner who was made up for the request has no others, and is not counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use booking_domain::Owner;

use crate::error::Refusal;

/// Who waits, and with how many requests.
#[derive(Debug)]
pub(super) struct Turns {
    most: u32,
    waiting: Mutex<HashMap<Owner, u32>>,
}

/// One request that waits; dropped with it.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    owner: Owner,
}

impl Turns {
    /// So many for each owner.
    pub(super) fn new(most: u32) -> Arc<Self> {
        Arc::new(Self { most, waiting: Mutex::default() })
    }

    /// One more request of an owner.
    ///
    /// # Errors
    /// [`Refusal::TooManyAtOnce`] when as many wait as may.
    pub(super) fn take(self: &Arc<Self>, owner: &Owner) -> Result<Turn, Refusal> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(owner) {
            Some(count) if *count >= self.most => return Err(Refusal::TooManyAtOnce { limit: self.most }),
            Some(count) => *count += 1,
            None => drop(waiting.insert(owner.clone(), 1)),
        }
        Ok(Turn { turns: Arc::clone(self), owner: owner.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.turns.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_has_so_many_turns_and_gets_them_back() {
        let turns = Turns::new(2);
        let owner = |letter: &str| Owner::buyer(&letter.repeat(22)).unwrap();
        let (one, other) = (owner("a"), owner("b"));
        let first = turns.take(&one).unwrap();
        let _second = turns.take(&one).unwrap();
        assert_eq!(turns.take(&one).unwrap_err(), Refusal::TooManyAtOnce { limit: 2 });
        let others = turns.take(&other).unwrap();
        drop(first);
        let _third = turns.take(&one).unwrap();
        assert!(turns.take(&one).is_err());
        drop(others);
        assert_eq!(turns.waiting.lock().unwrap().len(), 1, "who does not wait is forgotten");
    }
}
