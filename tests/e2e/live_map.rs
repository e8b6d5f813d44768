//! A viewer follows the map through the gateway while the organiser blocks seat after seat through one booking node.
//! The node that serves the viewer is killed; the viewer comes back with what it knew and misses nothing. Then the other
//! node, which serves it now, is told to stop: the stream ends at once, not after the time that requests may take. The
//! proof that the faults bit: the stream broke off each time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use stack::{Fixture, Signal, StackOptions};

use crate::world::{World, wait_for};

/// What a viewer was told.
struct Viewer {
    client: Client,
    stream: Option<Response>,
    rest: String,
    version: String,
    blocked: BTreeSet<i64>,
}

impl Viewer {
    async fn follow(&mut self, world: &World) {
        let url = world.gateway("/v1/events/demo-arena/seats/stream");
        let request = self.client.get(url).header("last-event-id", &self.version);
        if let Ok(answer) = request.send().await
            && answer.status() == 200
        {
            (self.stream, self.rest) = (Some(answer), String::new());
        }
    }

    /// Reads what comes within a moment; `false` when the stream broke off.
    async fn read(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match tokio::time::timeout(Duration::from_millis(100), stream.chunk()).await {
            Err(_) => return true,
            Ok(Ok(Some(chunk))) => self.rest.push_str(std::str::from_utf8(&chunk).unwrap()),
            Ok(Ok(None) | Err(_)) => {
                self.stream = None;
                return false;
            }
        }
        while let Some((frame, rest)) = self.rest.split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())) {
            self.rest = rest;
            assert!(!frame.contains("event: reset"), "nothing was too long ago: {frame}");
            if let Some(id) = frame.lines().find_map(|line| line.strip_prefix("id: ")) {
                id.clone_into(&mut self.version);
            }
            if let Some(data) = frame.lines().find_map(|line| line.strip_prefix("data: ")) {
                let change: Value = serde_json::from_str(data).unwrap();
                for pair in change["seats"].as_array().unwrap() {
                    assert_eq!(pair[1], 3, "{change}");
                    self.blocked.insert(pair[0].as_i64().unwrap());
                }
            }
        }
        true
    }

    async fn see(&mut self, world: &World, seats: i64) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.blocked.len() < usize::try_from(seats).unwrap() {
            assert!(Instant::now() < until, "{} of {seats} seats were seen", self.blocked.len());
            if !self.read().await {
                self.follow(world).await;
            }
        }
        assert_eq!(self.blocked, (0..seats).collect());
    }
}

async fn block(world: &World, node: usize, seat: &str) {
    let url = format!("{}/v1/organiser/events/demo-arena/seats/block", world.ready().booking_admin[node]);
    let request = world.client.post(url).bearer_auth(&world.ready().organiser_token);
    let answer = request.json(&json!({ "seats": [seat] })).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

/// The node that has a viewer.
async fn serving(world: &World, nodes: &[usize]) -> Option<usize> {
    for node in nodes {
        let url = format!("{}/metrics", world.ready().booking_admin[*node]);
        let metrics = world.client.get(url).send().await.unwrap().text().await.unwrap();
        if metrics.lines().any(|line| line == "usher_booking_viewers 1") {
            return Some(*node);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_misses_nothing_when_its_node_is_lost() {
    let options = StackOptions { bookings: 2, fixture: Fixture::Demo, ..StackOptions::default() };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    let seats = world.arena_seats().await;
    // Streams have no end, so this client has no limit.
    let client = Client::new();
    let (stream, rest, blocked) = (None, String::new(), BTreeSet::new());
    let mut viewer = Viewer { client, stream, rest, version: "0".to_owned(), blocked };
    viewer.follow(&world).await;
    for seat in &seats[..3] {
        block(&world, 0, seat).await;
        // Through the other one too: twice is once.
        block(&world, 1, seat).await;
    }
    viewer.see(&world, 3).await;

    let first = serving(&world, &[0, 1]).await.expect("somebody serves the viewer");
    let other = 1 - first;
    world.stack.booking(first).node().kill9().unwrap();
    for seat in &seats[3..8] {
        block(&world, other, seat).await;
    }
    wait_for_end(&mut viewer).await;
    for seat in &seats[8..10] {
        block(&world, other, seat).await;
    }
    viewer.see(&world, 10).await;
    wait_for("the other node serves the viewer", || async { serving(&world, &[other]).await.is_some() }).await;

    let asked = Instant::now();
    world.stack.booking(other).node().signal(Signal::TERM).unwrap();
    wait_for_end(&mut viewer).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "the stream ended after {:?}", asked.elapsed());
}

async fn wait_for_end(viewer: &mut Viewer) {
    let until = Instant::now() + Duration::from_secs(20);
    while viewer.read().await {
        assert!(Instant::now() < until, "the stream goes on");
    }
}
