//! What can go wrong while servers are found, started, watched and stopped.
//!
//! Every error says what was attempted; a server that failed brings the end of its own log along,
//! so that nobody has to look for it.

use std::path::PathBuf;
use std::time::Duration;

/// Why a server, or the stack of them, could not be started or steered.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A program the stack needs is not on this machine, or is too old.
    #[error("{what} not found: {hint}")]
    Missing {
        /// The program, with the version it must have at least.
        what: String,
        /// Where it was looked for and what to install.
        hint: String,
    },
    /// A file, directory, pipe or socket refused.
    #[error("{doing}")]
    Io {
        /// What was attempted.
        doing: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A helper program (`initdb`, `cargo`, …) ended with a failure.
    #[error("{doing} failed ({status})\n{output}")]
    Command {
        /// What was attempted.
        doing: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A server ended before it was ready.
    #[error("{name} ended before it was ready ({status}); the end of {log}:\n{tail}", log = log.display())]
    Exited {
        /// The server's role and number.
        name: String,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of that file.
        tail: String,
    },
    /// A server lives but did not become ready in time.
    #[error("{name} was not ready after {waited:?}: {last}; the end of {log}:\n{tail}", log = log.display())]
    NotReady {
        /// The server's role and number.
        name: String,
        /// How long it was waited for.
        waited: Duration,
        /// What the last readiness check said.
        last: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of that file.
        tail: String,
    },
    /// A server answered a request with something else than was expected.
    #[error("{doing}: {answer}")]
    Answer {
        /// What was attempted.
        doing: String,
        /// What came back.
        answer: String,
    },
    /// Payments that nobody finished in time.
    #[error("{open} payments are still open after {waited:?}")]
    StillOpen {
        /// How many.
        open: u64,
        /// How long they were waited for.
        waited: Duration,
    },
    /// Somebody asked to stop before all was ready.
    #[error("stopped before everything was ready")]
    Interrupted,
    /// An option that cannot be served.
    #[error("{0}")]
    Unsupported(String),
}

impl StackError {
    /// Wraps a system error with what was attempted.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> StackError {
        let doing = doing.into();
        move |source| StackError::Io { doing, source }
    }

    /// Whether a server lost the race for its port, so that another port is worth a try.
    pub(crate) fn port_was_taken(&self) -> bool {
        let (StackError::Exited { tail, .. } | StackError::NotReady { tail, .. }) = self else {
            return false;
        };
        let tail = tail.to_lowercase();
        ["address already in use", "address in use", "addrinuse", "os error 98", "os error 48"]
            .iter()
            .any(|sign| tail.contains(sign))
    }
}

/// The result of everything in this crate.
pub type Result<T, E = StackError> = std::result::Result<T, E>;
