//! Redis loses everything, twice: emptied in mid-sale, then killed and restarted with nothing on disk. Nobody's place is
//! lost, nobody overtakes anybody, and calling is back within seconds. Each loss proves that it bit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use stack::redis::Aof;
use stack::{Fixture, StackOptions};

use crate::calling_back;
use crate::line_crowd::Crowd;
use crate::world::{World, wait_for};

const FANS: usize = 300;
/// Empties Redis and answers how many waited before and how many after.
const EMPTY: &str = "local n = redis.call('ZCARD', KEYS[1]); redis.call('FLUSHALL'); \
                     return {n, redis.call('ZCARD', KEYS[1])}";

fn generation(world: &World) -> Option<String> {
    world.stack.redis().servers()[0]
        .command(&["HGET", "{lossy}:state", "gen"])
        .ok()?
        .pop()
        .filter(|gen_| !gen_.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn places_and_order_outlive_a_redis_that_forgets() {
    let options = StackOptions { fixture: Fixture::Empty, redis_aof: Aof::Off, ..StackOptions::default() };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    world.create_sale("lossy", json!({"rate_per_min": 1_200, "burst": 2, "state": "paused"})).await;
    let mut crowd = Crowd::of(&world, "lossy");
    crowd.join(FANS).await;
    world.control(0, reqwest::Method::POST, "/control/sales/lossy/resume").send().await.unwrap();
    crowd.until_inside(60).await;

    // Emptied: the line held many, and then nobody.
    let redis = &world.stack.redis().servers()[0];
    let counts = redis.command(&["EVAL", EMPTY, "1", "{lossy}:line"]).unwrap();
    let counts: Vec<u64> = counts.iter().map(|n| n.parse().unwrap()).collect();
    assert!(counts[0] > 50 && counts[1] == 0, "the loss did not bite: {counts:?}");
    let (lost, before) = (Instant::now(), crowd.inside());
    // Redis answers all the while; it counts anew.
    calling_back::in_time(redis, "lossy", 0, lost).await;
    // Those whose turn had come before the loss may still claim; many more means that calling is back.
    crowd.until_inside(before + 60).await;
    assert!(lost.elapsed() < Duration::from_secs(15), "calling came back after {:?}", lost.elapsed());

    // Killed, with nothing on disk.
    let joined = world.numbers("lossy").await["joined_total"].as_u64().unwrap();
    assert_eq!(joined, 0, "what was joined before the loss is not known to the line any more");
    let old = generation(&world);
    world.stack.redis().node().kill9().unwrap();
    crowd.join(1).await;
    let again = world.clone();
    tokio::task::spawn_blocking(move || again.stack.redis().up()).await.unwrap().unwrap();
    let answers = Instant::now();
    wait_for("the sale is back", || async { generation(&world).is_some_and(|new| Some(new) != old) }).await;
    calling_back::in_time(redis, "lossy", 0, answers).await;

    // Also who joined while Redis was dead.
    crowd.finish().await.are_in_order(2);
}
