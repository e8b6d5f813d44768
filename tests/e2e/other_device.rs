//! A place on its way to another device: exactly one device takes it, exactly one may claim, also after Redis has lost
//! everything; guessing codes leads nowhere, and a Redis that does not answer loses nothing.

use std::sync::OnceLock;

use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use stack::redis::Aof;
use stack::{Fixture, Setting, StackOptions};

use crate::world::{World, header, problem, text, wait_for};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const WRONG: &str = "0000-0000";

/// Two gateways on which nobody is limited, for those tests that hurt nothing.
fn world() -> World {
    static WORLD: OnceLock<World> = OnceLock::new();
    let limits = ["limits.code_per_min=0", "limits.visitor_per_s=0"];
    let start = || {
        let settings = limits.map(|limit| Setting::Gateway(limit.to_owned())).to_vec();
        World::start(&StackOptions { gateways: 2, fixture: Fixture::Empty, settings, ..StackOptions::default() })
    };
    World::beside(WORLD.get_or_init(start))
}

/// One gateway of its own, in front of a Redis that remembers nothing.
fn fragile() -> World {
    let settings = vec![Setting::Gateway("limits.code_burst=5".to_owned())];
    World::start(&StackOptions { fixture: Fixture::Empty, settings, redis_aof: Aof::Off, ..StackOptions::default() })
}

async fn started(start: fn() -> World) -> World {
    tokio::task::spawn_blocking(start).await.unwrap()
}

impl World {
    async fn paused_sale(&self, sale: &str) -> String {
        self.create_sale(sale, json!({"state": "paused"})).await;
        text(&self.join(sale).await["place"])
    }

    async fn resume(&self, sale: &str) {
        let path = format!("/control/sales/{sale}/resume");
        assert_eq!(self.control(0, Method::POST, &path).send().await.unwrap().status(), 200);
    }

    async fn ask_for_code(&self, sale: &str, place: &str) -> Response {
        let url = self.gateway(&format!("/_usher/sales/{sale}/place/code"));
        self.client.post(url).header("authorization", format!("Place {place}")).send().await.unwrap()
    }

    async fn code(&self, sale: &str, place: &str) -> Value {
        let answer = self.ask_for_code(sale, place).await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    async fn take(&self, gateway: usize, sale: &str, body: &Value) -> Response {
        let url = format!("{}/_usher/sales/{sale}/return", self.ready().gateway[gateway]);
        self.client.post(url).json(body).send().await.unwrap()
    }
}

fn is_moved(document: &Value) -> bool {
    document["state"] == "left" && document["moved"] == true && document["pass"].is_null()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_devices_takes_the_place_and_only_it_may_claim() {
    let world = started(world).await;
    let old = world.paused_sale("one-device").await;
    let before = world.poll("one-device", &old).await;
    assert_eq!((&before["state"], &before["moved"]), (&json!("waiting"), &json!(false)));
    let told = world.code("one-device", &old).await;
    let code = text(&told["code"]);
    assert_eq!(told["link"], format!("/_usher/sales/one-device/return#{code}"));
    assert!((590..=600).contains(&told["expires_in_s"].as_u64().unwrap()), "{told}");
    assert_eq!(world.code("one-device", &old).await["code"], told["code"], "asking again is no other code");

    // Looking at the link takes nothing, however often.
    for _ in 0..3 {
        let page = world.get("/_usher/sales/one-device/return").header("accept", BROWSER).send().await.unwrap();
        assert_eq!((page.status().as_u16(), header(&page, "cache-control")), (200, "no-store".to_owned()));
        assert!(header(&page, "set-cookie").is_empty() && page.text().await.unwrap().contains("name=\"taker\""));
    }

    // Twenty devices at once, at both gateways, as people type.
    let typed = [code.clone(), code.to_lowercase(), code.replace('-', ""), format!(" {} ", code.replace('-', " "))];
    let bodies: Vec<Value> = (0..20).map(|i| json!({"code": typed[i % 4]})).collect();
    let answers = join_all(bodies.iter().enumerate().map(|(i, body)| world.take(i % 2, "one-device", body))).await;
    let mut winners = Vec::new();
    for answer in answers {
        if answer.status() == 200 {
            assert!(header(&answer, "set-cookie").starts_with("usher_place_one-device="));
            winners.push(answer.json::<Value>().await.unwrap());
        } else {
            problem(answer, 404, "not-found").await;
        }
    }
    let [won] = &winners[..] else { panic!("{} devices took the place", winners.len()) };
    for member in ["visitor", "score", "position", "state"] {
        assert_eq!(won[member], before[member], "the place keeps its {member}");
    }
    let new = text(&won["place"]);

    // The old device is told so, everywhere, and can do nothing to the place.
    let waiting = world.join("one-device").await;
    for gateway in 0..2 {
        let document: Value = world.poll_at(gateway, "one-device", &old).await.json().await.unwrap();
        assert!(is_moved(&document), "{document}");
    }
    let guarded = world.get("/e2e/one-device").header("authorization", format!("Place {old}"));
    assert_eq!(problem(guarded.send().await.unwrap(), 403, "place-moved").await["moved"], true);
    let page = world.get("/e2e/one-device").header("authorization", format!("Place {old}")).header("accept", BROWSER);
    assert!(page.send().await.unwrap().text().await.unwrap().contains("Your place is now on your other device."));
    problem(world.ask_for_code("one-device", &old).await, 403, "place-moved").await;
    let url = world.gateway("/_usher/sales/one-device/place");
    let left = world.client.delete(url).header("authorization", format!("Place {old}")).send().await.unwrap();
    assert_eq!(left.status(), 204);

    world.resume("one-device").await;
    world.until_inside(0, "one-device", &text(&waiting["place"])).await;
    // Whoever came later is inside, so the place that moved was called; asking with the old one claims nothing.
    assert!(is_moved(&world.poll("one-device", &old).await));
    let inside = world.until_inside(1, "one-device", &new).await;
    assert!(inside["called_seq"].as_u64() == Some(1), "it kept its spot: {inside}");
    assert!(is_moved(&world.poll("one-device", &old).await));
    let stays = problem(world.ask_for_code("one-device", &new).await, 409, "place-stays").await;
    assert_eq!(stays["state"], "inside");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_script_gets_there_by_forms() {
    let world = started(world).await;
    let old = world.paused_sale("forms").await;
    let url = world.gateway("/_usher/sales/forms/place/code");
    let page = world.client.post(url).header("authorization", format!("Place {old}")).header("accept", BROWSER);
    let page = page.send().await.unwrap().text().await.unwrap();
    let code = text(&world.code("forms", &old).await["code"]);
    assert!(page.contains(&code) && page.contains("/_usher/sales/forms/return#"), "{page}");

    let url = world.gateway("/_usher/sales/forms/return");
    let send = async |origin: Option<&str>, code: &str| {
        let form = world.client.post(&url).header("accept", BROWSER).header("content-type", FORM);
        let form = match origin {
            Some(origin) => form.header("origin", origin),
            None => form,
        };
        form.body(format!("taker=AAAAAAAAAAAAAAAAAAAAAA&code={code}")).send().await.unwrap()
    };
    let own = world.ready().gateway[0].clone();
    // A page of another site cannot hand its visitor a place of its own.
    for elsewhere in [None, Some("https://evil.example"), Some("null")] {
        problem(send(elsewhere, &code).await, 403, "forbidden").await;
    }
    let wrong = send(Some(&own), WRONG).await;
    assert_eq!(wrong.status(), 404);
    assert!(wrong.text().await.unwrap().contains("This code leads to no place"));
    // Sent twice, as by a browser that lost the first answer.
    for _ in 0..2 {
        let taken = send(Some(&own), &code).await;
        assert_eq!((taken.status().as_u16(), header(&taken, "location")), (303, "/e2e/forms".to_owned()));
        let cookie = header(&taken, "set-cookie").split(';').next().unwrap().to_owned();
        let there = world.get("/e2e/forms").header("accept", BROWSER).header("cookie", cookie).send().await.unwrap();
        assert!(there.text().await.unwrap().contains(">1</strong>"), "the same place, in the waiting room");
    }
    assert!(is_moved(&world.poll("forms", &old).await));
    for (kind, body) in [("application/json", "{"), ("text/plain", "code=x"), (FORM, "x=y"), (FORM, &"x".repeat(5_000))]
    {
        let bad = world.client.post(&url).header("content-type", kind).header("origin", &own).body(body.to_owned());
        problem(bad.send().await.unwrap(), 400, "invalid").await;
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(flavor = "multi_thread")]
async fn many_tabs_of_one_browser_get_the_same_pass() {
    let world = started(world).await;
    let place = world.paused_sale("tabs").await;
    let tabs = || join_all((0..5).map(|i| world.poll_at(i % 2, "tabs", &place)));
    for tab in tabs().await {
        let document: Value = tab.json().await.unwrap();
        assert_eq!((&document["state"], &document["position"]), (&json!("waiting"), &json!(1)));
    }
    world.resume("tabs").await;
    let passes = join_all((0..5).map(|i| world.until_inside(i % 2, "tabs", &place))).await;
    for document in &passes {
        let facts = |document: &Value| (document["pass_expires_at"].clone(), document["called_seq"].clone());
        assert_eq!(facts(document), facts(&passes[0]));
    }
    let ids: std::collections::BTreeSet<String> = passes.iter().map(|document| pass_id(&document["pass"])).collect();
    assert_eq!(ids.len(), 1, "one pass");
    wait_for("the numbers say so", || async { world.numbers("tabs").await["inside"] == 1 }).await;
    assert_eq!(world.numbers("tabs").await["claimed_total"], 1, "claimed once");
}

/// The id within a pass.
fn pass_id(pass: &Value) -> String {
    use base64::Engine;
    let claims = text(pass).split('.').nth(1).unwrap().to_owned();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    text(&serde_json::from_slice::<Value>(&claims).unwrap()["jti"])
}

/// A device far from the front is not asked about, so it may think that it holds a place that has moved; but it cannot
/// keep it alive: in the second half of its life the line is asked before it is signed anew.
#[ignore = "long"]
#[tokio::test(flavor = "multi_thread")]
async fn a_far_device_learns_of_the_move_before_its_place_is_signed_anew() {
    let world = started(|| {
        let settings = vec![Setting::Gateway("line.place_life_s=60".to_owned())];
        World::start(&StackOptions { fixture: Fixture::Empty, settings, ..StackOptions::default() })
    })
    .await;
    world.create_sale("aging", json!({"rate_per_min": 1, "burst": 1, "max_inside": 1})).await;
    let mut place = String::new();
    for _ in 0..150 {
        place = text(&world.join("aging").await["place"]);
    }
    let code = world.code("aging", &place).await["code"].clone();
    let taken: Value = world.take(0, "aging", &json!({"code": code})).await.json().await.unwrap();
    let new = text(&taken["place"]);
    // As soon as the gateway has seen how long the line is.
    wait_for("nobody is asked about the old device", || async {
        let far = world.poll("aging", &place).await;
        far["state"] == "waiting" && far["place"] == place.as_str()
    })
    .await;

    let mut renewed = new.clone();
    for (device, what) in [(&place, "the old device learns"), (&new, "the new one's place is signed anew")] {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(45);
        loop {
            let document = world.poll("aging", device).await;
            if is_moved(&document) && *device == place {
                break;
            }
            assert_eq!(document["state"], "waiting");
            renewed = text(&document["place"]);
            if *device == new && renewed != new {
                break;
            }
            assert!(*device == new || renewed == place, "the old place was signed anew");
            assert!(std::time::Instant::now() < until, "not in time: {what}");
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
    assert_eq!(world.poll("aging", &renewed).await["visitor"], taken["visitor"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_guesses_and_silence_change_nothing() {
    let world = started(fragile).await;
    let old = world.paused_sale("fragile").await;
    let code = text(&world.code("fragile", &old).await["code"]);
    let taken = world.take(0, "fragile", &json!({"code": code})).await;
    let new = text(&taken.json::<Value>().await.unwrap()["place"]);

    // Redis forgets who holds the place; the newest device says it again.
    let redis = &world.stack.redis().servers()[0];
    let moved = || redis.command(&["ZCARD", "{fragile}:moved"]).unwrap().concat();
    assert_eq!(moved(), "1");
    redis.command(&["FLUSHALL"]).unwrap();
    assert_eq!(moved(), "0", "the loss bit");
    wait_for("the sale is back", || async { redis.command(&["EXISTS", "{fragile}:state"]).unwrap().concat() == "1" })
        .await;
    assert_eq!(world.poll("fragile", &old).await["state"], "waiting", "Redis cannot know");
    assert_eq!(world.poll("fragile", &new).await["state"], "waiting");
    assert!(is_moved(&world.poll("fragile", &old).await));

    // A Redis that does not answer: clear words, and the same code works when it is back.
    let code = text(&world.code("fragile", &new).await["code"]);
    let node = world.stack.redis().node();
    node.pause().unwrap();
    let newest = json!({"code": code, "taker": "AQEBAQEBAQEBAQEBAQEBAQ"});
    let silent = world.take(0, "fragile", &newest).await;
    assert!(text(&problem(silent, 503, "unavailable").await["detail"]).contains("Nothing is lost"));
    let silent = world.ask_for_code("fragile", &new).await;
    assert!(text(&problem(silent, 503, "unavailable").await["detail"]).contains("safe"));
    node.resume().unwrap();
    wait_for("the same code works", || async { world.take(0, "fragile", &newest).await.status() == 200 }).await;
    let again = world.take(0, "fragile", &newest).await;
    let newest = text(&again.json::<Value>().await.unwrap()["place"]);
    assert!(is_moved(&world.poll("fragile", &new).await));

    // Guessing: a handful of tries, then a long wait; even the right code does not help who guesses on.
    let code = text(&world.code("fragile", &newest).await["code"]);
    let mut told = Vec::new();
    for _ in 0..8 {
        told.push(world.take(0, "fragile", &json!({"code": WRONG})).await.status().as_u16());
    }
    assert_eq!(told[..4], [404; 4], "{told:?}");
    assert_eq!(told[6..], [429; 2], "{told:?}");
    let limited = world.take(0, "fragile", &json!({"code": code})).await;
    assert!(header(&limited, "retry-after").parse::<u64>().is_ok_and(|s| (1..=7).contains(&s)));
    problem(limited, 429, "rate-limited").await;

    world.resume("fragile").await;
    world.until_inside(0, "fragile", &newest).await;
    for late in [&old, &new] {
        assert!(is_moved(&world.poll("fragile", late).await));
    }
}
