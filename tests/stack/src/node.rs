//! One child process that can be watched, stopped, hurt and started again.
//!
//! Each runs in a process group of its own (the terminal's Ctrl-C reaches the launcher alone), carries the
//! stack's marker, appends to its own log file and is told to the guard before anything waits for it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::error::{Result, StackError};
use crate::identity::MARKER;
use crate::interrupt;
use crate::owner::Owner;
use crate::workdir::Workdir;

/// How much of a log an error quotes.
const TAIL_BYTES: u64 = 4_000;

/// What to run, and how it likes to be stopped.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) without: &'static [&'static str],
    pub(crate) owner: Option<Owner>,
    pub(crate) stop: Signal,
}

/// A server process of the stack.
#[derive(Debug)]
pub struct Node {
    program: Program,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    workdir: Arc<Workdir>,
}

/// Sends a signal to a process by its number.
///
/// # Errors
/// When there is no such process or it is not ours to signal.
pub fn kill(pid: u32, signal: Signal) -> Result<()> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| StackError::Unsupported(format!("{pid} is no process number")))
        .and_then(|pid| {
            kill_process(pid, signal)
                .map_err(std::io::Error::from)
                .map_err(StackError::io(format!("sending {signal:?} to {}", pid.as_raw_nonzero())))
        })
}

impl Node {
    pub(crate) fn new(workdir: &Arc<Workdir>, program: Program) -> Node {
        let log = workdir.path().join(format!("{}.log", program.name));
        // What an earlier try wrote there must not be taken for this one's words.
        let _ = std::fs::remove_file(&log);
        Node { program, log, child: Mutex::new(None), workdir: Arc::clone(workdir) }
    }

    /// Role and number, as in the names of its files.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts the process unless it runs. Says nothing about readiness.
    ///
    /// # Errors
    /// When it cannot be spawned.
    pub fn spawn(&self) -> Result<u32> {
        let mut slot = self.slot();
        if let Some(child) = slot.as_mut()
            && matches!(child.try_wait(), Ok(None))
        {
            return Ok(child.id());
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(StackError::io(format!("opening {}", self.log.display())))?;
        let errors = log.try_clone().map_err(StackError::io(format!("opening {}", self.log.display())))?;
        let mut command = Command::new(&self.program.path);
        // Another user may not be let into the directory.
        let here = if self.program.owner.is_some() { Path::new("/") } else { self.workdir.path() };
        command.args(&self.program.arguments).current_dir(here);
        for name in self.program.without {
            command.env_remove(name);
        }
        command.envs(self.program.environment.iter().map(|(name, value)| (name, value)));
        command.env(MARKER, self.workdir.path());
        if let Some(owner) = self.program.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(StackError::io(format!("starting {} ({})", self.program.name, self.program.path.display())))?;
        let pid = child.id();
        self.workdir.guard().told_of(pid, self.program.stop, &self.program.name);
        *slot = Some(child);
        Ok(pid)
    }

    /// Its process number, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let mut slot = self.slot();
        let child = slot.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut slot = self.slot();
        // Not waited for while the slot is locked, so the number is still its own.
        if let Some(child) = slot.as_mut()
            && matches!(child.try_wait(), Ok(None))
        {
            return kill(child.id(), signal);
        }
        Err(StackError::Unsupported(format!("{} does not run", self.program.name)))
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run or will not go.
    pub fn kill9(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait_for_exit(Duration::from_secs(5)).map(drop)
    }

    /// Freezes it: connections stay open and nobody answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen one go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it still runs after `bound`.
    pub fn wait_for_exit(&self, bound: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(bound, "it still runs"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks it to stop, in its own way, without waiting.
    pub fn ask_to_stop(&self) {
        let _ = self.signal(self.program.stop);
        let _ = self.signal(Signal::CONT);
    }

    /// Stops it: politely, then after `bound` by `kill -9`. Does nothing when it does not run.
    pub fn stop(&self, bound: Duration) {
        if self.pid().is_none() {
            return;
        }
        self.ask_to_stop();
        if self.wait_for_exit(bound).is_err() {
            let _ = self.kill9();
        }
    }

    /// Waits until `check` passes, and fails at once when the process ends first.
    ///
    /// # Errors
    /// [`StackError::Exited`] or [`StackError::NotReady`], with the end of the log.
    pub fn wait_until(&self, bound: Duration, mut check: impl FnMut() -> Result<(), String>) -> Result<()> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            let Err(last) = check() else { return Ok(()) };
            if let Some(status) = self.exited()? {
                return Err(StackError::Exited {
                    name: self.program.name.clone(),
                    status: status.map_or_else(|| "not started".to_owned(), |s| s.to_string()),
                    log: self.log.clone(),
                    tail: self.tail(),
                });
            }
            if start.elapsed() > bound {
                return Err(self.not_ready(bound, &last));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut tail = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(tail)
        };
        read().map_or_else(|_| String::new(), |tail| String::from_utf8_lossy(&tail).into_owned())
    }

    /// `Some` once it does not run: with the status, or `None` when it never did.
    fn exited(&self) -> Result<Option<Option<ExitStatus>>> {
        let mut slot = self.slot();
        let Some(child) = slot.as_mut() else { return Ok(Some(None)) };
        let status = child.try_wait().map_err(StackError::io(format!("waiting for {}", self.program.name)))?;
        if status.is_some() {
            self.workdir.guard().gone(child.id());
        }
        Ok(status.map(Some))
    }

    fn not_ready(&self, waited: Duration, last: &str) -> StackError {
        StackError::NotReady {
            name: self.program.name.clone(),
            waited,
            last: last.to_owned(),
            log: self.log.clone(),
            tail: self.tail(),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(6));
    }
}
