//! What Postgres holds at first, and the sale that guards it.
//!
//! Migrations and imports run once per booking program and description, in a server of their own; later
//! stacks copy the outcome.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::binaries;
use crate::cache::{Entry, Key};
use crate::configuration::{self, Ports, Secrets};
use crate::error::{Result, StackError};
use crate::find;
use crate::identity::MARKER;
use crate::options::{Fixture, Pace};
use crate::postgres::{self, Postgres, PostgresOptions};
use crate::run::run;
use crate::workdir::Workdir;

/// The seats of the arena, besides its floor.
const ARENA: &[&str] = &["--seats", "12000", "--tiers", "4"];

/// A sale and the event that it guards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sale {
    pub(crate) id: String,
    event: String,
}

impl Sale {
    /// The settings to create it with: shop page, holds and bookings of its event are guarded; `governed` gives the
    /// booking nodes a say on the rate.
    pub(crate) fn settings(&self, pace: Pace, governed: bool) -> String {
        let event = &self.event;
        json!({
            "rate_per_min": pace.rate_per_min,
            "burst": pace.burst,
            "max_inside": pace.max_inside,
            "pass_ttl_s": 600,
            "claim_window_s": 60,
            "state": "open",
            "health_path": governed.then(|| format!("/admission/health?event={event}")),
            "paths": [
                { "path": format!("/events/{event}") },
                { "path": format!("/v1/events/{event}/holds"), "methods": ["POST"] },
                { "path": format!("/v1/events/{event}/bookings"), "methods": ["POST"] },
            ],
        })
        .to_string()
    }
}

/// The sales of a fixture.
pub(crate) fn sales(fixture: &Fixture) -> Result<Vec<Sale>> {
    let mut sales = Vec::new();
    for file in descriptions(fixture)? {
        let description = read_description(&file)?;
        let text = |key: &str| description.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        if let (Some(event), Some(id)) = (text("id"), text("sale")) {
            sales.push(Sale { id, event });
        }
    }
    Ok(sales)
}

/// A data directory with the tables and the fixture in it.
pub(crate) fn prepared(fixture: &Fixture) -> Result<Entry> {
    let booking = binaries::find("usher-booking")?;
    let files = descriptions(fixture)?;
    let mut key = Key::new("fixture").with(find::postgres()?.version).with(identity_of(&booking)?);
    for file in &files {
        key = key.with(file.as_os_str().as_encoded_bytes()).with(read(file)?);
        for companion in companions(file)? {
            // The arena's plan is made from the program and so stands for itself.
            key = key.with(read(&companion).unwrap_or_default());
        }
    }
    if *fixture == Fixture::Demo {
        key = key.with(ARENA.join(" "));
    }
    Entry::get(key, |path| prepare(fixture, &files, &booking, path))
}

fn prepare(fixture: &Fixture, files: &[PathBuf], booking: &Path, path: &Path) -> Result<()> {
    let workdir = Workdir::temporary()?;
    // Nothing here needs to survive a power cut: it is copied when it is whole.
    let hurried = PostgresOptions { settings: vec![("fsync".to_owned(), "off".to_owned())] };
    let server = Postgres::start_in(&workdir, &postgres::base()?, &hurried)?;
    let config = workdir.path().join("booking.toml");
    let secrets = Secrets::make(workdir.path())?;
    let nowhere = Ports { public: 0, private: 0 };
    configuration::booking(&config, &secrets, nowhere, &server.url(), "http://127.0.0.1:9", &[nowhere])?;
    let booking = |arguments: &[&str], file: Option<&Path>| {
        let mut command = Command::new(booking);
        command.env(MARKER, workdir.path()).current_dir(workdir.path()).args(arguments);
        command.args(file);
        run(command, &format!("usher-booking {}", arguments.join(" ")), "").map(drop)
    };
    booking(&["migrate", "--config", "booking.toml"], None)?;
    if *fixture == Fixture::Demo {
        let generate = ["admin", "plan", "generate", "--out", "plan.json", "--sidecar", "sidecar.json"];
        booking(&[&generate, ARENA].concat(), None)?;
    }
    for file in files {
        let file = if *fixture == Fixture::Demo { beside_plan(file, workdir.path())? } else { file.clone() };
        booking(&["admin", "event", "import", "--config", "booking.toml"], Some(&file))?;
    }
    postgres::keep(server.stop_cleanly()?, server.password(), path)
}

/// The demo's descriptions name a generated plan that lies beside them.
fn beside_plan(file: &Path, dir: &Path) -> Result<PathBuf> {
    let copy = dir.join(file.file_name().unwrap_or_default());
    std::fs::copy(file, &copy).map_err(StackError::io(format!("copying {}", file.display())))?;
    Ok(copy)
}

fn descriptions(fixture: &Fixture) -> Result<Vec<PathBuf>> {
    match fixture {
        Fixture::Empty => Ok(Vec::new()),
        Fixture::File(file) => Ok(vec![file.clone()]),
        Fixture::Demo => {
            let demo =
                binaries::workspace().map(|root| root.join("config/demo")).ok_or_else(|| StackError::Missing {
                    what: "config/demo".to_owned(),
                    hint: "the demo fixture is read from the workspace that this program was built in".to_owned(),
                })?;
            Ok(vec![demo.join("demo-arena.toml"), demo.join("demo-club.toml")])
        }
    }
}

fn companions(file: &Path) -> Result<Vec<PathBuf>> {
    let description = read_description(file)?;
    let directory = file.parent().unwrap_or(Path::new("."));
    let named = |key: &str| description.get(key).and_then(toml::Value::as_str).map(|name| directory.join(name));
    Ok(["plan", "sidecar"].into_iter().filter_map(named).collect())
}

fn read_description(file: &Path) -> Result<toml::Table> {
    let text = String::from_utf8_lossy(&read(file)?).into_owned();
    text.parse().map_err(|problem: toml::de::Error| {
        StackError::Unsupported(format!("{} is no event description: {problem}", file.display()))
    })
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(StackError::io(format!("reading {}", file.display())))
}

/// What changes whenever a program is built anew; its content would take longer to read than the copy it saves.
fn identity_of(program: &Path) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let meta = program.metadata().map_err(StackError::io(format!("looking at {}", program.display())))?;
    Ok(format!("{} {} {}.{}", program.display(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_one_sale_and_it_guards_page_holds_and_bookings() {
        let sales = sales(&Fixture::Demo).unwrap();
        assert_eq!(sales, [Sale { id: "demo".into(), event: "demo-arena".into() }]);
        let settings: serde_json::Value = serde_json::from_str(&sales[0].settings(Pace::default(), true)).unwrap();
        assert_eq!(settings["health_path"], "/admission/health?event=demo-arena");
        assert_eq!(settings["paths"][0], json!({ "path": "/events/demo-arena" }));
        assert_eq!(settings["paths"][1]["path"], "/v1/events/demo-arena/holds");
        assert_eq!(settings["paths"][2]["methods"], json!(["POST"]));
        assert!(super::sales(&Fixture::Empty).unwrap().is_empty());
    }
}
