//! A private Postgres: its own data, its own port on loopback, gone with its owner.
//!
//! It writes as in production (`fsync = on`). The role `usher` has a random password, since other users of
//! the machine can reach loopback too. Every server starts from a prepared data directory ([`crate::cache`]).

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::{Entry, Key, copy_tree};
use crate::error::{Result, StackError};
use crate::find::{self, PostgresPrograms};
use crate::identity::MARKER;
use crate::node::{Node, Program, Signal};
use crate::owner::Owner;
use crate::ports::HeldPort;
use crate::run::run;
use crate::workdir::Workdir;

/// The role, and the database it starts with.
const ROLE: &str = "usher";
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long the children of a killed server may outlive it.
const ORPHANS_GO_WITHIN: Duration = Duration::from_secs(10);
const PORT_TRIES: u32 = 5;
/// The caller's own client settings have no say in a private server.
const CLIENT_SETTINGS: &[&str] = &[
    "PGDATA",
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGOPTIONS",
    "PGSERVICE",
    "PGSSLMODE",
    "LC_ALL",
    "LANG",
];

/// How a private Postgres is to run.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Server settings beyond the defaults, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

/// A running private Postgres; stopped when dropped.
#[derive(Debug)]
pub struct Postgres {
    node: Node,
    programs: PostgresPrograms,
    data: PathBuf,
    port: u16,
    password: String,
}

impl Postgres {
    /// Starts a server of its own with the empty database `usher`, in a temporary directory.
    ///
    /// # Errors
    /// When Postgres is not installed or does not come up.
    pub fn start(options: &PostgresOptions) -> Result<Postgres> {
        Postgres::start_in(&Workdir::temporary()?, &base()?, options)
    }

    /// Starts a server in `workdir` on a copy of a prepared directory.
    pub(crate) fn start_in(workdir: &Arc<Workdir>, prepared: &Entry, options: &PostgresOptions) -> Result<Postgres> {
        let programs = find::postgres()?;
        let data = workdir.reachable("postgres")?;
        let password = lay_out(prepared, &data, workdir.owner())?;
        let mut tries = 1;
        loop {
            let port = HeldPort::take()?.release();
            let program = server(&programs, &data, port, workdir.owner(), options);
            let node = Node::new(workdir, program);
            let password = password.clone();
            let server = Postgres { node, programs: programs.clone(), data: data.clone(), port, password };
            match server.up() {
                Ok(_) => return Ok(server),
                Err(problem) if problem.port_was_taken() && tries < PORT_TRIES => tries += 1,
                Err(problem) => return Err(problem),
            }
        }
    }

    /// Starts it (again, after a kill) on the same port and data, and waits until it takes connections.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&self) -> Result<u32> {
        let deadline = Instant::now() + ORPHANS_GO_WITHIN;
        loop {
            let pid = self.node.spawn()?;
            match self.node.wait_until(READY_WITHIN, || self.takes_connections(pid)) {
                Ok(()) => return Ok(pid),
                // The children of a killed server take a moment to notice, and hold its memory until then.
                Err(StackError::Exited { tail, .. })
                    if tail.contains("pre-existing shared memory block") && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(problem) => return Err(problem),
            }
        }
    }

    /// The URL of the database `usher`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(ROLE)
    }

    /// The URL of the database `name` on this server.
    #[must_use]
    pub fn url_of(&self, name: &str) -> String {
        format!("postgres://{ROLE}:{}@127.0.0.1:{}/{name}", self.password, self.port)
    }

    /// Its process, to watch or to hurt.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where `psql`, `pgbench` and the others of this version are.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.programs.bin
    }

    /// Makes another database, empty or as a copy of `template`, and gives its URL.
    ///
    /// # Errors
    /// When it exists already, or somebody is connected to the template.
    pub fn create_database(&self, name: &str, template: Option<&str>) -> Result<String> {
        let mut command = Command::new(self.programs.bin.join("createdb"));
        for name in CLIENT_SETTINGS {
            command.env_remove(name);
        }
        command
            .env("PGPASSWORD", &self.password)
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--username", ROLE, "--maintenance-db", "postgres"]);
        if let Some(template) = template {
            command.args(["--template", template]);
        }
        command.arg(name);
        run(command, &format!("creating the database {name}"), "")?;
        Ok(self.url_of(name))
    }

    /// Runs SQL in the database `usher`. Answers what came out: a line for each row, its columns parted by `|`.
    ///
    /// # Errors
    /// When Postgres refuses it or is not there, in its own words.
    pub fn sql(&self, query: &str) -> Result<String> {
        let mut command = Command::new(self.programs.bin.join("psql"));
        for name in CLIENT_SETTINGS {
            command.env_remove(name);
        }
        command.args(["--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", query, &self.url()]);
        Ok(run(command, &format!("the query `{}`", query.trim()), "")?.trim().to_owned())
    }

    /// Stops it in good order, so that its data directory may be copied, and gives that directory.
    pub(crate) fn stop_cleanly(&self) -> Result<&Path> {
        self.node.signal(Signal::INT)?;
        self.node.wait_for_exit(READY_WITHIN)?;
        Ok(&self.data)
    }

    /// The password of the role, for whoever keeps a copy of the data.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    fn takes_connections(&self, pid: u32) -> Result<(), String> {
        let file = self.data.join("postmaster.pid");
        let text = std::fs::read_to_string(file).map_err(|problem| problem.to_string())?;
        let mut lines = text.lines();
        if lines.next().map(str::trim) != Some(&pid.to_string()) {
            return Err("it has not claimed its data directory yet".to_owned());
        }
        match lines.nth(6).map(str::trim) {
            Some("ready") => Ok(()),
            other => Err(format!("its status is {}", other.unwrap_or("not written yet"))),
        }
    }
}

/// The data directory of a fresh cluster with the empty database `usher`.
pub(crate) fn base() -> Result<Entry> {
    let programs = find::postgres()?;
    let key = Key::new("postgres").with(&programs.version).with(programs.bin.as_os_str().as_encoded_bytes());
    Entry::get(key, |path| init(&programs, path))
}

/// Keeps `data` and its password as a prepared directory at `path`.
pub(crate) fn keep(data: &Path, password: &str, path: &Path) -> Result<()> {
    copy_tree(data, &path.join("data"), None)?;
    let file = path.join("password");
    std::fs::write(&file, password).map_err(StackError::io(format!("writing {}", file.display())))
}

fn lay_out(prepared: &Entry, data: &Path, owner: Option<Owner>) -> Result<String> {
    copy_tree(&prepared.path().join("data"), data, owner)?;
    let file = prepared.path().join("password");
    std::fs::read_to_string(&file).map_err(StackError::io(format!("reading {}", file.display())))
}

fn server(
    programs: &PostgresPrograms,
    data: &Path,
    port: u16,
    owner: Option<Owner>,
    options: &PostgresOptions,
) -> Program {
    let mut settings: Vec<(String, String)> = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("max_connections", "200"),
        ("fsync", "on"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    settings.push(("port".to_owned(), port.to_string()));
    settings.extend(options.settings.iter().cloned());
    let mut arguments = vec!["-D".into(), data.into()];
    for (name, value) in settings {
        arguments.push("-c".into());
        arguments.push(format!("{name}={value}").into());
    }
    Program {
        name: "postgres".to_owned(),
        path: programs.bin.join("postgres"),
        arguments,
        environment: vec![("LC_ALL", "C".to_owned())],
        without: CLIENT_SETTINGS,
        owner,
        // Immediate: what it leaves is either thrown away or recovered from its log.
        stop: Signal::QUIT,
    }
}

/// `initdb` in a temporary directory that the Postgres user can reach, then kept at `path`.
fn init(programs: &PostgresPrograms, path: &Path) -> Result<()> {
    let scratch = Workdir::temporary()?;
    let data = scratch.path().join("data");
    let secret = scratch.path().join("password");
    let password: String = {
        use rand::RngExt;
        rand::rng().sample_iter(rand::distr::Alphanumeric).take(24).map(char::from).collect()
    };
    std::fs::create_dir(&data).map_err(StackError::io(format!("making {}", data.display())))?;
    std::fs::write(&secret, &password).map_err(StackError::io(format!("writing {}", secret.display())))?;
    if let Some(owner) = scratch.owner() {
        owner.take(&data)?;
        owner.take(&secret)?;
    }
    let mut initdb = as_owner(&programs.bin.join("initdb"), &scratch);
    initdb
        .args(["--username", ROLE, "--auth", "scram-sha-256", "--encoding", "UTF8"])
        .args(["--locale", "C", "--no-sync", "--no-instructions", "--pwfile"])
        .arg(&secret)
        .arg("--pgdata")
        .arg(&data);
    run(initdb, "initdb", "")?;
    let mut single = as_owner(&programs.bin.join("postgres"), &scratch);
    single.args(["--single", "-D"]).arg(&data).arg("postgres");
    run(single, "creating the first database", &format!("create database {ROLE};\n"))?;
    keep(&data, &password, path)
}

fn as_owner(program: &Path, workdir: &Workdir) -> Command {
    let mut command = Command::new(program);
    for name in CLIENT_SETTINGS {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env(MARKER, workdir.path()).current_dir(workdir.path());
    if let Some(owner) = workdir.owner() {
        command.uid(owner.uid).gid(owner.gid);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_answers_with_rows_alone_and_a_refusal_in_postgres_words() {
        let postgres = Postgres::start(&PostgresOptions::default()).unwrap();
        assert_eq!(postgres.sql("create table t as select 7 as a, 'b' as b").unwrap(), "");
        assert_eq!(postgres.sql("select * from t union all select 8, null order by a").unwrap(), "7|b\n8|");
        let refused = postgres.sql("select 1; select c from t").unwrap_err();
        let StackError::Command { doing, output, .. } = refused else { panic!("{refused}") };
        assert_eq!(doing, "the query `select 1; select c from t`");
        assert!(output.contains("column \"c\" does not exist"), "{output}");
    }
}
