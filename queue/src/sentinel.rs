//! A connection to whichever server the sentinels call the primary.
//!
//! The client library finds a primary once; staying with it is done here. One connection is shared until something
//! says that it leads to the wrong server or to none: then the sentinels are asked again, by one caller while others
//! wait for the answer. Questions come ever more slowly while they do not help, and in between callers hear the last
//! failure at once instead of waiting.
//!
//! Sentinels may disagree for a while, so most of them are heard, and the answer with the highest configuration epoch
//! counts, which each failover raises. The server named must say itself that it is a primary.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind, Value,
};
use tokio::task::JoinSet;

use crate::LineOptions;
use crate::connection::tcp_settings;

/// Pauses between questions that did not help: from the first to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The primary under a name, as some sentinels know it.
pub(crate) struct Sentinel {
    sentinels: Vec<Client>,
    name: String,
    credentials: String,
    options: LineOptions,
    current: Mutex<Current>,
    asking: tokio::sync::Mutex<()>,
}

/// What is known of the primary.
struct Current {
    connection: Option<MultiplexedConnection>,
    /// Which connection this is: whoever saw one fail must not take away the next.
    number: u64,
    /// Failures since the last answer.
    failures: u32,
    asked: Option<Instant>,
    why: Option<RedisError>,
}

impl Sentinel {
    /// Asks for the primary and connects to it.
    pub(crate) async fn connect(
        sentinels: &[String],
        name: String,
        credentials: String,
        options: LineOptions,
    ) -> RedisResult<Self> {
        let sentinels = sentinels.iter().map(|url| Client::open(url.as_str())).collect::<RedisResult<_>>()?;
        let current = Current { connection: None, number: 0, failures: 0, asked: None, why: None };
        let asking = tokio::sync::Mutex::new(());
        let sentinel = Self { sentinels, name, credentials, options, current: Mutex::new(current), asking };
        sentinel.primary().await?;
        Ok(sentinel)
    }

    /// Sends a command to the primary. Where the connection turns out not to lead there any more, the sentinels are
    /// asked and the command is sent once more; it may then have happened twice.
    pub(crate) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let first = match self.send_once(command).await {
            Err(error) if leads_elsewhere(&error) => error,
            outcome => return outcome,
        };
        // Who waited as long as an answer may take has waited enough.
        if first.is_timeout() {
            return Err(first);
        }
        self.send_once(command).await
    }

    async fn send_once(&self, command: &Cmd) -> RedisResult<Value> {
        let (number, mut connection) = self.primary().await?;
        let outcome = connection.send_packed_command(command).await.and_then(Value::extract_error);
        let mut current = self.current();
        match &outcome {
            Err(error) if leads_elsewhere(error) => {
                if current.number == number && current.connection.take().is_some() {
                    current.failures += 1;
                    current.why = Some(error.clone());
                }
            }
            _ => current.failures = 0,
        }
        drop(current);
        outcome
    }

    /// The connection in use, or a new one.
    async fn primary(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        if let Some(known) = self.known()? {
            return Ok(known);
        }
        let _asking = self.asking.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(known) = self.known()? {
            return Ok(known);
        }
        self.current().asked = Some(Instant::now());
        let found = self.find().await;
        let mut current = self.current();
        match found {
            Ok(connection) => {
                current.number += 1;
                current.connection = Some(connection.clone());
                Ok((current.number, connection))
            }
            Err(error) => {
                current.failures += 1;
                current.why = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The connection in use; the last failure while it is too early to ask again; nothing when it is time to.
    fn known(&self) -> RedisResult<Option<(u64, MultiplexedConnection)>> {
        let current = self.current();
        if let Some(connection) = &current.connection {
            return Ok(Some((current.number, connection.clone())));
        }
        let early = current.asked.is_some_and(|asked| asked.elapsed() < pause(current.failures));
        match &current.why {
            Some(why) if early => Err(why.clone()),
            _ => Ok(None),
        }
    }

    async fn find(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.connect_timeout));
        let mut questions = JoinSet::new();
        for sentinel in &self.sentinels {
            questions.spawn(ask(sentinel.clone(), self.name.clone(), config.clone()));
        }
        let (mut best, mut answers) = (None, 0);
        let mut why = RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no sentinel answers"));
        while let Some(answer) = questions.join_next().await {
            match answer {
                Ok(Ok(told)) => {
                    answers += 1;
                    best = best.max(Some(told));
                }
                Ok(Err(error)) => why = error,
                Err(_) => {}
            }
            if answers > self.sentinels.len() / 2 {
                break;
            }
        }
        let Told { host, port, .. } = best.ok_or(why)?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let url = format!("redis://{}{host}:{port}/", self.credentials);
        let client = Client::open(url.into_connection_info()?.set_tcp_settings(tcp_settings()))?;
        let config = config.set_response_timeout(Some(self.options.response_timeout));
        let config = config.set_pipeline_buffer_size(1024);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
        match role.first().map(redis::from_redis_value_ref::<String>) {
            Some(Ok(role)) if role == "master" => Ok(connection),
            _ => {
                Err((ErrorKind::MasterNameNotFoundBySentinel, "the sentinels name a server that is no primary").into())
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one sentinel says, ordered by configuration epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    epoch: u64,
    host: String,
    port: String,
}

async fn ask(sentinel: Client, name: String, config: AsyncConnectionConfig) -> RedisResult<Told> {
    let mut connection = sentinel.get_multiplexed_async_connection_with_config(&config).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("MASTER").arg(name);
    let mut facts: HashMap<String, String> = question.query_async(&mut connection).await?;
    let epoch = facts.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    match (facts.remove("ip"), facts.remove("port")) {
        (Some(host), Some(port)) => Ok(Told { epoch, host, port }),
        _ => Err((ErrorKind::UnexpectedReturnType, "a sentinel names no address").into()),
    }
}

/// The first question after a failure comes at once, further ones after growing pauses.
fn pause(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        _ => PAUSE_MAX.min(PAUSE_MIN * 2u32.pow((failures - 2).min(8))),
    }
}

/// Whether an answer means that this is not the primary, or that nobody is there.
fn leads_elsewhere(error: &RedisError) -> bool {
    error.is_io_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading)
        )
        // A primary that has lost its replicas, perhaps because it is no longer the one.
        || error.code() == Some("NOREPLICAS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let pauses: Vec<u128> = (0..8).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 50, 100, 200, 400, 500, 500]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }

    #[test]
    fn the_latest_epoch_wins() {
        let told = |epoch, port: &str| Some(Told { epoch, host: "h".to_owned(), port: port.to_owned() });
        assert_eq!(told(9, "1").max(told(10, "0")).max(None), told(10, "0"));
    }
}
