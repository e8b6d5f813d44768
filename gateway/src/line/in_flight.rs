//! One round per sale at a time: a sale whose server does not answer keeps its own next round waiting, and nobody else's.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use queue_token::SaleId;

/// The sales of which a round is under way; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<HashSet<SaleId>>>);

/// A round under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Round {
    rounds: InFlight,
    sale: SaleId,
}

impl InFlight {
    /// Begins a round; `None` while the one before is under way.
    pub fn begin(&self, sale: &SaleId) -> Option<Round> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(sale.clone());
        begun.then(|| Round { rounds: self.clone(), sale: sale.clone() })
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.rounds.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.sale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sale_has_one_round_and_others_have_theirs() {
        let rounds = InFlight::default();
        let (slow, quick): (SaleId, SaleId) = ("slow".parse().unwrap(), "quick".parse().unwrap());
        let first = rounds.begin(&slow).unwrap();
        assert!(rounds.begin(&slow).is_none());
        assert!(rounds.begin(&quick).is_some());
        drop(first);
        assert!(rounds.begin(&slow).is_some());
    }
}
