//! The load generator: `wrk`, one round at a time, on the core of the rest.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::cores::{Core, used_s};

/// Connections of every round.
const CONNECTIONS: u32 = 64;

/// Whether there is a `wrk`.
pub(crate) fn is_there() -> bool {
    Command::new("wrk").arg("--version").output().is_ok()
}

/// What one round came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    /// Answers.
    pub(crate) requests: f64,
    /// Answers per second.
    pub(crate) per_s: f64,
    /// Requests without an answer, or with one that is no success.
    pub(crate) errors: u64,
    /// The middle of the times to answer.
    pub(crate) p50_ms: f64,
    /// One answer in a hundred took longer.
    pub(crate) p99_ms: f64,
    /// The share of a core that the measured process used, when that could be read.
    pub(crate) busy: Option<f64>,
}

impl Load {
    /// Answers per second of processor time: what a core gives when nothing else holds it up. Neither a neighbour on the
    /// machine nor a load generator that is slower than the server moves it much.
    pub(crate) fn per_core_s(&self) -> f64 {
        self.busy.map_or(self.per_s, |busy| self.per_s / busy.max(0.01))
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.0}/s  p50 {:.2} ms  p99 {:.2} ms", self.per_s, self.p50_ms, self.p99_ms)?;
        let Some(busy) = self.busy else { return Ok(()) };
        write!(f, "  core {:.0} %, so {:.0}/s of a whole one", busy * 100.0, self.per_core_s())
    }
}

/// The requests of one kind, with the credentials that they carry in turn.
pub(crate) struct Wrk {
    dir: TempDir,
    method: &'static str,
    path: String,
    credentials: Option<(&'static str, String, PathBuf)>,
}

impl Wrk {
    /// The same request again and again.
    ///
    /// # Errors
    /// When its script cannot be written.
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("usher-bench-").tempdir()?;
        std::fs::write(dir.path().join("rotate.lua"), include_str!("rotate.lua"))?;
        Ok(Self { dir, method, path: path.into(), credentials: None })
    }

    /// Each request with the next of these, in this header behind this text.
    ///
    /// # Errors
    /// When they cannot be written down.
    pub(crate) fn with(
        mut self,
        header: &'static str,
        before: impl Into<String>,
        credentials: &[String],
    ) -> Result<Self> {
        ensure!(!credentials.is_empty(), "no credentials to send");
        let file = self.dir.path().join("credentials");
        std::fs::write(&file, credentials.join("\n") + "\n")?;
        self.credentials = Some((header, before.into(), file));
        Ok(self)
    }

    /// One round against a server; `pid` is the measured process. Any error fails it: what is refused is not served.
    ///
    /// # Errors
    /// When it cannot be played, or something was not answered well.
    pub(crate) fn round(&self, url: &str, seconds: u32, pid: u32) -> Result<Load> {
        let before = used_s(pid);
        let mut command = Core::Rest.command("wrk");
        command.args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-d", &format!("{seconds}s"), "-s"]);
        command.arg(self.script()).args(["--timeout", "5s", url, "--", self.method, &self.path]);
        if let Some((header, text, file)) = &self.credentials {
            command.args([header, text.as_str()]).arg(file);
        }
        let output = command.output().context("running wrk")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "wrk failed: {said}{}", String::from_utf8_lossy(&output.stderr));
        let used = before.and_then(|before| Some(used_s(pid)? - before));
        let mut load = told(&said)?;
        load.busy = used.map(|used| used * load.per_s / load.requests);
        if load.errors > 0 || load.requests == 0.0 {
            bail!("{url}{}: {} of {} requests went wrong", self.path, load.errors, load.requests);
        }
        Ok(load)
    }

    fn script(&self) -> PathBuf {
        Path::new(self.dir.path()).join("rotate.lua")
    }
}

/// Reads the line that the script prints at the end.
pub(crate) fn told(said: &str) -> Result<Load> {
    let line = said.lines().find_map(|line| line.strip_prefix("told ")).context("wrk told nothing")?;
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().context("wrk told no numbers")?;
    let [requests, duration_us, errors, p50_us, p99_us] = numbers[..] else { bail!("wrk told {line:?}") };
    let per_s = requests * 1e6 / duration_us.max(1.0);
    Ok(Load { requests, per_s, errors: errors as u64, p50_ms: p50_us / 1e3, p99_ms: p99_us / 1e3, busy: None })
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn what_wrk_tells_is_read() {
        let load = told("Running 1s test\ntold 5000 2000000 3 1500 9000\n").expect("numbers");
        assert_eq!((load.per_s, load.errors, load.p50_ms, load.p99_ms), (2_500.0, 3, 1.5, 9.0));
        assert!(told("Running").is_err() && told("told 1 2").is_err());
    }
}
