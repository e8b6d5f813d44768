//! The box office of one event with sixty thousand seats and a floor, on one booking node of a private stack; beside it
//! `pgbench` on the same Postgres. Nothing is pinned: node, database and load share all cores, on both sides alike.
//!
//! A round that takes seats needs fresh ones: each gets a copy of the event.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use stack::{Fixture, Setting, Stack, StackOptions, binaries};
use tempfile::TempDir;

use crate::wrk::Load;

/// How many seats the event has.
pub(crate) const SEATS: usize = 60_000;
/// Connections of every round, and clients of `pgbench`.
const CLIENTS: &str = "64";
const EVENT: &str = "counter";

/// Tables that `pgbench` works on: a row per seat, a counter, and holds for whoever writes them down.
const PEERS: &str = "
create table peer_seat (event_id text, seat_no integer, state smallint not null default 0, hold_id uuid,
    expires_at timestamptz not null default 'epoch', primary key (event_id, seat_no)) with (fillfactor = 80);
insert into peer_seat (event_id, seat_no) select 'e', n from generate_series(0, 59999) n;
create table peer_area (event_id text primary key, held integer not null, capacity integer not null,
    check (held <= capacity)) with (fillfactor = 50);
insert into peer_area values ('e', 0, 2000000000);
create table peer_hold (event_id text, hold_id uuid, seat_no integer, expires_at timestamptz, primary key (event_id, hold_id));
analyze;";

/// A running stack with the event in it.
pub(crate) struct Counter {
    stack: Stack,
    folder: TempDir,
    copies: std::cell::Cell<u32>,
}

/// What a round of holds came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holds {
    /// All answers.
    pub(crate) load: Load,
    /// Those that were a hold, per second.
    pub(crate) held_per_s: f64,
}

impl Counter {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn open() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("usher-bench-").tempdir()?;
        let description = describe(folder.path())?;
        let settings = ["holds.ttl_s=3600"].map(|setting| Setting::Booking(setting.to_owned())).to_vec();
        let fixture = Fixture::File(description);
        let options = StackOptions { fixture, settings, build: false, ..StackOptions::default() };
        let stack = Stack::up(&options).context("starting the stack")?;
        std::fs::write(folder.path().join("holds.lua"), include_str!("holds.lua"))?;
        let counter = Self { stack, folder, copies: 0.into() };
        counter.sql(PEERS)?;
        counter.sql("update area set capacity = 100000000")?;
        Ok(counter)
    }

    /// The booking node's URL.
    pub(crate) fn url(&self) -> &str {
        &self.stack.ready().booking[0]
    }

    /// The processes behind it.
    pub(crate) fn pids(&self) -> &stack::Pids {
        &self.stack.ready().pids
    }

    /// What the provider signs its callbacks with.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn webhook_secret(&self) -> Result<String> {
        let file = Path::new(&self.stack.ready().dir).join("sandbox-webhook.secret");
        Ok(std::fs::read_to_string(file).context("the secret of callbacks")?.trim().to_owned())
    }

    /// Runs SQL beside the node.
    ///
    /// # Errors
    /// When Postgres refuses it.
    pub(crate) fn sql(&self, script: &str) -> Result<String> {
        Ok(self.stack.sql(script)?)
    }

    /// A fresh copy of the event; its id.
    ///
    /// # Errors
    /// When Postgres refuses it.
    pub(crate) fn fresh(&self) -> Result<String> {
        self.copies.set(self.copies.get() + 1);
        let id = format!("{EVENT}-{}", self.copies.get());
        for table in ["event", "price_category", "section", "seat", "area", "event_version"] {
            let columns = self.sql(&format!(
                "select string_agg(quote_ident(column_name), ', ') from information_schema.columns
                 where table_name = '{table}' and column_name <> 'event_id'"
            ))?;
            self.sql(&format!(
                "insert into {table} (event_id, {columns}) select '{id}', {columns} from {table} where event_id = '{EVENT}'"
            ))?;
        }
        self.sql("analyze seat")?;
        Ok(id)
    }

    /// The names of all seats, in their order.
    ///
    /// # Errors
    /// When Postgres refuses it.
    pub(crate) fn seats(&self) -> Result<Vec<String>> {
        let names = self.sql(&format!("select seat from seat where event_id = '{EVENT}' order by seat_no"))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// One round of requests for holds with these bodies in turn, on an event that nobody asked for before.
    ///
    /// # Errors
    /// When it cannot be played, or something was answered neither by a hold nor by a refusal.
    pub(crate) fn holds(&self, event: &str, bodies: &[String], seconds: u32) -> Result<Holds> {
        let file = self.folder.path().join("bodies");
        std::fs::write(&file, bodies.join("\n") + "\n")?;
        self.warm_up(event)?;
        let held = || self.sql(&format!("select count(*) from hold where event_id = '{event}'"));
        let before: f64 = held()?.parse()?;
        let mut wrk = Command::new("wrk");
        wrk.args(["-t", "1", "-c", CLIENTS, "-d", &format!("{seconds}s"), "--timeout", "5s", "-s"]);
        wrk.arg(self.folder.path().join("holds.lua")).arg(&self.stack.ready().booking[0]).arg("--");
        let output = wrk.arg(format!("/v1/events/{event}/holds")).arg(&file).output().context("running wrk")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "wrk failed: {said}{}", String::from_utf8_lossy(&output.stderr));
        let load = crate::wrk::told(&said)?;
        ensure!(load.requests > 0.0 && load.errors == 0, "{} of {} requests went wrong", load.errors, load.requests);
        let held: f64 = held()?.parse()?;
        Ok(Holds { load, held_per_s: (held - before) / load.requests * load.per_s })
    }

    /// The node reads the event before the clock runs: one place of the floor is held.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn warm_up(&self, event: &str) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let url = format!("{}/v1/events/{event}/holds", self.stack.ready().booking[0]);
            let body = serde_json::json!({"areas": [{"area": "floor", "quantity": 1}]});
            let answer = reqwest::Client::new().post(url).json(&body).send().await?;
            ensure!(answer.status() == 201, "the event is not ready: {}", answer.text().await?);
            Ok(())
        })
    }

    /// One round of `pgbench` with this script, by as many clients, prepared.
    ///
    /// # Errors
    /// When it cannot be played.
    pub(crate) fn pgbench(&self, script: &str, seconds: u32) -> Result<Load> {
        let file = self.folder.path().join("peer.sql");
        std::fs::write(&file, script)?;
        let mut pgbench = Command::new(self.stack.postgres().bin().join("pgbench"));
        pgbench.args(["-n", "-M", "prepared", "-c", CLIENTS, "-j", "2", "-T", &seconds.to_string(), "-f"]).arg(&file);
        let output = pgbench.arg(&self.stack.ready().postgres).output().context("running pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        let number = |after: &str| {
            let rest = said.split_once(after)?.1;
            rest.split_whitespace().next()?.parse::<f64>().ok()
        };
        let (Some(per_s), Some(ms)) = (number("tps = "), number("latency average = ")) else {
            bail!("pgbench told no rate: {said}")
        };
        Ok(Load { requests: per_s * f64::from(seconds), per_s, errors: 0, p50_ms: ms, p99_ms: f64::NAN, busy: None })
    }
}

/// Writes plan, sidecar and description.
fn describe(folder: &Path) -> Result<std::path::PathBuf> {
    let mut command = Command::new(binaries::find("usher-booking")?);
    command.args(["admin", "plan", "generate", "--tiers", "6", "--seats", &SEATS.to_string()]);
    command.arg("--out").arg(folder.join("plan.json")).arg("--sidecar").arg(folder.join("sidecar.json"));
    let made = command.output().context("generating a plan")?;
    ensure!(made.status.success(), "no plan was generated: {}", String::from_utf8_lossy(&made.stderr));
    let file = folder.join("event.toml");
    let text = format!(
        "id = \"{EVENT}\"\nname = \"Counter\"\nstarts_at = \"2030-01-01T20:00:00Z\"\ncurrency = \"EUR\"\n\
         venue = \"Hall\"\ncity = \"Porto\"\nplan = \"plan.json\"\nsidecar = \"sidecar.json\"\n"
    );
    std::fs::write(&file, text)?;
    Ok(file)
}
