//! `configure`: creates a sale or changes its settings, under a version.

use queue_token::SaleId;

use crate::{Clock, Line, LineError, Settings};

/// Under which condition new settings are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever stands.
    Any,
    /// The sale must not exist.
    Absent,
    /// The settings must have this version.
    Version(u64),
    /// The sale must not exist in this Redis, though it did: a gateway brings back what it knows, with at least this
    /// version. The bucket starts empty, so a loss mints nothing.
    Lost(u64),
    /// The settings were restored from older data: they have the version that was `found`, and a gateway that knows later
    /// ones puts those back, with at least the version that it has `known` them by.
    Restored {
        /// What stands now.
        found: u64,
        /// What stood before.
        known: u64,
    },
}

impl Line {
    /// Stores settings and answers their version. `opens_at_us` is the opening time of a scheduled sale in
    /// microseconds of the Unix epoch. The settings must have been checked.
    ///
    /// # Errors
    /// [`LineError::Conflict`] when the expectation does not hold; otherwise when Redis does not answer.
    pub async fn configure(
        &self,
        sale: &SaleId,
        settings: &Settings,
        opens_at_us: Option<u64>,
        expect: Expect,
        clock: Clock,
    ) -> Result<u64, LineError> {
        self.configure_from(None, sale, settings, opens_at_us, expect, clock).await
    }

    /// The same with settings that come from a file: its digest is kept beside them, until those of another file come.
    ///
    /// # Errors
    /// See [`Line::configure`].
    pub async fn configure_from(
        &self,
        file_digest: Option<&str>,
        sale: &SaleId,
        settings: &Settings,
        opens_at_us: Option<u64>,
        expect: Expect,
        clock: Clock,
    ) -> Result<u64, LineError> {
        let attempt = "configure";
        let json =
            serde_json::to_string(settings).map_err(|error| LineError::Corrupt { attempt, what: error.to_string() })?;
        let (expected, at_least, restored) = match expect {
            Expect::Any => (String::new(), 1, "0"),
            Expect::Absent => ("0".to_owned(), 1, "0"),
            Expect::Version(version) => (version.to_string(), 1, "0"),
            Expect::Lost(version) => ("0".to_owned(), version, "1"),
            Expect::Restored { found, known } => (found.to_string(), known, "0"),
        };
        let arguments = [
            clock.argument(),
            expected,
            at_least.to_string(),
            restored.to_owned(),
            json,
            settings.state.as_str().to_owned(),
            opens_at_us.unwrap_or(0).to_string(),
            settings.rate_milli().to_string(),
            settings.burst().to_string(),
            settings.max_inside.to_string(),
            (settings.pass_ttl_s * 1000).to_string(),
            (settings.claim_window_s * 1000).to_string(),
            if settings.health_path.is_some() { "1" } else { "0" }.to_owned(),
            file_digest.unwrap_or_default().to_owned(),
        ];
        let (verdict, version): (String, u64) = self.call(attempt, sale, &arguments).await?;
        match verdict.as_str() {
            "ok" => Ok(version),
            "conflict" => Err(LineError::Conflict { current: version }),
            _ => Err(LineError::Corrupt { attempt, what: verdict }),
        }
    }
}
