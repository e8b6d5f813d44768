//! What an organiser sets for a sale: parsed, bounded, and with its defaults filled in.

use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};

/// A rate is held in thousandths per minute.
const RATE_MIN_PER_MIN: f64 = 0.001;
const RATE_MAX_PER_MIN: f64 = 1_000_000.0;
const BURST_MAX: u64 = 100_000;
const MAX_INSIDE_MAX: u64 = 10_000_000;
const TTL_MAX_S: u64 = 86_400;
const HEALTH_P99_MAX_MS: u64 = 60_000;

/// Whether a sale lets people in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum SaleState {
    /// Visitors may join; they are called from `opens_at` on.
    Scheduled,
    /// Visitors are called.
    #[default]
    Open,
    /// Visitors may join; nobody is called.
    Paused,
    /// Nobody may join, since nothing is left.
    SoldOut,
    /// Nobody may join.
    Closed,
}

impl SaleState {
    /// The word used everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::SoldOut => "sold_out",
            Self::Closed => "closed",
        }
    }
}

/// In which order visitors are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Whoever arrived first is called first.
    #[default]
    Arrival,
}

/// What happens to visitors while Redis does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// Nobody is admitted; places are still given.
    #[default]
    Hold,
    /// Everybody is let through.
    Open,
    /// Nobody is admitted and nobody may join.
    Closed,
}

/// A path that a sale guards: itself and all that lies below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardedPath {
    /// Absolute path.
    pub path: String,
    /// Guarded methods; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
}

/// Settings of a sale as they stand in the control API and in Redis. What a newer version stored beside them is ignored
/// when they are read, so that two versions of the gateway can run side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Visitors called per minute.
    pub rate_per_min: f64,
    /// Most visitors called at once after a lull; default one second's worth, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Most visitors called or inside at a time.
    pub max_inside: u64,
    /// Life of a pass in seconds.
    #[serde(default = "default_pass_ttl_s")]
    pub pass_ttl_s: u64,
    /// How long a called visitor may take to claim, in seconds.
    #[serde(default = "default_claim_window_s")]
    pub claim_window_s: u64,
    /// Whether the sale lets people in.
    #[serde(default)]
    pub state: SaleState,
    /// When a scheduled sale opens, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<String>,
    /// Order of calling.
    #[serde(default)]
    pub order: Order,
    /// Policy while Redis does not answer.
    #[serde(default)]
    pub outage: Outage,
    /// What the sale guards.
    #[serde(default)]
    pub paths: Vec<GuardedPath>,
    /// Hosts on which it guards; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Message to those who wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where each origin node tells how it is, so that it has a say on the rate: path and query. Without it the rate is the
    /// organiser's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
    /// Holds that take longer than this, in milliseconds, count as suffering.
    #[serde(default = "default_health_p99_ms")]
    pub health_p99_ms: u64,
}

fn default_pass_ttl_s() -> u64 {
    600
}

fn default_claim_window_s() -> u64 {
    60
}

fn default_health_p99_ms() -> u64 {
    500
}

/// What is wrong with settings: the member and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct SettingsError {
    /// JSON pointer to the member.
    pub pointer: String,
    /// What it must be.
    pub detail: String,
}

fn wrong(pointer: &str, detail: impl Into<String>) -> SettingsError {
    SettingsError { pointer: pointer.to_owned(), detail: detail.into() }
}

/// A JSON pointer to where reading stopped.
fn pointer_to(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{key}")),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// Whether a text can stand in a request's first line, as the gateway builds it.
fn is_request_target(text: &str) -> bool {
    let is_plain =
        text.starts_with('/') && text.len() <= 1024 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    is_plain && text.parse::<PathAndQuery>().is_ok()
}

/// Every member that an organiser may send.
const MEMBERS: [&str; 14] = [
    "rate_per_min",
    "burst",
    "max_inside",
    "pass_ttl_s",
    "claim_window_s",
    "state",
    "opens_at",
    "order",
    "outage",
    "paths",
    "hosts",
    "message",
    "health_path",
    "health_p99_ms",
];

impl Settings {
    /// Reads what an organiser sent: unknown members are refused, since they would be silently without effect.
    ///
    /// # Errors
    /// What cannot be read, with the member when it is known.
    pub fn parse_strictly(json: &[u8]) -> Result<Self, SettingsError> {
        let value: serde_json::Value = serde_json::from_slice(json).map_err(|e| wrong("", e.to_string()))?;
        let stray = value.as_object().and_then(|o| o.keys().find(|key| !MEMBERS.contains(&key.as_str())));
        if let Some(stray) = stray {
            return Err(wrong(&format!("/{stray}"), "is not a setting"));
        }
        serde_path_to_error::deserialize(value).map_err(|e| wrong(&pointer_to(e.path()), e.inner().to_string()))
    }

    /// Checks every bound; lists all faults.
    ///
    /// # Errors
    /// Every member that is out of bounds.
    pub fn check(&self) -> Result<(), Vec<SettingsError>> {
        let mut faults = Vec::new();
        if !(RATE_MIN_PER_MIN..=RATE_MAX_PER_MIN).contains(&self.rate_per_min) {
            faults.push(wrong("/rate_per_min", format!("must be from {RATE_MIN_PER_MIN} to {RATE_MAX_PER_MIN}")));
        }
        if self.burst.is_some_and(|burst| !(1..=BURST_MAX).contains(&burst)) {
            faults.push(wrong("/burst", format!("must be from 1 to {BURST_MAX}")));
        }
        if !(1..=MAX_INSIDE_MAX).contains(&self.max_inside) {
            faults.push(wrong("/max_inside", format!("must be from 1 to {MAX_INSIDE_MAX}")));
        }
        if !(1..=TTL_MAX_S).contains(&self.pass_ttl_s) {
            faults.push(wrong("/pass_ttl_s", format!("must be from 1 to {TTL_MAX_S}")));
        }
        if !(1..=TTL_MAX_S).contains(&self.claim_window_s) {
            faults.push(wrong("/claim_window_s", format!("must be from 1 to {TTL_MAX_S}")));
        }
        if self.state == SaleState::Scheduled && self.opens_at.is_none() {
            faults.push(wrong("/opens_at", "is needed while the state is scheduled"));
        }
        if self.paths.len() > 100 {
            faults.push(wrong("/paths", "must be at most 100"));
        }
        for (index, guarded) in self.paths.iter().enumerate() {
            if !guarded.path.starts_with('/') || guarded.path.len() > 1024 {
                faults.push(wrong(&format!("/paths/{index}/path"), "must start with '/' and be at most 1024 bytes"));
            }
            if guarded.methods.iter().any(|m| m.is_empty() || !m.bytes().all(|b| b.is_ascii_uppercase())) {
                faults.push(wrong(&format!("/paths/{index}/methods"), "must be methods in capitals"));
            }
        }
        if self.message.as_ref().is_some_and(|message| message.chars().count() > 1000) {
            faults.push(wrong("/message", "must be at most 1000 characters"));
        }
        if self.health_path.as_ref().is_some_and(|path| !is_request_target(path)) {
            faults.push(wrong(
                "/health_path",
                "must be a path and query of at most 1024 characters, as requests carry them",
            ));
        }
        if !(1..=HEALTH_P99_MAX_MS).contains(&self.health_p99_ms) {
            faults.push(wrong("/health_p99_ms", format!("must be from 1 to {HEALTH_P99_MAX_MS}")));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The rate in thousandths per minute, as the bucket counts it.
    pub fn rate_milli(&self) -> u64 {
        // Checked settings are far inside the exact range; the cast saturates otherwise.
        (self.rate_per_min * 1000.0).round().max(1.0) as u64
    }

    /// The burst in force.
    pub fn burst(&self) -> u64 {
        self.burst.unwrap_or_else(|| (self.rate_per_min / 60.0).ceil().clamp(1.0, BURST_MAX as f64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn defaults_are_filled_in() {
        let s = settings(r#"{"rate_per_min": 90, "max_inside": 5}"#);
        assert_eq!((s.burst(), s.rate_milli(), s.state), (2, 90_000, SaleState::Open));
        assert_eq!(settings(r#"{"rate_per_min": 0.5, "max_inside": 1}"#).burst(), 1);
        assert!(s.check().is_ok());
    }

    #[test]
    fn every_fault_is_listed_with_its_pointer() {
        let s = settings(
            r#"{"rate_per_min": 0, "burst": 0, "max_inside": 0, "pass_ttl_s": 0, "claim_window_s": 100000,
               "state": "scheduled", "paths": [{"path": "x", "methods": ["post"]}], "health_path": "health",
               "health_p99_ms": 0}"#,
        );
        let pointers: Vec<_> = s.check().unwrap_err().into_iter().map(|e| e.pointer).collect();
        let expected = [
            "/rate_per_min",
            "/burst",
            "/max_inside",
            "/pass_ttl_s",
            "/claim_window_s",
            "/opens_at",
            "/paths/0/path",
            "/paths/0/methods",
            "/health_path",
            "/health_p99_ms",
        ];
        assert_eq!(pointers, expected);
    }

    #[test]
    fn a_health_path_is_one_that_a_request_can_carry() {
        let check = |path: &str| {
            let path = Some(path.to_owned());
            let settings = settings(r#"{"rate_per_min": 1, "max_inside": 1}"#);
            Settings { health_path: path, ..settings }.check().is_ok()
        };
        for good in ["/", "/admission/health?event=demo-arena", "/how?are=you&x=%3C", "/a//b;c=1"] {
            assert!(check(good), "{good}");
        }
        for bad in ["", "how", "/a b", "/ü", "/a#b", "/<a>", "/a`b", "/a?b=\"c\"", "/a?b=<c>"] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn unknown_members_are_refused_from_organisers_and_ignored_from_storage() {
        let json = br#"{"rate_per_min":1,"max_inside":1,"rate":3}"#;
        assert_eq!(Settings::parse_strictly(json).unwrap_err().pointer, "/rate");
        assert!(serde_json::from_slice::<Settings>(json).is_ok());
        let of_wrong_type = br#"{"rate_per_min":1,"max_inside":1,"paths":[{"path":7}]}"#;
        assert_eq!(Settings::parse_strictly(of_wrong_type).unwrap_err().pointer, "/paths/0/path");
        assert!(Settings::parse_strictly(b"[]").is_err() && Settings::parse_strictly(b"{").is_err());
    }
}
