//! Finds the servers that are installed: Postgres ≥ 14 and Redis ≥ 7 (or Valkey).
//!
//! `$PG_BIN` and `$REDIS_BIN` win, then `PATH`, then the places where distributions put them.
//! Nothing is installed from here; what is missing is named exactly.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Result, StackError};

const POSTGRES_AT_LEAST: u32 = 14;
const REDIS_AT_LEAST: u32 = 7;

/// The Postgres installation in use.
#[derive(Debug, Clone)]
pub struct PostgresPrograms {
    /// The directory with `postgres`, `initdb` and `createdb`.
    pub bin: PathBuf,
    /// What `postgres --version` prints.
    pub version: String,
}

/// Finds a Postgres of version 14 or later.
///
/// # Errors
/// [`StackError::Missing`] with what to install.
pub fn postgres() -> Result<PostgresPrograms> {
    if let Some(given) = std::env::var_os("PG_BIN") {
        let bin = PathBuf::from(given);
        return postgres_in(&bin)
            .ok_or_else(|| missing_postgres(&format!("PG_BIN is {}, which holds none", bin.display())));
    }
    let mut places = path_directories();
    for (parent, below) in [
        ("/usr/lib/postgresql", "bin"),
        ("/usr/pgsql", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/usr/local/opt", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "bin"),
    ] {
        places.extend(versioned_directories(Path::new(parent), below));
    }
    places.push(PathBuf::from("/usr/local/pgsql/bin"));
    places
        .iter()
        .find_map(|place| postgres_in(place))
        .ok_or_else(|| missing_postgres("looked in PATH and the usual places"))
}

fn postgres_in(bin: &Path) -> Option<PostgresPrograms> {
    if !["postgres", "initdb", "createdb"].iter().all(|name| bin.join(name).is_file()) {
        return None;
    }
    let version = version_line(&bin.join("postgres"))?;
    (first_number(&version)? >= POSTGRES_AT_LEAST).then(|| PostgresPrograms { bin: bin.to_owned(), version })
}

fn missing_postgres(looked: &str) -> StackError {
    StackError::Missing {
        what: format!("Postgres {POSTGRES_AT_LEAST} or later"),
        hint: format!(
            "{looked}. Install it with `make setup`, or: Debian/Ubuntu `apt-get install postgresql`, \
             macOS `brew install postgresql@17`; or set PG_BIN to the directory of `initdb`."
        ),
    }
}

/// Finds a Redis (or Valkey) server of version 7 or later.
///
/// # Errors
/// [`StackError::Missing`] with what to install.
pub fn redis() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("REDIS_BIN") {
        let given = PathBuf::from(given);
        let found = if given.is_dir() { redis_in(&given) } else { redis_at(&given) };
        return found.ok_or_else(|| missing_redis(&format!("REDIS_BIN is {}, which is none", given.display())));
    }
    let mut places = path_directories();
    places.extend(
        ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin"].map(PathBuf::from),
    );
    places.iter().find_map(|place| redis_in(place)).ok_or_else(|| missing_redis("looked in PATH and the usual places"))
}

fn redis_in(bin: &Path) -> Option<PathBuf> {
    ["redis-server", "valkey-server"].iter().find_map(|name| redis_at(&bin.join(name)))
}

fn redis_at(program: &Path) -> Option<PathBuf> {
    if !program.is_file() {
        return None;
    }
    // "Redis server v=7.0.15 sha=…": the number after "v=".
    let line = version_line(program)?;
    let version = line.split("v=").nth(1)?;
    (first_number(version)? >= REDIS_AT_LEAST).then(|| program.to_owned())
}

fn missing_redis(looked: &str) -> StackError {
    StackError::Missing {
        what: format!("Redis {REDIS_AT_LEAST} or later"),
        hint: format!(
            "{looked}. Install it with `make setup`, or: Debian/Ubuntu `apt-get install redis-server`, \
             macOS `brew install redis`; or set REDIS_BIN to the program."
        ),
    }
}

fn path_directories() -> Vec<PathBuf> {
    std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).filter(|p| p.is_absolute()).collect())
        .unwrap_or_default()
}

/// `parent/*/below` for every entry that speaks of Postgres or is a bare version, newest first.
fn versioned_directories(parent: &Path, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("postgresql") || name.starts_with(|c: char| c.is_ascii_digit())
        })
        .map(|entry| (number_in(&entry.file_name()), entry.path().join(below)))
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path).collect()
}

fn version_line(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn number_in(name: &OsStr) -> u32 {
    first_number(&name.to_string_lossy()).unwrap_or(0)
}

fn first_number(text: &str) -> Option<u32> {
    let digits: String = text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_of_a_version_line_is_its_major_version() {
        assert_eq!(first_number("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(first_number("7.0.15 sha=00000000:0"), Some(7));
        assert_eq!(first_number("devel"), None);
    }

    #[test]
    fn a_missing_server_is_named_with_its_package() {
        let said = missing_postgres("looked").to_string();
        assert!(said.contains("apt-get install postgresql"), "{said}");
        let said = missing_redis("looked").to_string();
        assert!(said.contains("apt-get install redis-server"), "{said}");
    }
}
