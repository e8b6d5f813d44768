//! A private Redis with a line on it, driven without `async` by the tests that compare it with a model.

use queue::{Line, LineOptions};
use stack::redis::{Redis, RedisOptions};
use tokio::runtime::{Builder, Runtime};

/// A running server and a line connected to it. Stopped when dropped.
pub(crate) struct Server {
    pub(crate) runtime: Runtime,
    pub(crate) line: Line,
    pub(crate) raw: redis::aio::MultiplexedConnection,
    redis: Redis,
}

impl Server {
    pub(crate) fn start() -> Self {
        let redis = Redis::start(&RedisOptions::on_socket()).expect("a Redis of our own");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (line, raw) = runtime.block_on(async { (connect(&redis).await, raw(&redis).await) });
        Self { runtime, line, raw, redis }
    }

    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }
}

/// A line as a gateway connects to it.
pub(crate) async fn connect(redis: &Redis) -> Line {
    Line::connect(&redis.url(), &LineOptions::default()).await.expect("a line on our own Redis")
}

/// A connection beside the line's, to look and to do harm.
pub(crate) async fn raw(redis: &Redis) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(redis.url()).expect("the address of our own Redis");
    client.get_multiplexed_async_connection().await.expect("a connection to our own Redis")
}
