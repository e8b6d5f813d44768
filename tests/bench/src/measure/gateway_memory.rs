//! What a sale costs a gateway in memory: nothing per visitor. One process, before and after a million have joined.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use queue::configure::Expect;
use serde_json::{Value, json};

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

/// Waiting in the other sale: enough that its rank table is as large as any.
const OTHERS: usize = 5_000;

pub(super) fn measure(_: Effort) -> Result<Vec<Row>> {
    let house = House::open(&[])?;
    let settings = json!({"rate_per_min": 6_000, "max_inside": 1_000, "state": "paused"});
    house.create_sale("first", &settings)?;
    house.create_sale("full", &settings)?;
    // What the process takes once, for the first line that it reads, is no sale's.
    fill(&house, &settings, "first", OTHERS)?;
    let before = settled(house.gateway_pid())?;
    fill(&house, &settings, "full", MILLION)?;
    let after = settled(house.gateway_pid())?;
    eprintln!("#   {:.2} MiB with one empty sale of two, {:.2} MiB with a million in it", before / MIB, after / MIB);
    Ok(vec![Row::alone("gateway_memory_per_sale_1m", "MiB", (after - before) / MIB, Bar::AtMost(1.0))])
}

/// Visitors join past the gateway, so that it holds what the sale costs and nothing of how they came.
fn fill(house: &House, settings: &Value, sale: &str, visitors: usize) -> Result<()> {
    house.runtime().block_on(async {
        let crowd = Crowd::at(house.redis_url(), sale).await?;
        crowd.configure(&settings.to_string(), Expect::Any).await?;
        crowd.join(visitors).await
    })?;
    house.wait_until(sale, "the gateway knows of all", |numbers| numbers["waiting"].as_u64() == Some(visitors as u64))
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
