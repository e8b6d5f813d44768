//! Thousands of connections that say nothing, say it slowly or do not listen, while fans go on asking.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use stack::{Fixture, Setting, StackOptions};

use crate::world::{World, text, wait_for};

const IDLE: usize = 3_000;
const SLOW: usize = 1_500;

pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn connections(count: usize, address: &str, first: &str) -> Vec<TcpStream> {
    (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.write_all(first.as_bytes()).unwrap();
            stream
        })
        .collect()
}

/// Median of how long polls take.
async fn poll_ms(world: &World, place: &str) -> f64 {
    let mut times = Vec::new();
    for _ in 0..60 {
        let began = Instant::now();
        world.poll("crowded", place).await;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "thousands of connections"]
async fn thousands_who_dawdle_disturb_nobody() {
    let setting = |text: &str| Setting::Gateway(text.to_owned());
    let settings = vec![
        setting("limits.connections_per_address=0"),
        setting("limits.address_per_s=0"),
        setting("limits.visitor_per_s=0"),
        setting("limits.head_timeout_ms=4000"),
        setting("limits.keepalive_ms=6000"),
    ];
    let options = StackOptions { fixture: Fixture::Empty, settings, ..StackOptions::default() };
    let world = tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap();
    world.create_sale("crowded", json!({"state": "paused"})).await;
    let place = text(&world.join("crowded").await["place"]);
    let alone_ms = poll_ms(&world, &place).await;
    let pid = world.stack.gateway(0).node().pid().unwrap();
    let before = resident_bytes(pid);

    let address = world.ready().gateway[0].trim_start_matches("http://").to_owned();
    let began = Instant::now();
    let (silent, asked, slow) = tokio::task::block_in_place(|| {
        let silent = connections(IDLE / 2, &address, "");
        let mut asked = connections(IDLE / 2, &address, "GET /_usher/keys HTTP/1.1\r\nhost: x\r\n\r\n");
        for stream in &mut asked {
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        }
        let slow = connections(SLOW, &address, "GET /_usher/keys HTTP/1.1\r\nhost: x\r\nx-slow: ");
        (silent, asked, slow)
    });
    println!("{} connections in {:?}", silent.len() + asked.len() + slow.len(), began.elapsed());
    let crowded_ms = poll_ms(&world, &place).await;
    let grown = resident_bytes(pid).saturating_sub(before);
    let each = grown as f64 / (IDLE + SLOW) as f64;
    println!("a poll takes {alone_ms:.2} ms alone, {crowded_ms:.2} ms beside them; {each:.0} bytes each");
    assert!(crowded_ms < alone_ms * 5.0 + 20.0, "polls suffer: {alone_ms} ms alone, {crowded_ms} ms beside them");
    assert!(each < 64_000.0, "{each} bytes for a connection that says nothing");

    // Their time runs out: those that never finished a head are told so, the idle ones are closed.
    let ended = |mut streams: Vec<TcpStream>| {
        tokio::task::block_in_place(move || {
            for stream in &mut streams {
                let mut rest = Vec::new();
                // A reset is an end, too.
                let _ = stream.read_to_end(&mut rest);
            }
        });
        began.elapsed()
    };
    let all = [silent, slow, asked].map(ended);
    assert!(all[2] < Duration::from_secs(30), "they were not closed in time: {all:?}");
    wait_for("polls go on", || async { world.poll("crowded", &place).await["state"] == "waiting" }).await;
}
