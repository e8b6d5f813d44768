//! Reads the line's settings from the control API during the run, so that the audit knows the rate
//! at every moment even when an organiser changes it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use crate::history::{History, Kind, Settings};

/// How often the settings are read; a change is known to lie between two readings.
const EVERY: Duration = Duration::from_secs(1);

/// Where the control API is, and for which sale.
#[derive(Debug, Clone)]
pub struct Control {
    /// Base address.
    pub url: String,
    /// Bearer token.
    pub token: String,
    /// The sale.
    pub sale: String,
}

impl Control {
    /// The settings now; `None` when they cannot be had.
    pub async fn read(&self, client: &reqwest::Client, end_us: u64) -> Option<Settings> {
        let url = format!("{}/control/sales/{}", self.url.trim_end_matches('/'), self.sale);
        let answer = client.get(url).bearer_auth(&self.token).send().await.ok()?.error_for_status().ok()?;
        let body: Value = answer.json().await.ok()?;
        Some(settings_in(&body, Timestamp::now(), end_us))
    }

    /// Writes the settings to the history once a second until `done`, and once more then.
    pub(super) async fn follow(self, history: History, clock: Clock, done: CancellationToken) {
        let Ok(client) = client() else { return };
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                _ = ticks.tick() => false,
                () = done.cancelled() => true,
            };
            if let Some(settings) = self.read(&client, clock.now_us()).await {
                history.line(&settings).await;
            }
            if last {
                return;
            }
        }
    }
}

/// A client for control and provider: short waits, no proxy of the environment.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .connect_timeout(Duration::from_secs(2))
        .no_proxy()
        .build()
}

/// Settings stand either at the top or under `settings`; live numbers likewise under `live`.
fn settings_in(body: &Value, at: Timestamp, end_us: u64) -> Settings {
    let find = |name: &str| {
        [body.get(name), body.pointer(&format!("/settings/{name}")), body.pointer(&format!("/live/{name}"))]
            .into_iter()
            .flatten()
            .find(|value| !value.is_null())
    };
    Settings {
        at: at.to_string(),
        burst: find("burst").and_then(Value::as_f64),
        called_total: find("called_total").and_then(Value::as_u64),
        end_us,
        kind: Kind::Settings,
        rate_per_min: find("rate_per_min").and_then(Value::as_f64),
        state: find("state").and_then(Value::as_str).map(str::to_owned),
        version: find("version").and_then(Value::as_u64),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_found_flat_or_nested() {
        let flat = json!({ "rate_per_min": 600, "burst": 20, "state": "open", "version": 3, "called_total": 12 });
        let nested = json!({ "settings": { "rate_per_min": 600, "burst": 20, "state": "open" }, "version": 3, "live": { "called_total": 12 } });
        for body in [flat, nested] {
            let settings = settings_in(&body, Timestamp::UNIX_EPOCH, 5);
            assert_eq!((settings.rate_per_min, settings.burst), (Some(600.0), Some(20.0)));
            assert_eq!((settings.version, settings.called_total), (Some(3), Some(12)));
            assert_eq!(settings.state.as_deref(), Some("open"));
        }
    }
}
