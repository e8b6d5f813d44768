//! The function library: loading it, calling it, loading it again where it is missing.

use std::sync::OnceLock;
use std::time::Duration;

use queue_token::SaleId;
use redis::{Cmd, FromRedisValue};
use sha2::{Digest, Sha256};

use crate::connection::Connection;
use crate::{LineError, keys};

/// The library's source: what the functions share, then one file per operation. `USHER` stands for its name.
const SOURCE: &str = concat!(
    include_str!("../lua/library.lua"),
    include_str!("../lua/configure.lua"),
    include_str!("../lua/govern.lua"),
    include_str!("../lua/heard.lua"),
    include_str!("../lua/join.lua"),
    include_str!("../lua/admit.lua"),
    include_str!("../lua/seen.lua"),
    include_str!("../lua/claim.lua"),
    include_str!("../lua/renew.lua"),
    include_str!("../lua/depart.lua"),
    include_str!("../lua/offer.lua"),
    include_str!("../lua/take.lua"),
    include_str!("../lua/snapshot.lua"),
);

/// Whose time an operation uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The Redis server's. Production uses no other.
    Server,
    /// Microseconds of the Unix epoch, for tests.
    Micros(u64),
}

impl Clock {
    pub(crate) fn argument(self) -> String {
        match self {
            Self::Server => String::new(),
            Self::Micros(us) => us.to_string(),
        }
    }
}

/// How patient the connection is.
#[derive(Debug, Clone)]
pub struct LineOptions {
    /// Longest wait for one answer.
    pub response_timeout: Duration,
    /// Longest wait for a new connection.
    pub connect_timeout: Duration,
}

impl Default for LineOptions {
    fn default() -> Self {
        Self { response_timeout: Duration::from_secs(2), connect_timeout: Duration::from_secs(1) }
    }
}

/// All lines of one Redis: cheap to clone, one shared connection that reconnects by itself.
#[derive(Clone)]
pub struct Line {
    connection: Connection,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    /// Connects and loads the function library on every primary that answers. The URL is one server's
    /// (`redis://…`), names sentinels and a primary (`redis+sentinel://host:port,host:port/NAME`) or some nodes of a
    /// cluster (`redis+cluster://host:port,host:port`).
    ///
    /// # Errors
    /// When the address is malformed, or Redis does not answer or refuses the library.
    pub async fn connect(url: &str, options: &LineOptions) -> Result<Self, LineError> {
        let line = Self { connection: Connection::open(url, options).await? };
        match line.load_library().await {
            // A cluster serves with the nodes it has; the others get the library when they are first called.
            Err(error) if error.is_outage() && line.connection.has_parts() => {
                tracing::warn!(%error, "some nodes of the line's Redis have no function library yet");
            }
            outcome => outcome?,
        }
        Ok(line)
    }

    /// Loads the function library on every primary. Two versions of it coexist while gateways are replaced one by one, since
    /// the names of library and functions carry a digest of the source; the same version replaces itself.
    ///
    /// # Errors
    /// When Redis does not answer or refuses the source.
    pub async fn load_library(&self) -> Result<(), LineError> {
        self.connection.send_to_all(&loading()).await.map_err(|source| LineError::from_redis(LOAD, source))
    }

    /// Calls a function on a sale's keys; where the library is missing (a server that restarted empty, a new
    /// primary), loads it and calls once more.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        attempt: &'static str,
        sale: &SaleId,
        arguments: &[String],
    ) -> Result<T, LineError> {
        let mut command = redis::cmd("FCALL");
        command.arg(format!("{}_{attempt}", library().name)).arg(keys::KEY_COUNT);
        let keys = keys::of(sale);
        command.arg(&keys);
        for argument in arguments {
            command.arg(argument);
        }
        match self.connection.send(&command).await {
            Err(error) if is_missing_library(&error) => {
                let loaded = self.connection.send_beside(&keys[0], &loading()).await;
                loaded.map_err(|source| LineError::from_redis(LOAD, source))?;
                self.connection.send(&command).await
            }
            other => other,
        }
        .map_err(|source| LineError::from_redis(attempt, source))
    }

    /// Reads one field of a sale's state; `None` when it is not there.
    pub(crate) async fn read_state(&self, sale: &SaleId, field: &'static str) -> Result<Option<String>, LineError> {
        let mut command = redis::cmd("HGET");
        command.arg(keys::state_of(sale)).arg(field);
        self.connection.send(&command).await.map_err(|source| LineError::from_redis("read a sale's state", source))
    }

    /// The ids of all sales that were ever configured here and not forgotten.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn sales(&self) -> Result<Vec<SaleId>, LineError> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(keys::SALES);
        let ids: Vec<String> =
            self.connection.send(&command).await.map_err(|source| LineError::from_redis("list sales", source))?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Puts a sale on the list. Idempotent.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn list_sale(&self, sale: &SaleId) -> Result<(), LineError> {
        let mut command = redis::cmd("SADD");
        command.arg(keys::SALES).arg(sale.as_str());
        self.connection.send(&command).await.map_err(|source| LineError::from_redis("list a sale", source))
    }

    /// Asks Redis for a sign of life; of a cluster, any node.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn ping(&self) -> Result<(), LineError> {
        let answer = self.connection.send_to_any(&redis::cmd("PING")).await;
        answer.map(drop).map_err(|source| LineError::from_redis("ping", source))
    }
}

/// What loading is called in errors.
const LOAD: &str = "load the function library";

/// The library as this build knows it.
struct Library {
    name: String,
    source: String,
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let digest = Sha256::digest(SOURCE);
        let name = format!("usher_{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
        let source = SOURCE.replace("USHER", &name);
        Library { name, source }
    })
}

fn loading() -> Cmd {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg("REPLACE").arg(&library().source);
    command
}

fn is_missing_library(error: &redis::RedisError) -> bool {
    error.to_string().contains("Function not found")
}
