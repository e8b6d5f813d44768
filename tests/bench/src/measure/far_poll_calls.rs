//! How many Redis commands a poll from behind the horizon causes: all that ran meanwhile, less what the gateway's own
//! clockwork runs in the same time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::poll::{line_of_far_visitors, polls};
use crate::Effort;
use crate::row::{Bar, Row};
use crate::wrk;

/// Below this a count says nothing: ticks are not quite regular.
const GRAIN: f64 = 0.001;

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    ensure!(wrk::is_there(), "wrk is missing: `sh tests/stack/setup.sh bench` installs it");
    let seconds = if effort.quick { 2 } else { 8 };
    let (house, places) = line_of_far_visitors("far")?;
    // Before calls are counted the joins must be over and done with.
    let calls = || -> Result<(u64, u64)> { Ok((house.redis_calls("fcall")?, house.redis_calls("zscore")?)) };
    let (began, idle_before) = (Instant::now(), calls()?);
    std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    let (idle_s, idle_after) = (began.elapsed().as_secs_f64(), calls()?);
    let idle_per_s = (idle_after.0 - idle_before.0) as f64 / idle_s;

    let requests = polls("far", &places)?;
    let (began, before) = (Instant::now(), calls()?);
    let load = requests.round(house.url(), seconds, house.gateway_pid())?;
    let (took_s, after) = (began.elapsed().as_secs_f64(), calls()?);
    let caused = (after.0 - before.0) as f64 - idle_per_s * took_s;
    // Every operation on a visitor looks up its score; clockwork looks up none.
    let looked_up = after.1 - before.1;
    let per_poll = (caused / load.requests).max(looked_up as f64 / load.requests);
    eprintln!(
        "#   {} polls: {} function calls, {looked_up} look-ups of a visitor; clockwork alone calls {idle_per_s:.1}/s",
        load.requests,
        after.0 - before.0
    );
    let told = if per_poll.abs() < GRAIN { 0.0 } else { per_poll.max(0.0) };
    Ok(vec![Row::alone("redis_calls_per_far_poll", "", told, Bar::AtMost(0.0))])
}
