//! The tick with a million waiting: as its caller sees it, as Redis counts it, and in processor time, which neighbours on
//! the machine do not stretch.
//!
//! Each tick calls up to a thousand; those are seen before it and replaced by as many joins after it, outside the
//! time that counts, so the line stays at a million.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use queue::Clock;
use queue::configure::Expect;
use stack::redis::Redis;

use crate::Effort;
use crate::cores::main_thread_ms;
use crate::crowd::{Crowd, MILLION, Waiting, redis};
use crate::rounds::quantile;
use crate::row::{Bar, Row};

/// Six hundred thousand a minute, and so a thousand a tick.
const SETTINGS: &str = r#"{"rate_per_min": 600000, "burst": 10000, "max_inside": 10000000, "claim_window_s": 86400}"#;
/// Between two ticks of a gateway.
const TICK: Duration = Duration::from_millis(100);
/// As many as a tick calls at most.
const FRONT: usize = 1_000;
const P99_MS: Bar = Bar::AtMost(10.0);

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    let redis = redis()?;
    redis.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(play(&redis, if effort.quick { 100 } else { 500 }))
}

async fn play(redis: &Redis, ticks: usize) -> Result<Vec<Row>> {
    let crowd = Crowd::at(&redis.url(), "admit").await?;
    crowd.configure(&SETTINGS.replace('{', r#"{"state": "paused", "#), Expect::Absent).await?;
    let mut line = crowd.join(MILLION).await?;
    crowd.configure(SETTINGS, Expect::Any).await?;
    let (mut client_ms, mut server_ms, mut used_ms, mut snapshot_ms, mut called) = (vec![], vec![], vec![], vec![], 0);
    let used = || redis.node().pid().and_then(main_thread_ms).unwrap_or(f64::NAN);
    for tick in 0..ticks {
        crowd.seen(&line[called..called + FRONT]).await?;
        tokio::time::sleep(TICK).await;
        let (began, used_before) = (Instant::now(), used());
        let done = crowd.line.admit(&crowd.sale, Clock::Server).await?;
        client_ms.push(began.elapsed().as_secs_f64() * 1e3);
        used_ms.push(used() - used_before);
        server_ms.push(last_call_ms(redis)?);
        ensure!(done.called > 0 || tick == 0, "tick {tick} called nobody: {done:?}");
        called += usize::try_from(done.called)?;
        let joined: Vec<Waiting> = crowd.join(usize::try_from(done.called)?).await?;
        line.extend(joined);
        if tick % 5 == 0 {
            let began = Instant::now();
            crowd.line.snapshot(&crowd.sale, 0, Clock::Server).await?;
            snapshot_ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    eprintln!("#   {called} called in {ticks} ticks, {} joined meanwhile", line.len() - MILLION);
    for (what, times) in [
        ("tick as its caller sees it", &client_ms),
        ("tick in Redis", &server_ms),
        ("tick in processor time", &used_ms),
        ("snapshot", &snapshot_ms),
    ] {
        let at = |share| quantile(times.clone(), share);
        eprintln!("#   {what}: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", at(0.5), at(0.99), at(1.0));
    }
    Ok(vec![
        Row::alone("admit_p99_1m", "ms", quantile(client_ms, 0.99), P99_MS),
        Row::alone("admit_p99_1m_in_redis", "ms", quantile(server_ms, 0.99), P99_MS),
        Row::alone("admit_p99_1m_processor", "ms", quantile(used_ms, 0.99), P99_MS),
        Row::alone("snapshot_p99_1m", "ms", quantile(snapshot_ms, 0.99), Bar::None),
    ])
}

/// How long Redis worked on the last command that it ended, by its slow log.
fn last_call_ms(redis: &Redis) -> Result<f64> {
    let entry = redis.command(&["SLOWLOG", "GET", "1"])?;
    // Number, time, microseconds, then the command.
    let us: f64 = entry.get(2).context("the slow log is empty")?.parse().context("the slow log has another form")?;
    Ok(us / 1e3)
}
