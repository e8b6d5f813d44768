//! The way to the line's Redis: one server, the primary under Sentinel, or a cluster.
//!
//! Cheap to clone, shared by all callers, reconnects by itself. No caller waits for a reconnect without bound: who
//! finds no way hears so, and may try again.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, ResponsePolicy, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo, RedisResult, Value};

use crate::address::Address;
use crate::sentinel::Sentinel;
use crate::{LineError, LineOptions};

/// How often a cluster is tried for one call, and how long the pauses grow (ms): a slot that is on its way to another
/// node asks for patience, and the whole call is bounded by the response timeout.
const CLUSTER_RETRIES: u32 = 8;
const CLUSTER_PAUSE_MS: (u64, u64) = (10, 250);

/// A server that vanished without a word is given up after this long; the kernel alone would wait a quarter of an hour.
const SILENCE: Duration = Duration::from_secs(5);

/// How a connection to one server behaves: small writes leave at once, and silence ends it.
pub(crate) fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE);
    settings
}

/// A shared connection.
#[derive(Clone)]
pub(crate) enum Connection {
    /// One server.
    Single(ConnectionManager),
    /// The primary that sentinels name.
    Sentinel(Arc<Sentinel>),
    /// Every primary of a cluster.
    Cluster(ClusterConnection),
}

impl Connection {
    pub(crate) async fn open(url: &str, options: &LineOptions) -> Result<Self, LineError> {
        let attempt = "connect";
        let refused = |source| LineError::Refused { attempt, source };
        let failed = |source| LineError::from_redis(attempt, source);
        Ok(match Address::parse(url).map_err(refused)? {
            Address::Single(url) => {
                let info = url.into_connection_info().map_err(refused)?.set_tcp_settings(tcp_settings());
                let client = Client::open(info).map_err(refused)?;
                // Waiting for a reconnect would hold every caller, so the manager tries once per call and at most
                // once a second.
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(options.connect_timeout))
                    .set_response_timeout(Some(options.response_timeout))
                    .set_number_of_retries(1)
                    .set_max_delay(Duration::from_millis(500))
                    .set_pipeline_buffer_size(1024);
                Self::Single(client.get_connection_manager_with_config(config).await.map_err(failed)?)
            }
            Address::Sentinel { sentinels, name, credentials } => {
                let sentinel = Sentinel::connect(&sentinels, name, credentials, options.clone());
                Self::Sentinel(Arc::new(sentinel.await.map_err(failed)?))
            }
            Address::Cluster(nodes) => {
                let client = ClusterClient::builder(nodes)
                    .connection_timeout(options.connect_timeout)
                    .response_timeout(options.response_timeout)
                    .overall_response_timeout(Some(options.response_timeout))
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(CLUSTER_PAUSE_MS.0)
                    .max_retry_wait(CLUSTER_PAUSE_MS.1)
                    .build()
                    .map_err(refused)?;
                Self::Cluster(client.get_async_connection().await.map_err(failed)?)
            }
        })
    }

    /// Sends a command to where its keys are.
    pub(crate) async fn send<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let value = match self {
            Self::Single(connection) => connection.clone().req_packed_command(command).await?,
            Self::Sentinel(sentinel) => sentinel.send(command).await?,
            Self::Cluster(connection) => connection.clone().req_packed_command(command).await?,
        };
        Ok(redis::from_redis_value(value)?)
    }

    /// Sends a command that names no key to where this key is.
    pub(crate) async fn send_beside(&self, key: &str, command: &Cmd) -> RedisResult<()> {
        let Self::Cluster(connection) = self else { return self.send(command).await };
        let node = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
        connection.clone().route_command(command.clone(), RoutingInfo::SingleNode(node)).await.map(drop)
    }

    /// Sends a command to every primary.
    pub(crate) async fn send_to_all(&self, command: &Cmd) -> RedisResult<()> {
        let Self::Cluster(connection) = self else { return self.send(command).await };
        let all = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::AllSucceeded));
        connection.clone().route_command(command.clone(), RoutingInfo::MultiNode(all)).await.map(drop)
    }

    /// Sends a command that any node may answer.
    pub(crate) async fn send_to_any(&self, command: &Cmd) -> RedisResult<Value> {
        let Self::Cluster(connection) = self else { return self.send(command).await };
        let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary);
        connection.clone().route_command(command.clone(), any).await
    }

    /// Whether one node may be gone while others serve.
    pub(crate) fn has_parts(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}
