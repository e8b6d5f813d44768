//! The whole configuration of the booking core.
//!
//! One TOML file, then `--set KEY=VALUE` over it. Unknown keys refuse to start. Secrets are read from the
//! files that the configuration names; paths are relative to the configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use secrecy::SecretString;
use serde::Deserialize;

/// The configuration as it stands in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the public routes are served.
    pub listen: String,
    /// Where health, metrics and organisers' routes are served.
    pub admin_listen: String,
    /// File of the bearer token of organisers' routes.
    pub organiser_token_file: PathBuf,
    /// File of 32 random bytes in hexadecimal that sign buyer tokens and ticket codes; the same on all nodes.
    pub buyer_key_file: PathBuf,
    /// Published key sets that passes are checked against, tried in order.
    pub pass_keys_urls: Vec<String>,
    /// Whether cookies are `Secure` and carry the `__Host-` prefix.
    #[serde(default = "yes")]
    pub secure_cookies: bool,
    /// Postgres.
    pub database: Database,
    /// Payment providers.
    pub payments: Payments,
    /// Limits of holds.
    #[serde(default)]
    pub holds: Holds,
    /// How patient checkout is.
    #[serde(default)]
    pub checkout: Checkout,
    /// Background jobs.
    #[serde(default)]
    pub jobs: Jobs,
    /// The live map.
    #[serde(default)]
    pub live: Live,
}

/// How to reach Postgres.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Connection URL; may hold a password.
    pub url: SecretString,
    /// Connections of this node: two to four times the cores of the database, shared among the nodes.
    #[serde(default = "default_connections")]
    pub max_connections: u32,
    /// Connections of this node for callbacks and jobs alone, beside those.
    #[serde(default = "default_background_connections")]
    pub background_connections: u32,
    /// How long a request waits for a connection before it is answered 503.
    #[serde(default = "default_acquire_ms")]
    pub acquire_timeout_ms: u64,
}

/// Payment providers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payments {
    /// Which of them takes payments.
    #[serde(default)]
    pub provider: ProviderName,
    /// Base URL of the sandbox provider.
    #[serde(default)]
    pub sandbox_url: String,
    /// File of the secret that signs the sandbox provider's callbacks; without it none are taken.
    pub sandbox_webhook_secret_file: Option<PathBuf>,
    /// How long one call to a provider may take.
    #[serde(default = "default_provider_ms")]
    pub provider_timeout_ms: u64,
    /// How long a confirmation waits for its payment before it is answered 202.
    #[serde(default = "default_answer_ms")]
    pub answer_within_ms: u64,
    /// How long seats stay pending before an unknown payment counts as never made.
    #[serde(default = "default_pending_s")]
    pub pending_s: u32,
    /// Stripe, when it is the one.
    pub stripe: Option<StripeAccount>,
}

/// The names of the providers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderName {
    /// The sandbox: no money moves.
    #[default]
    Sandbox,
    /// Stripe.
    Stripe,
}

/// How to reach Stripe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StripeAccount {
    /// Base URL of its API.
    #[serde(default = "default_stripe_url")]
    pub api_url: String,
    /// File of the secret key.
    pub secret_key_file: PathBuf,
    /// File of the secret that signs its callbacks.
    pub webhook_secret_file: PathBuf,
}

fn default_stripe_url() -> String {
    "https://api.stripe.com".to_owned()
}

/// Limits of holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Holds {
    /// How long a hold lives.
    pub ttl_s: u32,
    /// How long a hold lives at most when it is prolonged, by whatever it is, from its making.
    pub max_life_s: u32,
    /// Most places one visitor may hold and have bought, per event.
    pub max_seats_per_visitor: u32,
    /// Most live holds one visitor may have, per event.
    pub max_holds_per_visitor: u32,
}

impl Default for Holds {
    fn default() -> Self {
        Self { ttl_s: 600, max_life_s: 1200, max_seats_per_visitor: 10, max_holds_per_visitor: 10 }
    }
}

/// How patient checkout is.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkout {
    /// How long a buyer at least has to try again after a payment came to nothing.
    pub retry_s: u32,
    /// How long seats stay pending at most while the provider cannot be asked.
    pub pending_cap_s: u32,
    /// After so many calls in a row without an answer the provider counts as down.
    pub breaker_failures: u32,
    /// How long it is left alone then, before one call tries it again.
    pub breaker_pause_ms: u64,
    /// Where announcements are posted; without it they are written to the log. Its path or query may be a secret.
    pub outbox_url: Option<SecretString>,
    /// After so many tries an announcement is set aside.
    pub outbox_tries: u32,
    /// Whether ordinary bookings and payments are taken many at a time; without it each goes the general way.
    pub till: bool,
}

impl Default for Checkout {
    fn default() -> Self {
        Self {
            retry_s: 120,
            pending_cap_s: 900,
            breaker_failures: 5,
            breaker_pause_ms: 2000,
            outbox_url: None,
            outbox_tries: 10,
            till: true,
        }
    }
}

/// Background jobs.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jobs {
    /// Whether the role `serve` runs them too.
    pub run: bool,
    /// How often lapsed holds are swept.
    pub sweep_every_ms: u64,
    /// How often open payments are looked for.
    pub reconcile_every_ms: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { run: true, sweep_every_ms: 500, reconcile_every_ms: 1000 }
    }
}

/// The live map.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Live {
    /// Most viewers that follow events on this node at the same time; each needs a file descriptor.
    pub max_viewers: u32,
}

impl Default for Live {
    fn default() -> Self {
        Self { max_viewers: 15_000 }
    }
}

const fn yes() -> bool {
    true
}
const fn default_connections() -> u32 {
    16
}
const fn default_background_connections() -> u32 {
    4
}
const fn default_acquire_ms() -> u64 {
    2000
}
const fn default_provider_ms() -> u64 {
    10_000
}
const fn default_answer_ms() -> u64 {
    900
}
const fn default_pending_s() -> u32 {
    60
}

impl Payments {
    /// How long one call to a provider may take.
    #[must_use]
    pub const fn provider_timeout(&self) -> Duration {
        Duration::from_millis(self.provider_timeout_ms)
    }

    /// How long a confirmation waits for its payment.
    #[must_use]
    pub const fn answer_within(&self) -> Duration {
        Duration::from_millis(self.answer_within_ms)
    }
}

impl Config {
    /// Reads the file, lays the overrides over it and checks the whole.
    ///
    /// # Errors
    /// When the file cannot be read, has unknown or missing keys, or a value makes no sense.
    pub fn load(file: &Path, overrides: &[String]) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let mut config = Self::from_text(&text, overrides).with_context(|| format!("in {}", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        config.organiser_token_file = folder.join(&config.organiser_token_file);
        config.buyer_key_file = folder.join(&config.buyer_key_file);
        let secrets = config.payments.sandbox_webhook_secret_file.iter_mut();
        let stripe = config.payments.stripe.iter_mut();
        let secrets = secrets.chain(stripe.flat_map(|it| [&mut it.secret_key_file, &mut it.webhook_secret_file]));
        secrets.for_each(|file| *file = folder.join(&*file));
        Ok(config)
    }

    fn from_text(text: &str, overrides: &[String]) -> anyhow::Result<Self> {
        let mut table: toml::Table = text.parse()?;
        for set in overrides {
            let (key, value) = set.split_once('=').with_context(|| format!("--set {set}: write KEY=VALUE"))?;
            insert(&mut table, key, parse_value(value)).with_context(|| format!("--set {set}"))?;
        }
        let config: Self = table.try_into()?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!((1..=86_400).contains(&self.holds.ttl_s), "holds.ttl_s is 1 to 86400");
        ensure!((1..=86_400).contains(&self.holds.max_life_s), "holds.max_life_s is 1 to 86400");
        ensure!((1..=1000).contains(&self.holds.max_seats_per_visitor), "holds.max_seats_per_visitor is 1 to 1000");
        ensure!((1..=1000).contains(&self.holds.max_holds_per_visitor), "holds.max_holds_per_visitor is 1 to 1000");
        ensure!((2..=1000).contains(&self.database.max_connections), "database.max_connections is 2 to 1000");
        ensure!(
            (2..=1000).contains(&self.database.background_connections),
            "database.background_connections is 2 to 1000"
        );
        ensure!(
            self.checkout.pending_cap_s >= self.payments.pending_s,
            "checkout.pending_cap_s is at least payments.pending_s"
        );
        ensure!(self.checkout.breaker_failures > 0, "checkout.breaker_failures is above 0");
        ensure!((1..=1000).contains(&self.checkout.outbox_tries), "checkout.outbox_tries is 1 to 1000");
        let payments = &self.payments;
        let has_account = payments.provider != ProviderName::Stripe || payments.stripe.is_some();
        ensure!(has_account, "payments.stripe is needed by the provider stripe");
        let has_sandbox = payments.provider != ProviderName::Sandbox || !payments.sandbox_url.is_empty();
        ensure!(has_sandbox, "payments.sandbox_url is needed by the provider sandbox");
        ensure!(self.database.acquire_timeout_ms > 0, "database.acquire_timeout_ms is above 0");
        ensure!(self.jobs.sweep_every_ms >= 10, "jobs.sweep_every_ms is at least 10");
        ensure!(self.jobs.reconcile_every_ms >= 10, "jobs.reconcile_every_ms is at least 10");
        let pending_ms = u64::from(self.payments.pending_s) * 1000;
        ensure!(
            pending_ms > self.payments.provider_timeout_ms,
            "payments.pending_s must be longer than payments.provider_timeout_ms: \
             a call that is still running must not count as never made"
        );
        Ok(())
    }
}

/// A value as TOML reads it; what TOML cannot read is text.
fn parse_value(text: &str) -> toml::Value {
    let parsed = format!("value = {text}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("value"));
    parsed.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn insert(table: &mut toml::Table, path: &str, value: toml::Value) -> anyhow::Result<()> {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
            Ok(())
        }
        Some((head, rest)) => {
            let inner = table.entry(head).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            insert(inner.as_table_mut().with_context(|| format!("{head} is not a table"))?, rest, value)
        }
    }
}

/// Reads a secret file, without its trailing newline.
///
/// # Errors
/// When it cannot be read or is empty.
pub fn read_secret(file: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading the secret {}", file.display()))?;
    let text = text.trim();
    ensure!(!text.is_empty(), "the secret {} is empty", file.display());
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        listen = "127.0.0.1:0"
        admin_listen = "127.0.0.1:0"
        organiser_token_file = "organiser.token"
        buyer_key_file = "buyer.key"
        pass_keys_urls = []
        [database]
        url = "postgres://user:canary@host/db"
        [payments]
        sandbox_url = "http://127.0.0.1:1"
    "#;

    #[test]
    fn the_commented_example_is_complete_and_true() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/booking.toml");
        let example: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        Config::load(&file, &[]).unwrap();
        let tables = [("database", 4), ("payments", 7), ("holds", 4), ("checkout", 7), ("jobs", 3), ("live", 1)];
        for (table, keys) in tables {
            assert_eq!(example[table].as_table().unwrap().len(), keys, "every key of {table} is shown");
        }
        assert_eq!(example.len(), 6 + tables.len(), "every key is shown");
    }

    #[test]
    fn overrides_are_dotted_toml() {
        let set = ["holds.ttl_s=5", "secure_cookies=false", "payments.sandbox_url=http://x"].map(str::to_owned);
        let config = Config::from_text(GOOD, &set).unwrap();
        assert_eq!((config.holds.ttl_s, config.holds.max_seats_per_visitor), (5, 10));
        assert!(!config.secure_cookies && config.jobs.run);
        assert_eq!(config.payments.sandbox_url, "http://x");
    }

    #[test]
    fn what_is_unknown_or_senseless_refuses_to_start() {
        for (set, says) in [
            ("lisen=1", "lisen"),
            ("holds.ttl=5", "ttl"),
            ("jobs.run=maybe", "run"),
            ("holds.ttl_s=0", "ttl_s"),
            ("payments.pending_s=10", "still running"),
            ("payments.provider=cash", "provider"),
            ("payments.provider=stripe", "payments.stripe"),
            ("payments.sandbox_url=''", "sandbox_url"),
            ("nonsense", "KEY=VALUE"),
            ("listen.x=1", "not a table"),
        ] {
            let error = format!("{:#}", Config::from_text(GOOD, &[set.to_owned()]).expect_err(set));
            assert!(error.contains(says), "{set}: {error}");
        }
    }

    #[test]
    fn secrets_print_nothing() {
        let config = Config::from_text(GOOD, &[]).unwrap();
        assert!(!format!("{config:?}").contains("canary"));
    }
}
