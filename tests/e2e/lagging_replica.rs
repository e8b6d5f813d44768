//! A primary dies whose replicas had stopped following it: the one that takes its place has never heard of the last
//! joins and calls. The proof that the fault bit: it knows fewer joins than the primary did. Nobody's place is lost.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use stack::redis::{Aof, Redis};
use stack::{Fixture, RedisLayout, StackOptions};

use crate::calling_back;
use crate::line_crowd::Crowd;
use crate::world::{World, wait_for};

/// Whether this one calls itself the primary and may be written to, which takes a replica that follows it.
fn takes_writes(redis: &Redis) -> bool {
    let facts = redis.command(&["INFO", "replication"]).unwrap_or_default();
    let has = |fact: &str| facts.iter().any(|known| known == fact);
    has("role:master") && !has("min_slaves_good_slaves:0")
}

fn joined(redis: &Redis) -> u64 {
    redis.command(&["HGET", "{lagging}:state", "joined"]).unwrap()[0].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_to_a_replica_that_lags_loses_no_place() {
    let options = StackOptions {
        gateways: 2,
        fixture: Fixture::Empty,
        redis: RedisLayout::Sentinel,
        redis_aof: Aof::Off,
        ..StackOptions::default()
    };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    world.create_sale("lagging", json!({"rate_per_min": 1_200, "burst": 2, "state": "paused"})).await;
    let mut crowd = Crowd::of(&world, "lagging");
    crowd.join(150).await;
    world.control(0, reqwest::Method::POST, "/control/sales/lagging/resume").send().await.unwrap();
    crowd.until_inside(20).await;
    world.stack.redis().wait_until_replicated().unwrap();

    // The replicas can no longer log in, so they fall behind; the primary goes on for a while, as it would where its
    // links fell silent. These are closed, which it notices at once, so the bound on its solitude is lifted.
    let servers = world.stack.redis();
    let replicas = servers.others("").unwrap();
    let primary = servers.primary("").unwrap();
    primary.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).unwrap();
    for replica in &replicas {
        replica.command(&["CONFIG", "SET", "masterauth", "wrong"]).unwrap();
        replica.command(&["CLIENT", "KILL", "TYPE", "master"]).unwrap();
    }
    crowd.join(30).await;
    let before = joined(primary);
    assert_eq!(before, 180, "the primary went on alone");

    let (dying, again) = (world.clone(), world.clone());
    let failover = tokio::task::spawn_blocking(move || dying.stack.redis().failover());
    let node = primary.node();
    tokio::task::block_in_place(|| {
        node.wait_until(std::time::Duration::from_secs(10), || match node.pid() {
            None => Ok(()),
            Some(pid) => Err(format!("{pid} still runs")),
        })
    })
    .unwrap();
    for replica in again.stack.redis().servers().iter().filter(|server| server.node().pid().is_some()) {
        replica.command(&["CONFIG", "SET", "masterauth", ""]).unwrap();
    }
    wait_for("another takes writes", || async { replicas.iter().any(|replica| takes_writes(replica)) }).await;
    let answers = Instant::now();
    let next = replicas.iter().find(|replica| takes_writes(replica)).unwrap();
    let called = calling_back::called(next, "lagging").unwrap();
    calling_back::in_time(next, "lagging", called, answers).await;
    failover.await.unwrap().unwrap();
    let next = again.stack.redis().primary("").unwrap();
    assert!(joined(next) < before, "the failover did not bite: the next primary knows {} joins", joined(next));

    crowd.finish().await.are_in_order(1);
}
