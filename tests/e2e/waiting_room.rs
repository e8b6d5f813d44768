//! The waiting room as a fan, a program and an organiser meet it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{World, header, problem, text, wait_for};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_house_makes_fans_wait_and_a_leaver_lets_the_first_in() {
    let world = World::shared();
    world.create_sale("full", json!({"max_inside": 1})).await;
    let first = world.enter("full").await;

    // A program is told 429 with its place and when to ask again.
    let answer = world.get("/e2e/full/page").send().await.unwrap();
    let place = header(&answer, "usher-place");
    assert!(header(&answer, "retry-after").parse::<u64>().is_ok_and(|s| (1..=60).contains(&s)));
    let waiting = problem(answer, 429, "waiting").await;
    assert_eq!((text(&waiting["place"]), &waiting["position"]), (place.clone(), &json!(1)));

    // A browser gets a page that works without script, and keeps its place by cookie.
    let answer = world.get("/e2e/full/page").header("accept", BROWSER).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(header(&answer, "content-type").starts_with("text/html"));
    assert!(header(&answer, "content-security-policy").starts_with("default-src 'none'"));
    let cookie = header(&answer, "set-cookie").split(';').next().unwrap().to_owned();
    let page = answer.text().await.unwrap();
    assert!(page.contains("http-equiv=\"refresh\"") && page.contains(">2</strong>"), "{page}");
    let again = world.get("/e2e/full/page").header("accept", BROWSER).header("cookie", &cookie).send().await.unwrap();
    assert!(again.text().await.unwrap().contains(">2</strong>"), "the same place again");

    // Whoever is inside reaches the origin; its answer is the origin's own.
    let through = world.get("/e2e/full/page").header("authorization", format!("Pass {}", first.pass));
    assert_eq!(through.send().await.unwrap().status(), 404, "the origin has no such page, and says so");

    // The house is full until somebody leaves; then the first in line is called, not the second.
    assert_eq!(world.poll("full", &place).await["state"], "waiting");
    let url = world.gateway("/_usher/sales/full/place");
    let leave = world.client.delete(url).header("authorization", format!("Place {}", text(&first.place["place"])));
    assert_eq!(leave.send().await.unwrap().status(), 204);
    wait_for("the first in line is inside", || async { world.poll("full", &place).await["state"] == "inside" }).await;
    let numbers = world.numbers("full").await;
    assert!(numbers["inside"].as_u64().unwrap() + numbers["called"].as_u64().unwrap() <= 1, "{numbers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fans_are_called_in_the_order_they_came_and_within_the_rate() {
    let world = World::shared();
    let (rate_per_min, burst) = (1_200.0, 3.0);
    world.create_sale("order", json!({"rate_per_min": rate_per_min, "burst": burst as u64})).await;
    let mut places = Vec::new();
    for i in 0..60 {
        let url = format!("{}/_usher/sales/order/join", world.ready().gateway[i % 2]);
        let document: Value = world.client.post(url).send().await.unwrap().json().await.unwrap();
        places.push(text(&document["place"]));
    }
    let inside = join_all(places.iter().enumerate().map(|(i, place)| {
        let world = world.clone();
        async move { world.until_inside(i % 2, "order", place).await }
    }))
    .await;
    let seqs: Vec<u64> = inside.iter().map(|document| document["called_seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted(), "called in another order than joined: {seqs:?}");
    let micros = |document: &Value| text(&document["called_at"])[17..26].parse::<f64>().unwrap();
    let minute = |document: &Value| text(&document["called_at"])[14..16].parse::<f64>().unwrap();
    let times: Vec<f64> = inside.iter().map(|document| minute(document) * 60.0 + micros(document)).collect();
    // In every window at most rate * t + burst: the maximum over all pairs, in one pass.
    let mut least = f64::MAX;
    for (i, at) in times.iter().enumerate() {
        // A new hour begins at minute zero.
        let at = if *at < times[0] { at + 3_600.0 } else { *at };
        let g = i as f64 - rate_per_min / 60.0 * at;
        least = least.min(g);
        assert!(g - least + 1.0 <= burst + 1e-6, "call {i} came early: {times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisers_word_reaches_every_gateway_within_a_second() {
    let world = World::shared();
    let created = world.create_sale("steered", json!({"message": "Doors at seven"})).await;
    assert_eq!(created["version"], 1);
    let state_at = |i: usize| {
        let world = world.clone();
        async move {
            let url = format!("{}/_usher/sales/steered", world.ready().gateway[i]);
            let status: Value = world.client.get(url).send().await.unwrap().json().await.unwrap();
            text(&status["sale_state"])
        }
    };
    let mut took = Vec::new();
    for (action, state) in [("pause", "paused"), ("resume", "open"), ("close", "closed"), ("open", "open")] {
        let answer = world.control(1, Method::POST, &format!("/control/sales/steered/{action}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let began = Instant::now();
        for i in 0..2 {
            wait_for(action, || async { state_at(i).await == state }).await;
        }
        took.push(began.elapsed());
        if state == "closed" {
            problem(world.get("/e2e/steered").send().await.unwrap(), 403, "sale-closed").await;
        }
    }
    println!("words took {took:?}");
    assert!(took.iter().all(|took| *took < Duration::from_secs(1)), "a word took longer than a second: {took:?}");
    // Versions guard against lost updates.
    let path = "/control/sales/steered";
    let body = json!({"rate_per_min": 60, "max_inside": 5, "paths": [{"path": "/e2e/steered"}]});
    let stale = world.control(0, Method::PUT, path).header("if-match", "\"1\"").json(&body).send().await.unwrap();
    problem(stale, 412, "version-conflict").await;
    let bad = json!({"rate_per_min": 0, "max_inside": 0});
    let bad = world.control(0, Method::PUT, path).json(&bad).send().await.unwrap();
    assert_eq!(problem(bad, 400, "invalid").await["errors"].as_array().unwrap().len(), 2);
    let url = format!("{}{path}", world.ready().control[0]);
    problem(world.client.get(url).send().await.unwrap(), 401, "unauthorized").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sale_gives_places_and_calls_nobody() {
    let world = World::shared();
    world.create_sale("paused", json!({"state": "paused"})).await;
    let joined = world.join("paused").await;
    assert_eq!((&joined["state"], &joined["sale_state"]), (&json!("waiting"), &json!("paused")));
    assert_eq!(joined["eta_s"], Value::Null);
    let numbers = world.numbers("paused").await;
    assert_eq!((&numbers["called_total"], &numbers["inside"]), (&json!(0), &json!(0)));
    world.control(0, Method::POST, "/control/sales/paused/resume").send().await.unwrap();
    let place = text(&joined["place"]);
    wait_for("called after the pause", || async { world.poll("paused", &place).await["state"] == "inside" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sold_out_sale_takes_nobody_in_and_forgets_nobody() {
    let world = World::shared();
    world.create_sale("gone", json!({"max_inside": 1})).await;
    world.enter("gone").await;
    let mut places = Vec::new();
    for i in 0..6 {
        let url = format!("{}/_usher/sales/gone/join", world.ready().gateway[i % 2]);
        let document: Value = world.client.post(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(document["state"], "waiting", "{document}");
        places.push(text(&document["place"]));
    }
    // There is room from here on: only the word keeps them waiting.
    world.create_sale("gone", json!({"state": "sold_out", "message": "All gone"})).await;
    for gateway in &world.ready().gateway {
        let status = || async {
            let url = format!("{gateway}/_usher/sales/gone");
            world.client.get(url).send().await.unwrap().json::<Value>().await.unwrap()
        };
        wait_for("every gateway says so", || async { status().await["sale_state"] == "sold_out" }).await;
        let joined = world.client.post(format!("{gateway}/_usher/sales/gone/join")).send().await.unwrap();
        let refused = problem(joined, 403, "sale-closed").await;
        assert_eq!((&refused["sale_state"], &refused["message"]), (&json!("sold_out"), &json!("All gone")));
        problem(world.client.get(format!("{gateway}/e2e/gone")).send().await.unwrap(), 403, "sale-closed").await;
    }
    for (i, place) in places.iter().enumerate() {
        let told: Value = world.poll_at(i % 2, "gone", place).await.json().await.unwrap();
        assert_eq!((&told["state"], &told["sale_state"]), (&json!("waiting"), &json!("sold_out")), "{told}");
        assert_eq!((&told["position"], &told["place"]), (&json!(i + 1), &json!(place)));
    }
    assert_eq!(world.numbers("gone").await["called_total"], 1, "nobody was called");

    world.control(1, Method::POST, "/control/sales/gone/open").send().await.unwrap();
    let asked = places.iter().enumerate().map(|(i, place)| world.until_inside(i % 2, "gone", place));
    let seqs: Vec<u64> = join_all(asked).await.iter().map(|told| told["called_seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "called in another order than joined: {seqs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_pass_through_unbuffered() {
    let world = World::shared();
    let answer = world.get("/v1/events/demo-club/seats/stream").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(header(&answer, "content-type").starts_with("text/event-stream"));
    let mut answer = answer;
    let hold = world
        .post("/v1/events/demo-club/holds", &json!({"areas": [{"area": "club", "quantity": 1}]}))
        .send()
        .await
        .unwrap();
    assert_eq!(hold.status(), 201);
    let mut seen = String::new();
    let found = tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(chunk) = answer.chunk().await.unwrap() {
            seen.push_str(&String::from_utf8_lossy(&chunk));
            if seen.contains("event: change") || seen.contains("event:change") {
                return true;
            }
        }
        false
    })
    .await;
    assert_eq!(found, Ok(true), "no change came through: {seen}");
}
