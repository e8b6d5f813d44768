//! Every Redis key of a sale, under one hash tag, so that a sale lives on one slot of a Redis Cluster.

use queue_token::SaleId;

/// How many keys each function takes.
pub const KEY_COUNT: usize = 13;

/// The key that lists all sales of a deployment: a set of sale ids. On a slot of its own.
pub const SALES: &str = "usher:sales";

/// The keys of a sale in the order of `lua/library.lua`.
pub fn of(sale: &SaleId) -> [String; KEY_COUNT] {
    ["line", "near", "away", "called", "inside", "state", "ranks", "log", "turns", "spent", "codes", "offers", "moved"]
        .map(|name| format!("{{{sale}}}:{name}"))
}

/// The key of a sale's state.
pub(crate) fn state_of(sale: &SaleId) -> String {
    format!("{{{sale}}}:state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_sale_share_its_hash_tag() {
        let keys = of(&"demo".parse().unwrap());
        assert_eq!(keys[0], "{demo}:line");
        assert!(keys.iter().all(|key| key.starts_with("{demo}:")));
    }
}
