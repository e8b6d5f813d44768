//! What a waiting visitor costs Redis in memory, among a million of them.

use anyhow::Result;
use queue::configure::Expect;

use crate::Effort;
use crate::crowd::{Crowd, MILLION, redis, used_bytes};
use crate::row::{Bar, Row};

pub(super) fn measure(_: Effort) -> Result<Vec<Row>> {
    let redis = redis()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let crowd = Crowd::at(&redis.url(), "memory").await?;
        crowd.configure(r#"{"rate_per_min": 6000, "max_inside": 1000, "state": "paused"}"#, Expect::Absent).await?;
        let before = used_bytes(&redis)?;
        crowd.join(MILLION).await?;
        // The published table and the horizon's presence belong to the price.
        crowd.line.snapshot(&crowd.sale, 0, queue::Clock::Server).await?;
        let each = (used_bytes(&redis)? - before) / MILLION as f64;
        Ok(vec![Row::alone("redis_memory_per_waiting", "B", each, Bar::AtMost(160.0))])
    })
}
