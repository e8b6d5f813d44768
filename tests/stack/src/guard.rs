//! The guard: a process that outlives its launcher by a moment, to stop what the launcher started.
//!
//! The launcher holds the writing end of a pipe, the guard reads the other end. Children are told as they are
//! started; when the pipe ends, for whatever reason (orderly stop, panic, `kill -9`), everything that was told
//! and still lives is stopped, and temporary directories go. The guard sits in a process group of its own
//! and heeds no SIGINT, SIGTERM, SIGHUP or SIGQUIT, so Ctrl-C on the launcher's terminal does not take it along.
//! A pid is only ever signalled while it is the very process that was told (see [`crate::identity`]).

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::error::{Result, StackError};
use crate::{binaries, identity};

/// How long children may take after the polite signal, and again after the impolite one.
const PATIENCE: Duration = Duration::from_secs(4);

/// One line on the pipe.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Notice {
    /// A child was started.
    Child { pid: u32, start: String, signal: i32, name: String },
    /// A child is gone and waited for.
    Gone { pid: u32 },
    /// This directory goes when all is stopped.
    Remove { path: PathBuf },
    /// No directory goes after all.
    Keep,
}

/// The launcher's end of the pipe.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Guard {
    /// Starts the guard of `dir`.
    pub(crate) fn start(dir: &Path) -> Result<Guard> {
        use std::os::unix::process::CommandExt;
        let program = binaries::ensure("stack")?;
        let mut child = Command::new(&program)
            .arg("guard")
            .arg(dir)
            .current_dir("/")
            .env_remove(identity::MARKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(StackError::io(format!("starting the guard {}", program.display())))?;
        let pipe = child.stdin.take();
        Ok(Guard { child, pipe: Mutex::new(pipe) })
    }

    /// Tells of a child that was just started.
    pub(crate) fn told_of(&self, pid: u32, signal: Signal, name: &str) {
        if let Some(start) = identity::start_of(pid) {
            let name = name.to_owned();
            self.tell(&Notice::Child { pid, start, signal: signal.as_raw(), name });
        }
    }

    /// Tells that a child was waited for.
    pub(crate) fn gone(&self, pid: u32) {
        self.tell(&Notice::Gone { pid });
    }

    /// Asks for a directory to be removed in the end.
    pub(crate) fn remove_in_the_end(&self, path: &Path) {
        self.tell(&Notice::Remove { path: path.to_owned() });
    }

    /// Leaves all directories where they are.
    pub(crate) fn keep_all(&self) {
        self.tell(&Notice::Keep);
    }

    fn tell(&self, notice: &Notice) {
        let Ok(mut line) = serde_json::to_vec(notice) else { return };
        line.push(b'\n');
        if let Ok(mut pipe) = self.pipe.lock()
            && let Some(pipe) = pipe.as_mut()
        {
            // A guard that is gone cannot help, and must not stop the launcher from stopping in good order.
            let _ = pipe.write_all(&line);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Ok(mut pipe) = self.pipe.lock() {
            pipe.take();
        }
        let deadline = Instant::now() + 3 * PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The guard process itself: reads notices until the pipe ends, then stops what is left.
///
/// # Errors
/// When the signals that it must not heed cannot be taken over.
pub async fn watch(dir: PathBuf) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // A signal with a handler does not end the process; nobody ever looks at these.
    let _unheeded = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::quit())?,
    ];
    tokio::task::spawn_blocking(move || {
        let left = read_notices(std::io::stdin().lock());
        left.stop(&dir);
    })
    .await
    .map_err(std::io::Error::other)
}

/// What the launcher told and did not take back.
#[derive(Debug, Default)]
struct Left {
    children: BTreeMap<u32, (String, i32)>,
    directories: Vec<PathBuf>,
}

fn read_notices(input: impl BufRead) -> Left {
    let mut left = Left::default();
    for line in input.lines() {
        let Ok(line) = line else { break };
        // A line cut off by the launcher's death is no notice; the marker finds its child.
        match serde_json::from_str(&line) {
            Ok(Notice::Child { pid, start, signal, .. }) => {
                left.children.insert(pid, (start, signal));
            }
            Ok(Notice::Gone { pid }) => {
                left.children.remove(&pid);
            }
            Ok(Notice::Remove { path }) => left.directories.push(path),
            Ok(Notice::Keep) => left.directories.clear(),
            Err(_) => {}
        }
    }
    left
}

impl Left {
    fn stop(mut self, dir: &Path) {
        for (pid, (start, signal)) in &self.children {
            let signal = Signal::from_named_raw(*signal).unwrap_or(Signal::TERM);
            send(*pid, start, signal);
            send(*pid, start, Signal::CONT);
        }
        self.wait();
        for (pid, start) in identity::marked(dir) {
            self.children.entry(pid).or_insert((start, Signal::KILL.as_raw()));
        }
        for (pid, (start, _)) in &self.children {
            send(*pid, start, Signal::KILL);
        }
        self.wait();
        for directory in &self.directories {
            let _ = std::fs::remove_dir_all(directory);
        }
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.children.retain(|pid, (start, _)| is_still(*pid, start));
            if self.children.is_empty() || Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_still(pid: u32, start: &str) -> bool {
    identity::start_of(pid).as_deref() == Some(start)
}

fn send(pid: u32, start: &str, signal: Signal) {
    if is_still(pid, start)
        && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
    {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(notice: &Notice) -> String {
        serde_json::to_string(notice).unwrap() + "\n"
    }

    #[test]
    fn what_was_told_and_not_taken_back_is_left() {
        let child = |pid| Notice::Child { pid, start: "1".into(), signal: 15, name: "x".into() };
        let mut told = line(&child(10)) + &line(&child(11)) + &line(&Notice::Gone { pid: 10 });
        told += &line(&Notice::Remove { path: "/nowhere".into() });
        told += r#"{"child":{"pid":12,"sta"#;
        let left = read_notices(told.as_bytes());
        assert_eq!(left.children.keys().collect::<Vec<_>>(), [&11]);
        assert_eq!(left.directories, [PathBuf::from("/nowhere")]);
    }

    #[test]
    fn a_recycled_pid_is_left_alone_and_a_told_one_is_stopped() {
        let mut kept = Command::new("sleep").arg("30").spawn().unwrap();
        let mut told = Command::new("sleep").arg("30").spawn().unwrap();
        let start = identity::start_of(told.id()).unwrap();
        let mut left = Left::default();
        left.children.insert(kept.id(), ("another start".into(), 15));
        left.children.insert(told.id(), (start, 15));
        left.stop(Path::new("/no/such/stack"));
        assert!(kept.try_wait().unwrap().is_none());
        assert!(identity::start_of(told.id()).is_none());
        told.wait().unwrap();
        kept.kill().unwrap();
        kept.wait().unwrap();
    }
}
