//! A hall of sixty thousand seats: one event that no sale guards, on one booking node of a private stack.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stack::{Fixture, Setting, Stack, StackOptions, binaries};
use tempfile::TempDir;

use crate::cores::Core;

/// How many seats it has.
pub(crate) const SEATS: usize = 60_000;
/// Its event.
pub(crate) const EVENT: &str = "stadium";

/// A running stack with the event in it.
pub(crate) struct Hall {
    stack: Stack,
    _folder: TempDir,
}

impl Hall {
    /// Starts it, with these settings of the booking node.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn open(settings: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let description = describe(folder.path())?;
        let options = StackOptions {
            fixture: Fixture::File(description),
            settings: settings.iter().map(|setting| Setting::Booking((*setting).to_owned())).collect(),
            build: false,
            ..StackOptions::default()
        };
        let stack = Stack::up(&options).context("starting the stack")?;
        let pids = &stack.ready().pids;
        Core::Measured.take(pids.booking[0])?;
        for pid in pids.redis.iter().chain(&pids.gateway).chain([&pids.psp]) {
            Core::Rest.take(*pid)?;
        }
        Ok(Self { stack, _folder: folder })
    }

    /// The booking node's URL.
    pub(crate) fn url(&self) -> &str {
        &self.stack.ready().booking[0]
    }

    /// The booking node's process.
    pub(crate) fn pid(&self) -> u32 {
        self.stack.ready().pids.booking[0]
    }

    /// The ids of all seats, in their order.
    ///
    /// # Errors
    /// When the plan cannot be read.
    pub(crate) async fn seats(&self, client: &reqwest::Client) -> Result<Vec<String>> {
        let plan: Value = client.get(format!("{}/v1/events/{EVENT}/plan", self.url())).send().await?.json().await?;
        let list = |value: &Value, member: &str| value[member].as_array().cloned().unwrap_or_default();
        let rows = list(&plan, "zones").into_iter().flat_map(|zone| list(&zone, "rows"));
        let seats = rows.flat_map(|row| list(&row, "seats"));
        Ok(seats.filter_map(|seat| seat["seat_guid"].as_str().map(str::to_owned)).collect())
    }
}

/// Writes plan, sidecar and description.
fn describe(folder: &Path) -> Result<std::path::PathBuf> {
    let mut command = Command::new(binaries::find("usher-booking")?);
    command.args(["admin", "plan", "generate", "--tiers", "6", "--floor", "0", "--seats", &SEATS.to_string()]);
    command.arg("--out").arg(folder.join("plan.json")).arg("--sidecar").arg(folder.join("sidecar.json"));
    let made = command.output().context("generating a plan")?;
    ensure!(made.status.success(), "no plan was generated: {}", String::from_utf8_lossy(&made.stderr));
    let file = folder.join("event.toml");
    let text = format!(
        "id = \"{EVENT}\"\nname = \"Stadium\"\nstarts_at = \"2030-01-01T20:00:00Z\"\ncurrency = \"EUR\"\n\
         venue = \"Stadium\"\ncity = \"Porto\"\nplan = \"plan.json\"\nsidecar = \"sidecar.json\"\n"
    );
    std::fs::write(&file, text)?;
    Ok(file)
}
