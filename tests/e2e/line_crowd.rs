//! A crowd that waits in the line of a sale while something is hurt, and what must be true of it in the end: everybody
//! got in, nobody overtook anybody, no spot was given twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::world::{World, text, wait_for};

/// Longest wait of a fan.
const PATIENCE: Duration = Duration::from_secs(120);

/// Fans who ask when they are told to, each at the gateways in turn, until they are inside.
pub struct Crowd {
    world: Arc<World>,
    sale: &'static str,
    inside: Arc<AtomicUsize>,
    fans: Vec<JoinHandle<Value>>,
}

impl Crowd {
    pub fn of(world: &Arc<World>, sale: &'static str) -> Self {
        Self { world: world.clone(), sale, inside: Arc::default(), fans: Vec::new() }
    }

    /// So many more fans join, one after the other, and begin to ask.
    pub async fn join(&mut self, fans: usize) {
        for _ in 0..fans {
            let gateway = self.fans.len() % self.world.ready().gateway.len();
            let url = format!("{}/_usher/sales/{}/join", self.world.ready().gateway[gateway], self.sale);
            let answer = self.world.client.post(url).send().await.unwrap();
            assert_eq!(answer.status(), 201);
            let document = answer.json::<Value>().await.unwrap();
            let place = text(&document["place"]);
            self.fans.push(tokio::spawn(wait_in_line(
                self.world.clone(),
                self.sale,
                gateway,
                place,
                self.inside.clone(),
            )));
        }
    }

    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }

    /// Waits until so many are inside.
    pub async fn until_inside(&self, fans: usize) {
        wait_for(&format!("{fans} fans are inside"), || async { self.inside() >= fans }).await;
    }

    /// Waits until everybody is inside; their turns, in order of calling.
    pub async fn finish(self) -> Turns {
        let joined = self.fans.len();
        let mut turns = Vec::new();
        for fan in self.fans {
            let document = fan.await.unwrap();
            let called_at: Timestamp = text(&document["called_at"]).parse().unwrap();
            turns.push((called_at.as_microsecond(), document["score"].as_u64().unwrap()));
        }
        assert_eq!(turns.len(), joined, "everybody got in");
        turns.sort_unstable();
        let distinct: HashSet<u64> = turns.iter().map(|turn| turn.1).collect();
        assert_eq!(distinct.len(), turns.len(), "two visitors were given the same spot");
        Turns(turns)
    }
}

/// A fan that asks when told to until it is inside; answers its last document.
async fn wait_in_line(
    world: Arc<World>,
    sale: &'static str,
    mut gateway: usize,
    place: String,
    inside: Arc<AtomicUsize>,
) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "a fan is still waiting");
        gateway = (gateway + 1) % world.ready().gateway.len();
        let answer = world.poll_at(gateway, sale, &place).await;
        let (status, document) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{document}");
        match document["state"].as_str().unwrap() {
            "inside" => {
                inside.fetch_add(1, Ordering::Relaxed);
                return document;
            }
            "waiting" | "called" | "pre" => {}
            other => panic!("the place was lost: {other}: {document}"),
        }
        let poll_s = document["poll_s"].as_u64().unwrap();
        tokio::time::sleep(Duration::from_millis(poll_s * 1000)).await;
    }
}

/// When each was called, in microseconds, and the score it was called from; in order of calling.
#[derive(Debug)]
pub struct Turns(pub Vec<(i64, u64)>);

impl Turns {
    /// Nobody was overtaken between two losses. Whoever was called just before a loss and had not claimed yet is called
    /// once more after it; so the order is that of each stretch, which the calm after a loss sets apart.
    pub fn are_in_order(&self, losses: usize) {
        let apart = |pair: &[(i64, u64)]| pair[1].0 - pair[0].0 > 3_000_000;
        let pauses: Vec<_> = self.0.windows(2).filter(|pair| apart(pair)).collect();
        assert_eq!(pauses.len(), losses, "each loss makes one more stretch: {pauses:?}");
        let overtaken: Vec<_> =
            self.0.windows(2).filter(|pair| !apart(pair) && pair[0].1 > pair[1].1 && pair[0].0 < pair[1].0).collect();
        assert!(overtaken.is_empty(), "somebody was overtaken: {overtaken:?}");
    }
}
