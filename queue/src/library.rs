//! The connection and the function library: loading it, calling it, loading it again where it is missing.

use std::time::Duration;

use queue_token::SaleId;
use redis::FromRedisValue;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use crate::{LineError, keys};

/// The library's source: what the functions share, then one file per operation.
const SOURCE: &str = concat!(
    include_str!("../lua/library.lua"),
    include_str!("../lua/configure.lua"),
    include_str!("../lua/join.lua"),
    include_str!("../lua/admit.lua"),
    include_str!("../lua/seen.lua"),
    include_str!("../lua/claim.lua"),
    include_str!("../lua/renew.lua"),
    include_str!("../lua/depart.lua"),
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
    connection: ConnectionManager,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    /// Connects and loads the function library.
    ///
    /// # Errors
    /// When the address is malformed, or Redis does not answer or refuses the library.
    pub async fn connect(url: &str, options: &LineOptions) -> Result<Self, LineError> {
        let attempt = "connect";
        let client = redis::Client::open(url).map_err(|source| LineError::Refused { attempt, source })?;
        // Waiting for a reconnect would hold every caller, so the manager tries once per call and at most once a second.
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(500))
            .set_pipeline_buffer_size(1024);
        let connection = client
            .get_connection_manager_with_config(config)
            .await
            .map_err(|source| LineError::from_redis(attempt, source))?;
        let line = Self { connection };
        line.load_library().await?;
        Ok(line)
    }

    /// Loads the function library. Two versions of it coexist, since the name carries the version; the same version
    /// replaces itself.
    ///
    /// # Errors
    /// When Redis does not answer or refuses the source.
    pub async fn load_library(&self) -> Result<(), LineError> {
        let mut connection = self.connection.clone();
        redis::cmd("FUNCTION")
            .arg("LOAD")
            .arg("REPLACE")
            .arg(SOURCE)
            .query_async::<()>(&mut connection)
            .await
            .map_err(|source| LineError::from_redis("load the function library", source))
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
        command.arg(format!("usher_v1_{attempt}")).arg(keys::KEY_COUNT);
        for key in keys::of(sale) {
            command.arg(key);
        }
        for argument in arguments {
            command.arg(argument);
        }
        let mut connection = self.connection.clone();
        match command.query_async(&mut connection).await {
            Err(error) if is_missing_library(&error) => {
                self.load_library().await?;
                command.query_async(&mut connection).await
            }
            other => other,
        }
        .map_err(|source| LineError::from_redis(attempt, source))
    }

    /// The ids of all sales that were ever configured here and not forgotten.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn sales(&self) -> Result<Vec<SaleId>, LineError> {
        let mut connection = self.connection.clone();
        let ids: Vec<String> = redis::cmd("SMEMBERS")
            .arg(keys::SALES)
            .query_async(&mut connection)
            .await
            .map_err(|source| LineError::from_redis("list sales", source))?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Puts a sale on the list. Idempotent.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn list_sale(&self, sale: &SaleId) -> Result<(), LineError> {
        let mut connection = self.connection.clone();
        redis::cmd("SADD")
            .arg(keys::SALES)
            .arg(sale.as_str())
            .query_async::<()>(&mut connection)
            .await
            .map_err(|source| LineError::from_redis("list a sale", source))
    }

    /// Asks Redis for a sign of life.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn ping(&self) -> Result<(), LineError> {
        let mut connection = self.connection.clone();
        redis::cmd("PING")
            .query_async::<()>(&mut connection)
            .await
            .map_err(|source| LineError::from_redis("ping", source))
    }
}

fn is_missing_library(error: &redis::RedisError) -> bool {
    error.to_string().contains("Function not found")
}
