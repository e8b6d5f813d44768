//! Redis comes back with less than it had: killed with its log on disk, which loses nothing; cut off from power, which
//! loses the end of the log; and restored from an old dump. Nobody's place is lost, nobody is overtaken,
//! and no word of the organiser is taken back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use stack::redis::Aof;
use stack::{Fixture, StackOptions};

use crate::calling_back;
use crate::line_crowd::Crowd;
use crate::world::{World, wait_for};

/// What Redis itself says of the sale.
struct Told {
    joined: u64,
    called: u64,
    generation: u64,
}

fn told(world: &World) -> Option<Told> {
    let command = ["HMGET", "{restored}:state", "joined", "called", "gen"];
    let numbers = world.stack.redis().servers()[0].command(&command).ok()?;
    let number = |i: usize| numbers.get(i)?.parse().ok();
    Some(Told { joined: number(0)?, called: number(1)?, generation: number(2)? })
}

async fn started(aof: Aof) -> (Arc<World>, Crowd) {
    let options = StackOptions { gateways: 2, fixture: Fixture::Empty, redis_aof: aof, ..StackOptions::default() };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    world.create_sale("restored", json!({"rate_per_min": 1_200, "burst": 2, "state": "paused"})).await;
    let mut crowd = Crowd::of(&world, "restored");
    crowd.join(150).await;
    world.control(0, reqwest::Method::POST, "/control/sales/restored/resume").send().await.unwrap();
    crowd.until_inside(20).await;
    (world, crowd)
}

/// Starts Redis again and waits until the sale has begun to regroup; what Redis says then, and since when it answers.
async fn back(world: &Arc<World>, before: &Told) -> (Told, Instant) {
    let again = world.clone();
    tokio::task::spawn_blocking(move || again.stack.redis().up()).await.unwrap().unwrap();
    let answers = Instant::now();
    wait_for("the line noticed", || async { told(world).is_some_and(|now| now.generation > before.generation) }).await;
    (told(world).unwrap(), answers)
}

fn data(world: &World, file: &str) -> PathBuf {
    PathBuf::from(&world.ready().dir).join("redis").join(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_disk_loses_nothing_to_a_kill_and_its_end_to_a_power_cut() {
    let (world, mut crowd) = started(Aof::Everysec).await;
    let before = told(&world).unwrap();
    world.stack.redis().node().kill9().unwrap();
    let (after, answers) = back(&world, &before).await;
    assert_eq!((before.joined, after.joined), (150, 150), "the log has it all");
    let redis = &world.stack.redis().servers()[0];
    calling_back::in_time(redis, "restored", after.called, answers).await;
    wait_for("calling is back", || async { told(&world).is_some_and(|now| now.called > after.called + 10) }).await;

    // The machine loses power: what the system had not written yet is gone. The last joins are in it.
    let log = data(&world, "appendonlydir/appendonly.aof.1.incr.aof");
    let kept = std::fs::metadata(&log).unwrap().len();
    crowd.join(40).await;
    let before = told(&world).unwrap();
    assert_eq!(before.joined, 190);
    world.stack.redis().node().kill9().unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() > kept);
    std::fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(kept).unwrap();
    let (after, answers) = back(&world, &before).await;
    assert!(after.joined < 190, "the power cut did not bite");
    calling_back::in_time(redis, "restored", after.called, answers).await;

    crowd.finish().await.are_in_order(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_dump_brings_nobody_out_of_order() {
    let (world, mut crowd) = started(Aof::Off).await;
    world.stack.redis().servers()[0].command(&["SAVE"]).unwrap();
    // After the dump some are called and go inside, and others join.
    let inside = crowd.inside();
    crowd.join(40).await;
    crowd.until_inside(inside + 40).await;
    let before = told(&world).unwrap();
    assert_eq!(before.joined, 190);
    world.stack.redis().node().kill9().unwrap();
    assert!(data(&world, "dump.rdb").is_file());
    let (after, answers) = back(&world, &before).await;
    assert_eq!(after.joined, 150, "the dump is from before the last joins");
    // At the front of what came back are those who went inside since: they are silent, and hold up nobody.
    calling_back::in_time(&world.stack.redis().servers()[0], "restored", after.called, answers).await;

    crowd.finish().await.are_in_order(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_dump_takes_back_no_word_of_the_organiser() {
    let options = StackOptions { gateways: 2, fixture: Fixture::Empty, redis_aof: Aof::Off, ..StackOptions::default() };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    world.create_sale("restored", json!({"rate_per_min": 600, "state": "open"})).await;
    let redis = &world.stack.redis().servers()[0];
    let said = || redis.command(&["HMGET", "{restored}:state", "state", "version"]).ok();
    redis.command(&["SAVE"]).unwrap();
    assert_eq!(said().unwrap(), ["open", "1"]);
    world.control(0, reqwest::Method::POST, "/control/sales/restored/pause").send().await.unwrap();
    for gateway in 0..2 {
        let url = format!("{}/_usher/sales/restored", world.ready().gateway[gateway]);
        wait_for("every gateway knows", || async {
            let status: serde_json::Value = world.client.get(&url).send().await.unwrap().json().await.unwrap();
            status["sale_state"] == "paused"
        })
        .await;
    }
    let before = told(&world).unwrap();
    let unsaved = redis.command(&["INFO", "persistence"]).unwrap();
    assert!(!unsaved.contains(&"rdb_changes_since_last_save:0".to_owned()), "the pause is in the dump");
    world.stack.redis().node().kill9().unwrap();
    let (_, answers) = back(&world, &before).await;
    wait_for("the sale is paused again", || async { said().is_some_and(|said| said == ["paused", "2"]) }).await;
    assert!(answers.elapsed() < calling_back::CALM, "visitors may have been called meanwhile");
}
