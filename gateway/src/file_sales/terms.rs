//! What the file of a sale says: its settings, or the member that is wrong. Pure.

use queue::{Settings, SettingsError};
use queue_token::SaleId;
use sha2::{Digest, Sha256};

use crate::line::view::parse_time_us;

/// What a good file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terms {
    pub(super) sale: SaleId,
    pub(super) settings: Settings,
    pub(super) opens_at_us: Option<u64>,
    /// Of the whole text.
    pub(super) digest: String,
}

/// What the file of a sale says. Every fault names its member by a JSON pointer.
pub(super) fn parse(name: &str, text: &str) -> Result<Terms, String> {
    let sale: SaleId = name.parse().map_err(|error| format!("the file's name: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
    let json = to_json(toml::Value::Table(table)).to_string();
    let settings = Settings::parse_strictly(json.as_bytes()).map_err(|fault| told(&[fault]))?;
    settings.check().map_err(|faults| told(&faults))?;
    let opens_at_us = match settings.opens_at.as_deref() {
        None => None,
        Some(time) => Some(parse_time_us(time).ok_or("/opens_at: must be an RFC 3339 time")?),
    };
    let digest = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Terms { sale, settings, opens_at_us, digest })
}

fn told(faults: &[SettingsError]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The same document as JSON; a time becomes its text.
fn to_json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(to_json).collect(),
        toml::Value::Table(members) => {
            serde_json::Value::Object(members.into_iter().map(|(name, value)| (name, to_json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const GOOD: &str = "rate_per_min = 90\nmax_inside = 5\nopens_at = 2027-01-15T08:00:00Z\n[[paths]]\npath = \"/x\"\n";

    #[test]
    fn a_good_file_is_read() {
        let terms = parse("gala", GOOD).unwrap();
        assert_eq!((terms.settings.rate_per_min, terms.opens_at_us), (90.0, Some(1_800_000_000_000_000)));
        assert_eq!(terms.settings.paths[0].path, "/x");
        assert_eq!(terms.digest.len(), 64);
        assert_ne!(terms.digest, parse("gala", &GOOD.replace("90", "91")).unwrap().digest);
    }

    #[test]
    fn the_commented_example_is_good() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/sales/spring-gala.toml.example");
        parse("spring-gala", &std::fs::read_to_string(file).unwrap()).unwrap();
    }

    #[test]
    fn faults_name_their_members() {
        for (name, text, expected) in [
            ("gala", "rate_per_min = 90\nmax_inside = 0", "/max_inside: must be from 1 to 10000000"),
            ("gala", "rate = 90", "/rate: is not a setting"),
            ("gala", "rate_per_min = \"x\"\nmax_inside = 1", "/rate_per_min: "),
            ("gala", "rate_per_min = 1\nmax_inside = 1\npaths = [{path = 7}]", "/paths/0/path: "),
            ("gala", "rate_per_min = 1\nmax_inside = 1\nfile_digest = \"x\"", "/file_digest: is not a setting"),
            ("gala", "rate_per_min = 1\nmax_inside = 1\nopens_at = \"noon\"", "/opens_at: must be"),
            ("gala", "rate_per_min = ", "TOML parse error"),
            ("Gala Night", GOOD, "the file's name: "),
        ] {
            let fault = parse(name, text).unwrap_err();
            assert!(fault.starts_with(expected), "{fault}");
        }
    }
}
