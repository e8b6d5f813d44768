//! Waiting costs nothing: ten thousand polls from behind the horizon make no call to Redis. What is called meanwhile is
//! the gateway's own clockwork, ticks and snapshots, which depends on time and not on polls.

use std::time::Instant;

use futures_util::stream::{self, StreamExt};
use serde_json::json;
use stack::{Fixture, Setting, StackOptions};

use crate::world::{World, text};

const POLLS: usize = 10_000;
/// Ticks, looks at the sale and at the list of sales, per second, of one gateway; generously.
const CLOCKWORK_PER_S: f64 = 40.0;

/// How often Redis has run a command.
fn calls(world: &World, command: &str) -> u64 {
    let stats = world.stack.redis().servers()[0].command(&["INFO", "commandstats"]).unwrap();
    let line = stats.iter().find(|line| line.starts_with(&format!("cmdstat_{command}:"))).cloned().unwrap_or_default();
    line.split(['=', ',']).nth(1).and_then(|calls| calls.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_behind_the_horizon_call_nobody() {
    let settings = vec![Setting::Gateway("limits.visitor_per_s=0".to_owned())];
    let options = StackOptions { fixture: Fixture::Empty, settings, ..StackOptions::default() };
    let world = tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap();
    world.create_sale("far", json!({"rate_per_min": 1, "burst": 1, "max_inside": 1})).await;
    let mut places = Vec::new();
    for _ in 0..150 {
        places.push(text(&world.join("far").await["place"]));
    }
    // The horizon is a hundred ranks at this rate; wait until the gateway has seen how long the line is.
    let last = places.last().unwrap().clone();
    crate::world::wait_for("the line is seen", || async {
        world.poll("far", &last).await["position"].as_u64().is_some_and(|position| position > 140)
    })
    .await;
    let presence = calls(&world, "zadd");
    crate::world::wait_for("the last poll is far", || async {
        let before = calls(&world, "zadd");
        world.poll("far", &last).await;
        calls(&world, "zadd") == before
    })
    .await;

    let (fcalls, zadds, began) = (calls(&world, "fcall"), calls(&world, "zadd"), Instant::now());
    let far: Vec<&String> = places[130..].iter().collect();
    let polled = stream::iter(0..POLLS)
        .map(|i| {
            let (world, place) = (&world, far[i % far.len()]);
            async move {
                let document = world.poll("far", place).await;
                assert_eq!(document["state"], "waiting");
            }
        })
        .buffer_unordered(32)
        .count()
        .await;
    let (fcalls, zadds) = (calls(&world, "fcall") - fcalls, calls(&world, "zadd") - zadds);
    let allowed = began.elapsed().as_secs_f64() * CLOCKWORK_PER_S + 20.0;
    assert_eq!(polled, POLLS);
    assert_eq!(zadds, 0, "no poll was noted as presence");
    assert!((fcalls as f64) < allowed, "{fcalls} calls in {:?}: they grow with polls", began.elapsed());

    // The measure is not blind: a poll near the front does call.
    let near = text(&json!(places[1]));
    world.poll("far", &near).await;
    assert!(calls(&world, "zadd") > presence, "a poll near the front is presence");
}
