//! A private Redis: on a free loopback port or a Unix socket, gone with its owner.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Result, StackError};
use crate::find;
use crate::node::{Node, Program, Signal};
use crate::ports::HeldPort;
use crate::workdir::Workdir;

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
    /// Further settings, as in `redis.conf`.
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
        let program = find::redis()?;
        let data = workdir.path().join("redis");
        std::fs::create_dir_all(&data).map_err(StackError::io(format!("making {}", data.display())))?;
        let mut tries = 1;
        loop {
            let place = match options.address {
                RedisAddress::Port => Place::Port(HeldPort::take()?.release()),
                RedisAddress::Socket => Place::Socket(socket_path(workdir)?),
            };
            let program = Program {
                name: "redis".to_owned(),
                path: program.clone(),
                arguments: arguments(&data, &place, options),
                environment: Vec::new(),
                without: &[],
                owner: None,
                stop: Signal::TERM,
            };
            let server = Redis { node: Node::new(workdir, program), place };
            match server.up() {
                Ok(_) => return Ok(server),
                Err(problem) if problem.port_was_taken() && tries < PORT_TRIES => tries += 1,
                Err(problem) => return Err(problem),
            }
        }
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

    fn ping(&self) -> Result<(), String> {
        let bound = Some(Duration::from_millis(500));
        let answer = match &self.place {
            Place::Port(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).and_then(|stream| {
                stream.set_read_timeout(bound)?;
                ping_over(stream)
            }),
            Place::Socket(path) => UnixStream::connect(path).and_then(|stream| {
                stream.set_read_timeout(bound)?;
                ping_over(stream)
            }),
        };
        match answer {
            Ok(answer) if answer.starts_with("+PONG") => Ok(()),
            Ok(answer) => Err(format!("it answered {answer:?}")),
            Err(problem) => Err(problem.to_string()),
        }
    }
}

fn ping_over(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
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
        arguments.push(value.into());
    }
    arguments
}
