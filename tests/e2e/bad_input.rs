//! What strangers send: the documented answer, never a panic, nothing half-done.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::world::{World, problem, text};

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_the_documented_problem() {
    let world = World::shared();
    let pass = format!("Pass {}", world.enter("demo").await.pass);
    let holds = "/v1/events/demo-arena/holds";
    let send = |body: &'static str| {
        world
            .client
            .post(world.gateway(holds))
            .header("authorization", &pass)
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    for body in [
        "",
        "{",
        "[]",
        "null",
        r#"{"seats":"A"}"#,
        r#"{"seats":[]}"#,
        r#"{"seats":[1]}"#,
        r#"{"unknown":1}"#,
        r#"{"areas":[{"area":"floor","quantity":0}]}"#,
        r#"{"areas":[{"area":"floor","quantity":-1}]}"#,
        r#"{"areas":[{"area":"floor","quantity":2147483648}]}"#,
        r#"{"areas":[{"area":"floor","quantity":1e309}]}"#,
        r#"{"areas":[{"area":"floor","quantity":1,"price":1}]}"#,
        r#"{"best":{"quantity":0}}"#,
    ] {
        let document = problem(send(body).await.unwrap(), 400, "invalid").await;
        assert!(document["errors"].as_array().is_some_and(|errors| errors[0]["detail"].is_string()), "{document}");
    }
    let unknown = send(r#"{"seats":["no-such-seat"]}"#).await.unwrap();
    assert_eq!(problem(unknown, 400, "invalid").await["errors"][0]["pointer"], "/seats/0");

    let foreign = world.enter("demo").await;
    let held: Value = send(r#"{"areas":[{"area":"floor","quantity":1}]}"#).await.unwrap().json().await.unwrap();
    let path = format!("{holds}/{}", text(&held["hold"]));
    let theirs = format!("Pass {}", foreign.pass);
    problem(world.get(&path).header("authorization", &theirs).send().await.unwrap(), 404, "not-found").await;
    let url = world.gateway(&path);
    let release = world.client.delete(url).header("authorization", &theirs).send().await.unwrap();
    problem(release, 404, "not-found").await;
    assert_eq!(world.get(&path).header("authorization", &pass).send().await.unwrap().status(), 200, "still held");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_foreign_credentials_open_nothing() {
    let world = World::shared();
    world.create_sale("bad-other", json!({})).await;
    let other = world.enter("bad-other").await;
    let inside = world.enter("demo").await;
    let direct = format!("{}/v1/events/demo-arena/holds", world.ready().booking[0]);
    let body = json!({"areas": [{"area": "floor", "quantity": 1}]});

    let mut forged = inside.pass.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    let swapped: Vec<&str> = inside.pass.split('.').collect();
    let unsigned = format!("{}.{}.", "eyJhbGciOiJub25lIiwidHlwIjoidXNoZXItcGFzcytqd3QifQ", swapped[1]);
    let tokens = [forged, unsigned, other.pass.clone(), text(&inside.place["place"]), String::new(), "x".repeat(3_000)];
    for token in &tokens {
        for name in ["authorization", "usher-pass"] {
            let value = if name == "authorization" { format!("Pass {token}") } else { token.clone() };
            let answer = world.client.post(&direct).header(name, value).json(&body).send().await.unwrap();
            problem(answer, 401, "pass-required").await;
        }
    }
    // Forged headers do not reach the core through the gateway: nothing but a pass makes a visitor.
    let answer = world
        .post("/v1/events/demo-club/holds", &json!({"areas": [{"area": "club", "quantity": 1}]}))
        .header("usher-visitor", text(&inside.place["visitor"]))
        .header("usher-pass", &inside.pass)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let held: Value = answer.json().await.unwrap();
    let path = format!("/v1/events/demo-club/holds/{}", text(&held["hold"]));
    let theirs = world.get(&path).header("authorization", format!("Pass {}", inside.pass)).send().await.unwrap();
    problem(theirs, 404, "not-found").await;

    // Places: of another sale, forged, missing.
    let foreign = world.poll_at(0, "demo", &text(&other.place["place"])).await;
    problem(foreign, 403, "forbidden").await;
    problem(world.poll_at(0, "demo", "junk").await, 401, "place-required").await;
    problem(world.get("/_usher/sales/demo/place").send().await.unwrap(), 401, "place-required").await;
    problem(world.get("/_usher/sales/no-such-sale").send().await.unwrap(), 404, "not-found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_heads_and_bodies_are_refused() {
    let world = World::shared();
    let answer = world.get("/events").header("x-long", "y".repeat(17_000)).send().await.unwrap();
    problem(answer, 431, "too-large").await;
    let many = (0..70).fold(world.get("/events"), |request, i| request.header(format!("x-{i}"), "y"));
    problem(many.send().await.unwrap(), 431, "too-large").await;
    // Declared too long: refused by the gateway. Within its bounds but beyond the core's: refused there.
    for bytes in [2 << 20, 200 << 10] {
        let answer = world
            .client
            .post(world.gateway("/v1/events/demo-club/holds"))
            .header("content-type", "application/json")
            .body(vec![b' '; bytes])
            .send()
            .await
            .unwrap();
        problem(answer, 413, "too-large").await;
    }
    let after = world.get("/v1/events").send().await.unwrap();
    assert_eq!(after.status(), 200, "everybody else is served");
}

/// Sends raw bytes and returns the status of the answer, if any.
fn raw(world: &World, request: &str) -> Option<u16> {
    let address = world.ready().gateway[0].trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0u8; 64];
    let n = stream.read(&mut answer).ok()?;
    std::str::from_utf8(&answer[..n]).ok()?.split(' ').nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_no_client_writes_are_refused() {
    let world = World::shared();
    for (what, request) in [
        ("a length with a sign", "POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
        ("two lengths", "POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        ("two hosts", "GET /events HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("a method nobody knows", "BREW /events HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("trace", "TRACE /events HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no request at all", "hello\r\n\r\n"),
    ] {
        let status = raw(&world, request);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{what}: {status:?}");
    }
    assert_eq!(raw(&world, "GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n"), Some(200));
}
