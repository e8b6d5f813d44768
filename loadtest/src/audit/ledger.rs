//! What the payment provider holds, by its own ledger.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

/// One payment in the provider's ledger.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct LedgerLine {
    pub(super) reference: String,
    pub(super) currency: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) amount: i64,
    #[serde(default)]
    pub(super) captured: i64,
    #[serde(default)]
    pub(super) refunded: i64,
}

/// The whole ledger, by reference.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ProviderLedger {
    pub(super) lines: HashMap<String, Vec<LedgerLine>>,
}

#[derive(Deserialize)]
struct LedgerDoc {
    items: Vec<LedgerLine>,
}

impl LedgerLine {
    /// Money that the provider took and kept.
    pub(super) fn net(&self) -> i64 {
        self.captured - self.refunded
    }
}

impl ProviderLedger {
    pub(super) fn of(items: Vec<LedgerLine>) -> Self {
        let mut ledger = Self::default();
        for line in items {
            ledger.lines.entry(line.reference.clone()).or_default().push(line);
        }
        ledger
    }

    /// Reads the ledger of a sandbox provider.
    pub(super) async fn read(url: &str) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
        let url = format!("{}/v1/ledger", url.trim_end_matches('/'));
        let doc: LedgerDoc = client.get(url).send().await?.error_for_status()?.json().await?;
        Ok(Self::of(doc.items))
    }
}
