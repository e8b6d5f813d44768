//! A private Redis, in any layout, with a line on it, driven without `async` by the tests that compare it with a model.

use queue::{Line, LineOptions};
use stack::RedisLayout;
use stack::redis::{Aof, RedisOptions, Servers};
use tokio::runtime::{Builder, Runtime};

/// A running server and a line connected to it. Stopped when dropped.
pub(crate) struct Server {
    pub(crate) runtime: Runtime,
    pub(crate) line: Line,
    pub(crate) raw: redis::aio::MultiplexedConnection,
    redis: Servers,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_as(RedisLayout::Single, "")
    }

    /// In this layout, with `raw` connected to the server that has this key.
    pub(crate) fn start_as(layout: RedisLayout, key: &str) -> Self {
        let redis = servers(layout);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (line, raw) = runtime.block_on(async { (connect(&redis).await, raw(&redis, key).await) });
        Self { runtime, line, raw, redis }
    }

    pub(crate) fn redis(&self) -> &Servers {
        &self.redis
    }
}

/// Servers in memory alone.
pub(crate) fn servers(layout: RedisLayout) -> Servers {
    let options = match layout {
        RedisLayout::Single => RedisOptions::on_socket(),
        _ => RedisOptions { aof: Aof::Off, ..RedisOptions::default() },
    };
    Servers::start(layout, &options).expect("a Redis of our own")
}

/// A line as a gateway connects to it.
pub(crate) async fn connect(redis: &Servers) -> Line {
    Line::connect(&redis.url(), &LineOptions::default()).await.expect("a line on our own Redis")
}

/// A connection beside the line's to the server that has a key, to look and to do harm.
pub(crate) async fn raw(redis: &Servers, key: &str) -> redis::aio::MultiplexedConnection {
    let server = redis.primary(key).expect("somebody has the key");
    let client = redis::Client::open(server.url()).expect("the address of our own Redis");
    client.get_multiplexed_async_connection().await.expect("a connection to our own Redis")
}
