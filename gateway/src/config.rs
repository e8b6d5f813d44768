//! The gateway's whole configuration: one TOML file, then `--set KEY=VALUE` over it.
//!
//! Unknown keys refuse to start. Secrets stand in files of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

mod limits;

pub use limits::Limits;

/// Everything an operator may set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where fans are served.
    pub listen: SocketAddr,
    /// Where organisers and operators are served.
    pub control_listen: SocketAddr,
    /// File with the bearer token of the control API.
    pub control_token_file: PathBuf,
    /// File with the signing keys, made by `usher-gateway keys new`, the same for all gateways.
    pub keys_file: PathBuf,
    /// The line's Redis.
    pub redis_url: String,
    /// Origin nodes as `host:port`.
    pub upstreams: Vec<SocketAddr>,
    /// Where an origin node says that it is ready.
    #[serde(default = "default_health_path")]
    pub health_path: String,
    /// Paths of the origin that no fan reaches, with all that lies below them: there it speaks with gateways.
    #[serde(default = "default_private_paths")]
    pub private_paths: Vec<String>,
    /// Directory of sales that stand in files, one `NAME.toml` per sale; read at start and whenever a file changes.
    #[serde(default)]
    pub sales_dir: Option<PathBuf>,
    /// Whether cookies are `Secure` and carry the `__Host-` prefix. Off only for development without TLS.
    #[serde(default = "default_true")]
    pub secure_cookies: bool,
    /// How many proxies of ours stand before the gateway: 0 believes no `X-Forwarded-For`.
    #[serde(default)]
    pub trusted_hops: usize,
    /// Threads that serve fans; 0 means one per core.
    #[serde(default)]
    pub threads: usize,
    /// How long requests under way may take to end after a signal to stop, in seconds. The port closes at once.
    #[serde(default = "default_grace_s")]
    pub shutdown_grace_s: u64,
    /// Client limits and bounds.
    #[serde(default)]
    pub limits: Limits,
    /// Times of the line's jobs.
    #[serde(default)]
    pub line: LineTimes,
}

/// Times of the jobs that keep a sale going.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LineTimes {
    /// Between two ticks of one gateway, in milliseconds.
    pub tick_ms: u64,
    /// Between two looks at a sale's snapshot, in milliseconds.
    pub snapshot_ms: u64,
    /// Life of a place token, in seconds.
    pub place_life_s: u64,
}

impl Default for LineTimes {
    fn default() -> Self {
        Self { tick_ms: 100, snapshot_ms: 500, place_life_s: 86_400 }
    }
}

fn default_health_path() -> String {
    "/readyz".to_owned()
}

fn default_private_paths() -> Vec<String> {
    vec!["/admission".to_owned()]
}

fn default_grace_s() -> u64 {
    10
}

fn default_true() -> bool {
    true
}

impl Config {
    /// Reads the file, then lays the `KEY=VALUE` settings over it. Relative paths are relative to the file.
    ///
    /// # Errors
    /// When the file cannot be read, or a key is unknown or out of bounds; the message names it.
    pub fn load(file: &Path, overrides: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut table: toml::Table = text.parse().with_context(|| format!("in {}", file.display()))?;
        for setting in overrides {
            apply(&mut table, setting)?;
        }
        let mut config: Self = table.try_into().with_context(|| format!("in {}", file.display()))?;
        let base = file.parent().unwrap_or(Path::new("."));
        config.control_token_file = base.join(&config.control_token_file);
        config.keys_file = base.join(&config.keys_file);
        config.sales_dir = config.sales_dir.map(|dir| base.join(dir));
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if self.upstreams.is_empty() {
            bail!("upstreams: at least one origin node is needed");
        }
        if !self.health_path.starts_with('/') {
            bail!("health_path: must start with '/'");
        }
        if let Some(path) = self.private_paths.iter().find(|path| !path.starts_with('/') || path.as_str() == "/") {
            bail!("private_paths: {path:?} must start with '/' and name something below it");
        }
        self.limits.check()?;
        if !(10..=1_000).contains(&self.line.tick_ms) {
            bail!("line.tick_ms: must be from 10 to 1000");
        }
        if !(50..=1_000).contains(&self.line.snapshot_ms) {
            bail!("line.snapshot_ms: must be from 50 to 1000");
        }
        if !(60..=86_400).contains(&self.line.place_life_s) {
            bail!("line.place_life_s: must be from 60 to 86400, for as long as the line remembers used places");
        }
        Ok(())
    }
}

/// Lays one `dotted.key=value` over the table; the value is TOML where it reads as such, else text.
fn apply(table: &mut toml::Table, setting: &str) -> Result<()> {
    let Some((key, value)) = setting.split_once('=') else {
        bail!("--set {setting}: expected KEY=VALUE");
    };
    let value = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut place = table;
    for part in parts {
        let next = place.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let toml::Value::Table(inner) = next else {
            bail!("--set {setting}: {part} is not a table");
        };
        place = inner;
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        listen = "127.0.0.1:0"
        control_listen = "127.0.0.1:0"
        control_token_file = "token"
        keys_file = "keys.json"
        redis_url = "redis://127.0.0.1/"
        upstreams = ["127.0.0.1:9000"]
    "#;

    fn load(overrides: &[&str]) -> Result<Config> {
        let dir = std::env::temp_dir().join(format!("usher-gateway-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let file = dir.join(format!("{}.toml", overrides.join("-").replace(['/', '='], "_")));
        std::fs::write(&file, FILE)?;
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Config::load(&file, &overrides)
    }

    #[test]
    fn settings_are_laid_over_the_file() {
        let config = load(&["limits.visitor_per_s=7", "redis_url=redis://other/"]).unwrap();
        assert_eq!(config.limits.visitor_per_s, 7);
        assert_eq!(config.limits.headers_max, 64);
        assert_eq!(config.redis_url, "redis://other/");
        assert!(config.keys_file.is_absolute());
    }

    #[test]
    fn the_commented_example_is_complete_and_true() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/gateway.toml");
        let example: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        Config::load(&file, &[]).unwrap();
        assert_eq!(example["limits"].as_table().unwrap().len(), 18, "every limit is shown");
        assert_eq!(example["line"].as_table().unwrap().len(), 3, "every time is shown");
        assert_eq!(example.len(), 15, "every key is shown");
    }

    #[test]
    fn unknown_keys_and_bad_values_refuse_to_start() {
        for bad in [
            "nonsense=1",
            "limits.nonsense=1",
            "line.tick_ms=5",
            "limits.keepalive_ms=1",
            "listen.x=1",
            "upstreams=[]",
            "private_paths=[\"/\"]",
            "lonely",
        ] {
            assert!(load(&[bad]).is_err(), "{bad}");
        }
        let message = format!("{:#}", load(&["limits.nonsense=1"]).unwrap_err());
        assert!(message.contains("nonsense"), "{message}");
    }
}
