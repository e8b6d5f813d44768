//! From a queue before the opening to several sales beside each other: what a sale is, as fans meet it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::line_crowd::Crowd;
use crate::world::{World, header, problem, text, wait_for};

/// Whoever comes before the opening waits in the order of coming and is called after it, never before.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_sale_opens_by_itself_and_calls_in_order() {
    let world = World::shared();
    let opens_at = Timestamp::now() + SignedDuration::from_secs(6);
    let settings = json!({"rate_per_min": 1_200, "burst": 3, "state": "scheduled", "opens_at": opens_at.to_string()});
    world.create_sale("opening", settings).await;
    let early = world.join("opening").await;
    assert_eq!((&early["state"], &early["sale_state"]), (&json!("pre"), &json!("scheduled")), "{early}");
    let mut crowd = Crowd::of(&world, "opening");
    crowd.join(60).await;
    assert!(Timestamp::now() < opens_at, "the machine is too slow for this test");
    assert_eq!(world.numbers("opening").await["called_total"], 0);

    let turns = crowd.finish().await;
    turns.are_in_order(0);
    let first = turns.0[0].0;
    assert!(first >= opens_at.as_microsecond(), "somebody was called before the opening");
    assert!(first < opens_at.as_microsecond() + 3_000_000, "the sale opened late");
    // Nothing was earned while it was closed: the first moment has at most the burst.
    let at_once = turns.0.iter().filter(|turn| turn.0 < opens_at.as_microsecond() + 40_000).count();
    assert!(at_once <= 4, "{at_once} were called at once");
}

/// One gateway, two hosts, the same path: each has its own line, and what belongs to one opens nothing in the other.
#[tokio::test(flavor = "multi_thread")]
async fn sales_on_several_hosts_and_paths_are_strangers() {
    let world = World::shared();
    let guard = |host: &str| json!({"hosts": [host], "max_inside": 1, "paths": [{"path": "/e2e/shared"}]});
    world.create_sale("one-host", guard("one.example")).await;
    world.create_sale("two-host", guard("two.example")).await;
    let nested = json!({"paths": [{"path": "/e2e/shared/inner"}], "hosts": ["two.example"], "state": "paused"});
    world.create_sale("two-inner", nested).await;
    let (one, two) = (world.enter("one-host").await, world.enter("two-host").await);

    let ask = |host: &'static str, path: &'static str, pass: &str| {
        let request = world.get(path).header("host", host).header("authorization", format!("Pass {pass}"));
        async move { request.send().await.unwrap() }
    };
    // The origin has no such page, and says so itself.
    assert_eq!(ask("one.example", "/e2e/shared/x", &one.pass).await.status(), 404);
    assert_eq!(ask("two.example", "/e2e/shared/x", &two.pass).await.status(), 404);
    assert_eq!(ask("other.example", "/e2e/shared/x", "none").await.status(), 404, "no sale guards this host");
    let foreign = problem(ask("two.example", "/e2e/shared/x", &one.pass).await, 429, "waiting").await;
    assert_eq!(foreign["sale"], "two-host");
    // The longest guard counts.
    let inner = problem(ask("two.example", "/e2e/shared/inner/x", &two.pass).await, 429, "waiting").await;
    assert_eq!(inner["sale"], "two-inner");

    // A place of one sale is none in the other, and says so.
    let stray = world.poll_at(0, "two-host", &text(&one.place["place"])).await;
    problem(stray, 403, "forbidden").await;
}

/// Many tabs of one browser ask at once: one place, one turn, one pass.
#[tokio::test(flavor = "multi_thread")]
async fn many_tabs_share_one_place() {
    let world = World::shared();
    world.create_sale("tabs", json!({"max_inside": 1})).await;
    let other = world.enter("tabs").await;
    let answer = world.get("/e2e/tabs/a").header("accept", "application/json").send().await.unwrap();
    let cookie = header(&answer, "set-cookie").split(';').next().unwrap().to_owned();
    let place = header(&answer, "usher-place");
    let tabs = |path: &'static str| {
        let (world, cookie) = (world.clone(), cookie.clone());
        async move {
            let asked = (0..5).map(|i| {
                let url = format!("{}{path}", world.ready().gateway[i % 2]);
                world.client.get(url).header("cookie", &cookie).header("accept", "application/json").send()
            });
            futures_util::future::join_all(asked).await.into_iter().map(Result::unwrap).collect::<Vec<_>>()
        }
    };
    for answer in tabs("/e2e/tabs/b").await {
        let document = problem(answer, 429, "waiting").await;
        assert_eq!(text(&document["place"]), place, "every tab has the same place");
    }
    wait_for("both joins are seen", || async { world.numbers("tabs").await["joined_total"] == 2 }).await;

    let url = world.gateway("/_usher/sales/tabs/place");
    let leave = world.client.delete(url).header("authorization", format!("Place {}", text(&other.place["place"])));
    assert_eq!(leave.send().await.unwrap().status(), 204);
    world.until_inside(0, "tabs", &place).await;
    let mut visitors = Vec::new();
    for answer in tabs("/_usher/sales/tabs/place").await {
        let document: Value = answer.json().await.unwrap();
        assert_eq!(document["state"], "inside", "{document}");
        visitors.push((text(&document["visitor"]), text(&document["pass_expires_at"])));
    }
    visitors.dedup();
    assert_eq!(visitors.len(), 1, "one pass for all tabs");
    wait_for("one slot for all tabs", || async {
        let numbers = world.numbers("tabs").await;
        assert_eq!(numbers["joined_total"], 2, "tabs take no places of their own");
        (&numbers["inside"], &numbers["claimed_total"]) == (&json!(1), &json!(2))
    })
    .await;
}

/// A place that was signed with keys this site does not have any more is refused in words, and a new one is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_of_an_unknown_key_is_refused_clearly() {
    let world = World::shared();
    world.create_sale("rekeyed", json!({"state": "paused"})).await;
    let place = text(&world.join("rekeyed").await["place"]);
    let parts: Vec<&str> = place.split('.').collect();
    let engine = &base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let head = base64::Engine::decode(engine, parts[0]).unwrap();
    let mut head: Value = serde_json::from_slice(&head).unwrap();
    head["kid"] = json!("gone");
    let old = format!("{}.{}.{}", base64::Engine::encode(engine, head.to_string()), parts[1], parts[2]);
    let refused = problem(world.poll_at(0, "rekeyed", &old).await, 401, "place-required").await;
    assert!(text(&refused["detail"]).contains("join the line again"), "{refused}");
    let url = world.gateway("/_usher/sales/rekeyed/join");
    let again = world.client.post(url).header("authorization", format!("Place {old}")).send().await.unwrap();
    assert_eq!(again.status(), 201, "a new place");
    wait_for("it is in the line", || async { world.numbers("rekeyed").await["joined_total"] == 2 }).await;
}
