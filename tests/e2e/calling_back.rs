//! How soon visitors are called again once a Redis that lost something answers. After a loss nobody is called until those
//! near the front have had the time to ask once; beyond that calm it may take a moment, and no longer.

use std::time::{Duration, Instant};

use stack::redis::Redis;

use crate::world::wait_for;

/// How long calling rests after a loss: one poll interval of those near the front.
pub const CALM: Duration = Duration::from_secs(5);
/// How long it may take beyond that: until silence counts, where those in front are gone; until the gateways have noticed;
/// a tick.
const AFTER_IT: Duration = Duration::from_secs(3);

/// How many visitors of the sale were ever called, as this Redis knows it; nothing while it does not know the sale.
pub fn called(redis: &Redis, sale: &str) -> Option<u64> {
    redis.command(&["HGET", &format!("{{{sale}}}:state"), "called"]).ok()?.first()?.parse().ok()
}

/// Waits until more than `before` were called, and checks how long that took from when Redis answered again.
pub async fn in_time(redis: &Redis, sale: &str, before: u64, answers: Instant) {
    wait_for("calling is back", || async { called(redis, sale).is_some_and(|now| now > before) }).await;
    let took = answers.elapsed();
    println!("{sale}: the first call came {took:?} after Redis answered again");
    assert!(took < CALM + AFTER_IT, "calling came back {took:?} after Redis answered again");
}
