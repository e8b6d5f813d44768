//! Redis is gone for a while, and three sales have three policies for that: `hold` gives places and calls nobody, `open`
//! lets everybody through, `closed` turns everybody away. Passes work under each. The proof that Redis is away: its process
//! is gone and its address refuses, before the first question and after the last.

use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use stack::redis::Aof;
use stack::{Fixture, StackOptions};

use crate::world::{Inside, World, header, problem, text, wait_for};

/// What each sale guards, on a host of its own.
const SHOP: &str = "/v1/events/demo-club";
/// The sales by name: under `hold` one with a full house and one with room.
const SALES: [(&str, &str, u32); 4] =
    [("held", "hold", 1), ("roomy", "hold", 1_000), ("opened", "open", 1), ("closed", "closed", 1)];

fn is_away(world: &World) -> bool {
    let redis = &world.stack.redis().servers()[0];
    redis.node().pid().is_none() && redis.command(&["PING"]).is_err()
}

/// A request for what a sale guards.
fn shop(world: &World, gateway: usize, sale: &str) -> RequestBuilder {
    let url = format!("{}{SHOP}", world.ready().gateway[gateway]);
    world.client.get(url).header("host", format!("{sale}.example")).header("accept", "application/json")
}

async fn join(world: &World, gateway: usize, sale: &str) -> Response {
    let url = format!("{}/_usher/sales/{sale}/join", world.ready().gateway[gateway]);
    world.client.post(url).send().await.unwrap()
}

async fn joined(world: &World, gateway: usize, sale: &str) -> Value {
    let answer = join(world, gateway, sale).await;
    assert_eq!(answer.status(), 201);
    answer.json().await.unwrap()
}

/// Whether the origin itself answered.
async fn is_origins(answer: Response) -> bool {
    answer.status() == 200 && answer.json::<Value>().await.unwrap()["event"] == "demo-club"
}

async fn until_sales_are(world: &World, state: &str) {
    for (i, (sale, ..)) in (0..2).flat_map(|i| SALES.map(|sale| (i, sale))) {
        let url = format!("{}/_usher/sales/{sale}", world.ready().gateway[i]);
        wait_for(&format!("gateway {i} says that {sale} is {state}"), || async {
            world.client.get(&url).send().await.unwrap().json::<Value>().await.unwrap()["sale_state"] == state
        })
        .await;
    }
}

/// Sales with a visitor inside each, whose pass asks for a longer life whenever it is shown.
async fn sales(world: &World) -> Vec<Inside> {
    let mut inside = Vec::new();
    for (sale, outage, max_inside) in SALES {
        let settings = |pass_ttl_s: u64| {
            json!({"outage": outage, "max_inside": max_inside, "pass_ttl_s": pass_ttl_s,
                "hosts": [format!("{sale}.example")], "paths": [{"path": SHOP}]})
        };
        world.create_sale(sale, settings(600)).await;
        inside.push(world.enter(sale).await);
        let longer = world.create_sale(sale, settings(6_000)).await;
        assert_eq!(longer["version"], 2);
    }
    inside
}

async fn passes_work(world: &World, inside: &[Inside]) {
    for ((sale, ..), visitor) in SALES.iter().zip(inside) {
        for i in 0..2 {
            let request = shop(world, i, sale).header("authorization", format!("Pass {}", visitor.pass));
            assert!(is_origins(request.send().await.unwrap()).await, "the pass of {sale} at gateway {i}");
        }
    }
}

/// Under `hold`: everybody gets a place, and nobody is called, not even where there is room. The places, in order.
async fn hold_gives_places(world: &World, mut held: Vec<Value>, roomy: &mut Vec<Value>) -> Vec<Value> {
    for i in 0..4 {
        held.push(joined(world, i % 2, "held").await);
        roomy.push(joined(world, i % 2, "roomy").await);
    }
    let turned = problem(shop(world, 0, "held").send().await.unwrap(), 429, "waiting").await;
    held.push(turned);
    let places = held.iter().map(|place| ("held", place)).chain(roomy.iter().map(|place| ("roomy", place)));
    for (i, (sale, place)) in places.enumerate() {
        assert_eq!(place["state"], "waiting", "{place}");
        let asked: Value = world.poll_at(i % 2, sale, &text(&place["place"])).await.json().await.unwrap();
        assert_eq!((&asked["state"], &asked["sale_state"]), (&json!("waiting"), &json!("regrouping")), "{asked}");
    }
    held
}

async fn open_lets_through_and_closed_turns_away(world: &World, waiting: &Value) {
    for i in 0..2 {
        assert!(is_origins(shop(world, i, "opened").send().await.unwrap()).await, "at gateway {i}");
        let refused = shop(world, i, "closed").send().await.unwrap();
        assert_eq!(header(&refused, "retry-after"), "5");
        problem(refused, 503, "unavailable").await;
        problem(join(world, i, "closed").await, 503, "unavailable").await;
        // Who had a place is told to ask again; the place is not touched.
        let place = format!("Place {}", text(&waiting["place"]));
        let with_place = shop(world, i, "closed").header("authorization", &place).send().await.unwrap();
        problem(with_place, 503, "unavailable").await;
        problem(world.poll_at(i, "closed", &text(&waiting["place"])).await, 503, "unavailable").await;
    }
}

/// All ask until they are inside, and were called in this order.
async fn are_called_in_order(world: &Arc<World>, sale: &'static str, places: &[Value]) {
    let asked = places.iter().enumerate().map(|(i, place)| {
        let world = world.clone();
        async move { world.until_inside(i % 2, sale, &text(&place["place"])).await }
    });
    let seqs: Vec<u64> = join_all(asked).await.iter().map(|told| told["called_seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{sale}: called in another order than joined: {seqs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_does_as_it_says_and_places_given_meanwhile_are_kept_in_order() {
    let options =
        StackOptions { gateways: 2, fixture: Fixture::Demo, redis_aof: Aof::Always, ..StackOptions::default() };
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap());
    let inside = sales(&world).await;
    let before = vec![joined(&world, 0, "held").await, joined(&world, 1, "held").await];
    let waiting = joined(&world, 0, "closed").await;
    let turned = problem(shop(&world, 1, "opened").send().await.unwrap(), 429, "waiting").await;

    world.stack.redis().node().kill9().unwrap();
    assert!(is_away(&world));
    until_sales_are(&world, "regrouping").await;
    passes_work(&world, &inside).await;
    let mut roomy = Vec::new();
    let held = hold_gives_places(&world, before, &mut roomy).await;
    open_lets_through_and_closed_turns_away(&world, &waiting).await;
    // A place may be had under `open` as well, for when the line is back.
    let opened = [turned, joined(&world, 0, "opened").await];
    passes_work(&world, &inside).await;
    assert!(is_away(&world), "it came back by itself");

    let again = world.clone();
    tokio::task::spawn_blocking(move || again.stack.redis().up()).await.unwrap().unwrap();
    // With room, those who came meanwhile are called, in order of coming.
    are_called_in_order(&world, "roomy", &roomy).await;
    until_sales_are(&world, "open").await;
    // Each policy is over.
    problem(shop(&world, 1, "opened").send().await.unwrap(), 429, "waiting").await;
    assert_eq!(joined(&world, 1, "closed").await["state"], "waiting");
    passes_work(&world, &inside).await;

    // The full house has them all in its line, in order of coming: before, then meanwhile.
    let visitors: Vec<String> = held.iter().map(|place| text(&place["visitor"])).collect();
    wait_for("everybody is in the line", || async {
        for (i, place) in held.iter().enumerate() {
            world.poll_at(i % 2, "held", &text(&place["place"])).await;
        }
        world.stack.redis().servers()[0].command(&["ZRANGE", "{held}:line", "0", "-1"]).unwrap() == visitors
    })
    .await;
    for (sale, places) in [("held", &held[..]), ("opened", &opened[..]), ("closed", &[waiting][..])] {
        let room = json!({"max_inside": 1_000, "hosts": [format!("{sale}.example")], "paths": [{"path": SHOP}]});
        world.create_sale(sale, room).await;
        are_called_in_order(&world, sale, places).await;
    }
}
