//! Cores and processes: what is measured has one core to itself, load and everything behind it another.
//!
//! Pinning is `taskset`'s; where that or a second core is missing nothing is pinned, and the run says so.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// Clock ticks per second in `/proc`: fixed on every Linux that this runs on.
const TICKS_PER_S: f64 = 100.0;

/// Which side of the machine a process belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Core {
    /// What is measured.
    Measured,
    /// Load, origin and storage.
    Rest,
}

impl Core {
    fn number(self) -> &'static str {
        match self {
            Self::Measured => "0",
            Self::Rest => "1",
        }
    }

    /// A command that runs on this core.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        if !can_pin() {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["-c", self.number()]).arg(program);
        command
    }

    /// Moves a process with all its threads here.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub(crate) fn take(self, pid: u32) -> Result<()> {
        if !can_pin() {
            return Ok(());
        }
        let mut command = Command::new("taskset");
        command.args(["-a", "-c", "-p", self.number(), &pid.to_string()]).stdout(Stdio::null());
        let status = command.status().context("running taskset")?;
        anyhow::ensure!(status.success(), "process {pid} could not be pinned");
        Ok(())
    }
}

/// Whether processes are pinned at all.
pub(crate) fn can_pin() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let two = std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2);
        let works = Command::new("taskset").args(["-c", "0", "true"]).status().is_ok_and(|status| status.success());
        if !(two && works) {
            eprintln!("# nothing is pinned: this needs taskset and two cores");
        }
        two && works
    })
}

/// The processor time that a process has used, in seconds; `None` where `/proc` does not say.
pub(crate) fn used_s(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything; fields are counted behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok());
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

/// The processor time that a process and its children have used, those that have ended too, in seconds; `None` where
/// `/proc` does not say.
pub(crate) fn family_used_s(pid: u32) -> Option<f64> {
    let mut used_s = 0.0;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        // Whoever ended meanwhile is counted with its parent.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        if head.split_whitespace().next() == Some(&pid.to_string()) {
            used_s += (ticks(11) + ticks(12) + ticks(13) + ticks(14)) / TICKS_PER_S;
        } else if fields.get(1) == Some(&pid.to_string().as_str()) {
            used_s += (ticks(11) + ticks(12)) / TICKS_PER_S;
        }
    }
    (used_s > 0.0).then_some(used_s)
}

/// The processor time that a process's first thread has used, in milliseconds, to the microsecond; `None` where `/proc`
/// does not say.
pub(crate) fn main_thread_ms(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let ns: f64 = stat.split_whitespace().next()?.parse().ok()?;
    Some(ns / 1e6)
}

/// The memory that a process holds, in bytes; `None` where `/proc` does not say.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}
