//! Private Redis servers: one on a free loopback port or a Unix socket, or several that belong together
//! ([`Servers`]); gone with their owner.

mod cluster;
mod resp;
mod sentinel;
mod servers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Result, StackError};
use crate::find;
use crate::node::{Node, Program, Signal};
use crate::ports::HeldPort;
use crate::workdir::Workdir;

pub use servers::Servers;

const READY_WITHIN: Duration = Duration::from_secs(20);
const PORT_TRIES: u32 = 5;
/// What a Unix socket's address holds, with room for the end mark, on the system that holds least.
const LONGEST_SOCKET_PATH: usize = 103;

/// How much of what Redis was told survives its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Aof {
    /// Nothing: it lives in memory alone.
    Off,
    /// All but about the last second.
    #[default]
    Everysec,
    /// Everything it answered for.
    Always,
}

/// Where a private Redis listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedisAddress {
    /// A free loopback port.
    #[default]
    Port,
    /// A Unix socket in its directory: no port, and a little faster.
    Socket,
}

/// How a private Redis is to run.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Where it listens.
    pub address: RedisAddress,
    /// How durable it is.
    pub aof: Aof,
    /// Further settings, as in `redis.conf`; values are separated by single spaces.
    pub settings: Vec<(String, String)>,
}

impl RedisOptions {
    /// A Redis for tests: on a socket, in memory alone.
    #[must_use]
    pub fn on_socket() -> RedisOptions {
        RedisOptions { address: RedisAddress::Socket, aof: Aof::Off, settings: Vec::new() }
    }
}

/// A running private Redis; stopped when dropped.
#[derive(Debug)]
pub struct Redis {
    node: Node,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Port(u16),
    Socket(PathBuf),
}

impl Redis {
    /// Starts a server of its own in a temporary directory.
    ///
    /// # Errors
    /// When Redis is not installed or does not come up.
    pub fn start(options: &RedisOptions) -> Result<Redis> {
        Redis::start_in(&Workdir::temporary()?, options)
    }

    pub(crate) fn start_in(workdir: &Arc<Workdir>, options: &RedisOptions) -> Result<Redis> {
        with_fresh_ports(|| {
            let place = match options.address {
                RedisAddress::Port => Place::Port(HeldPort::take()?.release()),
                RedisAddress::Socket => Place::Socket(socket_path(workdir)?),
            };
            let server = Redis::new(workdir, "redis", place, options)?;
            server.up()?;
            Ok(server)
        })
    }

    /// A server that does not run yet.
    fn new(workdir: &Arc<Workdir>, name: &str, place: Place, options: &RedisOptions) -> Result<Redis> {
        let data = workdir.path().join(name);
        // What an earlier try on other ports left there.
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir_all(&data).map_err(StackError::io(format!("making {}", data.display())))?;
        let arguments = arguments(&data, &place, options);
        Redis::with_arguments(workdir, name, place, arguments)
    }

    fn with_arguments(
        workdir: &Arc<Workdir>,
        name: &str,
        place: Place,
        arguments: Vec<std::ffi::OsString>,
    ) -> Result<Redis> {
        let program = Program {
            name: name.to_owned(),
            path: find::redis()?,
            arguments,
            environment: Vec::new(),
            without: &[],
            owner: None,
            stop: Signal::TERM,
        };
        Ok(Redis { node: Node::new(workdir, program), place })
    }

    /// Starts it (again, after a kill) at the same address, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&self) -> Result<u32> {
        let pid = self.node.spawn()?;
        self.node.wait_until(READY_WITHIN, || self.ping())?;
        Ok(pid)
    }

    /// Its address as a URL: `redis://…` or `redis+unix://…`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.place {
            Place::Port(port) => format!("redis://127.0.0.1:{port}/"),
            Place::Socket(path) => format!("redis+unix://{}", path.display()),
        }
    }

    /// Its process, to watch or to hurt.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Sends it a command and returns the answer's parts, line by line.
    ///
    /// # Errors
    /// When it does not answer, or with an error.
    pub fn command(&self, command: &[&str]) -> Result<Vec<String>> {
        resp::ask(&self.place, None, command)
            .map_err(|answer| StackError::Answer { doing: format!("asking {}", self.node.name()), answer })
    }

    /// The same for a readiness check: short, with its failure as text.
    fn ask(&self, command: &[&str]) -> Result<Vec<String>, String> {
        resp::ask(&self.place, Some(Duration::from_millis(500)), command)
    }

    fn ping(&self) -> Result<(), String> {
        match self.ask(&["PING"])? {
            answer if answer == ["PONG"] => Ok(()),
            answer => Err(format!("it answered {answer:?}")),
        }
    }

    /// Its port; 0 on a socket.
    fn port(&self) -> u16 {
        match self.place {
            Place::Port(port) => port,
            Place::Socket(_) => 0,
        }
    }
}

/// Tries again, on other ports, while somebody else is quicker to take one.
fn with_fresh_ports<T>(mut start: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 1;
    loop {
        match start() {
            Err(problem) if problem.port_was_taken() && tries < PORT_TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

fn socket_path(workdir: &Workdir) -> Result<PathBuf> {
    let path = workdir.path().join("redis.sock");
    if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        return Err(StackError::Unsupported(format!(
            "{} is too long for a socket; use a port or a shorter directory",
            path.display()
        )));
    }
    Ok(path)
}

fn arguments(data: &std::path::Path, place: &Place, options: &RedisOptions) -> Vec<std::ffi::OsString> {
    let (append, fsync) = match options.aof {
        Aof::Off => ("no", "no"),
        Aof::Everysec => ("yes", "everysec"),
        Aof::Always => ("yes", "always"),
    };
    let mut settings: Vec<(String, String)> = [
        ("bind", "127.0.0.1"),
        ("daemonize", "no"),
        ("save", ""),
        ("appendonly", append),
        ("appendfsync", fsync),
        // Its title would overwrite the environment in which the guard looks for the marker.
        ("set-proc-title", "no"),
        // Fault tests freeze it and ask for its insides.
        ("enable-debug-command", "local"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    match place {
        Place::Port(port) => settings.push(("port".to_owned(), port.to_string())),
        Place::Socket(path) => {
            settings.push(("port".to_owned(), "0".to_owned()));
            settings.push(("unixsocket".to_owned(), path.display().to_string()));
            settings.push(("unixsocketperm".to_owned(), "700".to_owned()));
        }
    }
    settings.extend(options.settings.iter().cloned());
    let mut arguments: Vec<std::ffi::OsString> = vec!["--dir".into(), data.into()];
    for (name, value) in settings {
        arguments.push(format!("--{name}").into());
        // One value is one argument, and an empty one is a value too.
        match value.is_empty() {
            true => arguments.push(value.into()),
            false => arguments.extend(value.split(' ').map(Into::into)),
        }
    }
    arguments
}
