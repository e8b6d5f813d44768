//! 200 fans, 50 seats, all at once, through two gateways and two booking nodes: each seat is held at most once, nobody
//! holds half of what was asked for, and all seats go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::world::{World, text};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_fans_race_for_fifty_seats() {
    let world = World::shared();
    // The last seats of the plan: no other test of this stack looks there.
    let all = world.arena_seats().await;
    let seats: Arc<Vec<String>> = Arc::new(all[all.len() - 50..].to_vec());

    let passes: Vec<String> =
        join_all((0..200).map(|_| world.enter("demo"))).await.into_iter().map(|inside| inside.pass).collect();
    let mut racing = Vec::new();
    for (fan, pass) in passes.into_iter().enumerate() {
        let (world, seats) = (world.clone(), seats.clone());
        racing.push(tokio::spawn(async move {
            // Each fan tries pairs, starting somewhere else, until one is had or all were tried. A node that sheds
            // load has done nothing, so the same pair is tried again, within bounds.
            let gateway = world.ready().gateway[fan % 2].clone();
            let (mut step, mut shed) = (0, 0);
            while step < 25 {
                let pair = (fan + step) % 25 * 2;
                let answer = world
                    .client
                    .post(format!("{gateway}/v1/events/demo-arena/holds"))
                    .header("authorization", format!("Pass {pass}"))
                    .json(&json!({"seats": &seats[pair..pair + 2]}))
                    .send()
                    .await
                    .unwrap();
                match answer.status().as_u16() {
                    201 => return Some(answer.json::<Value>().await.unwrap()),
                    409 => step += 1,
                    503 if shed < 100 => {
                        shed += 1;
                        tokio::time::sleep(Duration::from_millis(100 + fan as u64)).await;
                    }
                    other => panic!("{other}: {}", answer.text().await.unwrap()),
                }
            }
            None
        }));
    }
    let mut holders: HashMap<String, String> = HashMap::new();
    let mut winners = 0;
    for race in racing {
        let Some(hold) = race.await.unwrap() else { continue };
        winners += 1;
        assert_eq!(hold["seats"].as_array().unwrap().len(), 2, "all or nothing: {hold}");
        for seat in hold["seats"].as_array().unwrap() {
            let before = holders.insert(text(&seat["seat"]), text(&hold["hold"]));
            assert_eq!(before, None, "seat held twice: {seat}");
        }
    }
    assert_eq!((winners, holders.len()), (25, 50), "every seat found its fan");
}
