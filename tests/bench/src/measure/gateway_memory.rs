//! What a million visitors in a sale cost a gateway in memory, which ought to be nothing per visitor: the resident memory
//! of one process that knows two sales, before and after they are in one of them.
//!
//! Before, five thousand wait in the first sale and nobody in the other, so that what the process takes once, for the
//! first line that it reads, does not count. All join past the gateway: measured is what it keeps of a line, not what
//! requests cost it.

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

/// Waiting in the first sale: enough that its rank table is as large as any.
const OTHERS: usize = 5_000;

pub(super) fn measure(_: Effort) -> Result<Vec<Row>> {
    let house = House::open(&[])?;
    let settings = json!({"rate_per_min": 6_000, "max_inside": 1_000, "state": "paused"});
    house.create_sale("first", &settings)?;
    house.create_sale("full", &settings)?;
    fill(&house, &settings, "first", OTHERS)?;
    let before = settled(house.gateway_pid())?;
    fill(&house, &settings, "full", MILLION)?;
    let after = settled(house.gateway_pid())?;
    let (before_mib, after_mib) = (before / MIB, after / MIB);
    eprintln!(
        "#   {before_mib:.2} MiB with one line of {OTHERS} and an empty sale, {after_mib:.2} MiB with a million in the latter"
    );
    Ok(vec![Row::alone("gateway_memory_per_sale_1m", "MiB", (after - before) / MIB, Bar::AtMost(1.0))])
}

/// Visitors join past the gateway, which then learns of them.
fn fill(house: &House, settings: &Value, sale: &str, visitors: usize) -> Result<()> {
    house.runtime().block_on(async {
        let crowd = Crowd::at(house.redis_url(), sale).await?;
        crowd.configure(&settings.to_string(), Expect::Any).await?;
        crowd.join(visitors).await
    })?;
    house.wait_until(sale, "the gateway knows of all", |numbers| numbers["waiting"].as_u64() == Some(visitors as u64))
}

/// The process's memory once it has come to rest; as it is, and said so, when it does not.
fn settled(pid: u32) -> Result<f64> {
    let until = Instant::now() + PATIENCE;
    let read = || resident_bytes(pid).context("the memory of a process can only be read on Linux");
    let mut before = read()?;
    loop {
        std::thread::sleep(WHILE);
        let now = read()?;
        let moved = now.abs_diff(before);
        if moved <= SETTLED_BYTES {
            return Ok(now as f64);
        }
        if Instant::now() > until {
            eprintln!("#   not at rest after {PATIENCE:?}: it moved by {} KiB in the last {WHILE:?}", moved / 1024);
            return Ok(now as f64);
        }
        before = now;
    }
}
