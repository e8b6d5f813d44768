//! What an origin node tells about itself: a small JSON document, every member of which may be missing.

use serde::Deserialize;

/// What a node says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Health {
    /// How much is left to sell; `None` when the node does not say.
    pub stock_left: Option<u64>,
    /// The 99th percentile of its holds' times over the last seconds; `None` when there were none.
    pub holds_p99_ms: Option<f64>,
    /// How much of what it gets now it wants, from 0 to 1.
    pub accept_factor: f64,
}

impl Default for Health {
    fn default() -> Self {
        Self { stock_left: None, holds_p99_ms: None, accept_factor: 1.0 }
    }
}

impl Health {
    /// Reads a document; what cannot be read says nothing.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let health: Self = serde_json::from_slice(json).ok()?;
        Some(Self { accept_factor: health.accept_factor.clamp(0.0, 1.0), ..health })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_may_be_missing_and_others_are_ignored() {
        let full = br#"{"event":"e","stock_left":7,"capacity":9,"holds_p99_ms":12.5,"accept_factor":0.5}"#;
        let health = Health::parse(full).unwrap();
        assert_eq!((health.stock_left, health.holds_p99_ms, health.accept_factor), (Some(7), Some(12.5), 0.5));
        assert_eq!(Health::parse(b"{}"), Some(Health::default()));
        assert_eq!(Health::parse(br#"{"accept_factor":7}"#).unwrap().accept_factor, 1.0);
        assert_eq!(Health::parse(b"ok\n"), None);
    }
}
