//! What a sale costs a gateway in memory: nothing per visitor. One process, before and after a million have joined.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use queue::configure::Expect;
use serde_json::json;

use crate::Effort;
use crate::cores::resident_bytes;
use crate::crowd::{Crowd, MILLION};
use crate::house::House;
use crate::row::{Bar, Row};

const MIB: f64 = 1024.0 * 1024.0;
/// Memory counts as settled when it moved by no more than this in a while.
const SETTLED_BYTES: u64 = 128 * 1024;
const WHILE: Duration = Duration::from_secs(3);
/// And at most after this long.
const PATIENCE: Duration = Duration::from_secs(40);

pub(super) fn measure(_: Effort) -> Result<Vec<Row>> {
    let house = House::open(&[])?;
    let settings = json!({"rate_per_min": 6_000, "max_inside": 1_000, "state": "paused"});
    house.create_sale("empty", &settings)?;
    house.create_sale("full", &settings)?;
    let before = settled(house.gateway_pid())?;
    // Past the gateway, so that it holds what the sale costs and nothing of how visitors came.
    house.runtime().block_on(async {
        let crowd = Crowd::at(house.redis_url(), "full").await?;
        crowd.configure(&settings.to_string(), Expect::Any).await?;
        crowd.join(MILLION).await
    })?;
    house.wait_until("full", "the gateway knows of a million", |numbers| {
        numbers["waiting"].as_u64() == Some(MILLION as u64)
    })?;
    let after = settled(house.gateway_pid())?;
    eprintln!("#   {:.2} MiB with two empty sales, {:.2} MiB with a million in one", before / MIB, after / MIB);
    Ok(vec![Row::alone("gateway_memory_per_sale_1m", "MiB", (after - before) / MIB, Bar::AtMost(1.0))])
}

/// The process's memory once it has come to rest.
fn settled(pid: u32) -> Result<f64> {
    let until = Instant::now() + PATIENCE;
    let read = || resident_bytes(pid).context("the memory of a process can only be read on Linux");
    let mut before = read()?;
    loop {
        std::thread::sleep(WHILE);
        let now = read()?;
        if now.abs_diff(before) <= SETTLED_BYTES || Instant::now() > until {
            return Ok(now as f64);
        }
        before = now;
    }
}
