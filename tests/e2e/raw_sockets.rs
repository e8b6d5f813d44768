//! The gateway's edge as a hostile client meets it: bytes by hand, before a real gateway with a canary as its origin.
//!
//! Nothing of a refused request reaches the canary, and whoever is slow is let go in time. Bounds are short here, so
//! that the tests are.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use stack::{Fixture, Setting, StackOptions};

use crate::canary::{Canary, Raw, field};
use crate::world::{World, wait_for};

const GET: &str = "GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n";

/// Gateway 0 is for all tests; gateway 1 for the one that fills it.
fn edge() -> &'static (World, Canary) {
    static EDGE: OnceLock<(World, Canary)> = OnceLock::new();
    EDGE.get_or_init(|| {
        let (canary, port) = Canary::start();
        let mut settings = vec![Setting::Gateway(format!("upstreams=[\"127.0.0.1:{port}\"]"))];
        settings.extend(
            [
                "head_timeout_ms=1000",
                "keepalive_ms=1500",
                "requests_per_connection=5",
                "body_idle_ms=1000",
                "write_idle_ms=1000",
                "connections_per_address=64",
            ]
            .map(|limit| Setting::Gateway(format!("limits.{limit}"))),
        );
        let options = StackOptions { gateways: 2, fixture: Fixture::Empty, settings, ..StackOptions::default() };
        (World::start(&options), canary)
    })
}

fn connect() -> Raw {
    Raw::connect(&edge().0.ready().gateway[0])
}

#[test]
fn a_head_that_could_be_read_in_two_ways_ends_the_connection() {
    let (_, canary) = edge();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = |lines: &str| format!("POST /refused HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n{smuggled}");
    let mut cases: Vec<String> = [
        // Both lengths, in either order.
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        // Encodings that one program sees and another does not.
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding:\u{b}chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity\r\nContent-Length: 5",
        "Transfer-Encoding: \"chunked\"",
        "Transfer_Encoding: chunked",
        // Lengths that are not one number.
        "Content-Length: +5",
        "Content-Length: 5,5",
        "Content-Length: 0x5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length : 5",
        "Content-Length: 99999999999999999999",
        // Expectations.
        "Expect: 100-continue",
        "Content-Length: 0\r\nExpect: 100-continue",
        "Content-Length: 5\r\nExpect: y 100-continue",
        "Content-Length: 5\r\nExpect: 100-continue\r\nExpect: 100-continue",
        // Hosts, and bytes that have no place in a head.
        "Host: b",
        "X: a\0b",
        "X: folded\r\n\tline",
    ]
    .map(post)
    .into();
    cases.extend(
        [
            "GET /refused HTTP/1.1\nHost: a\n\n",
            "GET /refused HTTP/1.1\r\nHost: a\n\r\n",
            "GET /refused HTTP/1.1\r\n\r\n",
            "GET /refused HTTP/1.1\r\nHost: a, b\r\n\r\n",
            "GET http://b/refused HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a@b/refused HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /refused HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /refused HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET /refused\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
        .map(|head| format!("{head}{smuggled}")),
    );
    for case in &cases {
        for reused in [false, true] {
            let mut raw = connect();
            if reused {
                raw.send(GET);
                assert_eq!(raw.answer().status, 200);
            }
            raw.send(case);
            let heard = raw.rest();
            assert_eq!(heard.status, 400, "{case:?}: {heard:?}");
            assert_eq!(field(&heard.text, "connection"), Some("close"), "{case:?}");
            assert_eq!(heard.text.matches("\r\n\r\n").count(), 1, "one answer, then the end: {heard:?}");
        }
    }
    assert!(!canary.heard("/refused") && !canary.heard("/smuggled"));
}

#[test]
fn methods_that_nothing_answers_are_refused() {
    for line in ["CONNECT a:443", "CONNECT /refused", "TRACE /refused", "BREW /refused", "get /refused"] {
        let mut raw = connect();
        raw.send(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let heard = raw.rest();
        assert_eq!(heard.status, 405, "{line}: {heard:?}");
        assert!(field(&heard.text, "allow").is_some_and(|allowed| allowed.contains("GET")), "{heard:?}");
    }
    assert!(!edge().1.heard("/refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_about_the_connection_changes_nothing_behind_it() {
    let (world, canary) = edge();
    let world = World::beside(world);
    world.create_sale("edge", json!({})).await;
    let pass = world.enter("edge").await.pass;
    let mut raw = connect();
    raw.send(&format!(
        "GET /e2e/edge/hop HTTP/1.1\r\nHost: a\r\nAuthorization: Pass {pass}\r\n\
         Connection: usher-pass, usher-visitor, x-request-id, content-length, keep-alive\r\nKeep-Alive: timeout=9\r\n\
         Usher-Visitor: forged\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nTE: trailers\r\n\r\n"
    ));
    let heard = raw.answer();
    let (_, head) = heard.text.split_once("\r\n\r\n").unwrap();
    assert_eq!(heard.status, 200, "{heard:?}");
    assert_eq!(field(head, "usher-pass"), Some(pass.to_lowercase().as_str()));
    assert_eq!(field(head, "x-forwarded-for"), Some("127.0.0.1"));
    assert!(field(head, "x-request-id").is_some() && field(head, "usher-visitor").is_some_and(|v| v != "forged"));
    for gone in ["connection", "keep-alive", "forwarded", "te", "authorization"] {
        assert_eq!(field(head, gone), None, "{head}");
    }

    let mut raw = connect();
    raw.send("GET /v1/nominated HTTP/1.1\r\nHost: a\r\nConnection: x-forwarded-for\r\n\r\n");
    assert_eq!(raw.rest().status, 400);
    assert!(!canary.heard("/v1/nominated"));

    // Whoever asks for another protocol gets this one, and nothing sent ahead for it is passed on.
    let mut raw = connect();
    raw.send(
        "GET /v1/upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\nGET /ahead HTTP/1.1\r\n\r\n",
    );
    let heard = raw.rest();
    assert_eq!(heard.status, 200, "{heard:?}");
    assert!(!heard.text.contains("websocket\r\n") && !canary.heard("/ahead"), "{heard:?}");

    // A target that names the host is guarded like its path.
    world.create_sale("edge-shut", json!({"state": "paused"})).await;
    let mut raw = connect();
    raw.send("GET http://a/e2e/edge-shut/whole HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(raw.answer().status, 429);
    raw.send("GET http://a/v1/whole-target HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(raw.answer().text.contains("\r\n\r\nget /v1/whole-target http/1.1\r\n"), "the origin reads a path");
    assert!(!canary.heard("/edge-shut"));
}

#[test]
fn a_head_has_its_time_however_it_trickles() {
    let late = Duration::from_millis(900)..Duration::from_millis(2_500);
    let slow = format!("GET /v1/late HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(200));
    let drips = |first: &'static str| {
        let slow = slow.clone();
        std::thread::spawn(move || {
            let mut raw = connect();
            if !first.is_empty() {
                raw.send(first);
                assert_eq!(raw.answer().status, 200);
            }
            raw.drip(&slow, Duration::from_millis(50))
        })
    };
    let trickles = [drips(""), drips(GET)];
    let silent = [("", 1_000), (GET, 1_500)].map(|(first, bound_ms)| {
        std::thread::spawn(move || {
            let mut raw = connect();
            raw.send(first);
            if !first.is_empty() {
                assert_eq!(raw.answer().status, 200);
            }
            let started = Instant::now();
            assert_eq!(raw.rest().status, 0, "closed without a word");
            let bound = Duration::from_millis(bound_ms);
            assert!((bound.mul_f64(0.8)..bound * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
        })
    });
    for trickle in trickles {
        let (took, heard) = trickle.join().unwrap();
        assert_eq!(heard.status, 408, "{heard:?}");
        assert!(late.contains(&took), "{took:?}");
    }
    silent.into_iter().for_each(|client| client.join().unwrap());
    assert!(!edge().1.heard("/v1/late"));
}

#[test]
fn a_body_that_trickles_or_stops_is_given_up() {
    for pause_ms in [100, 20_000] {
        let mut raw = connect();
        raw.send("POST /v1/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
        let started = Instant::now();
        let heard = match pause_ms {
            100 => raw.drip(&"x".repeat(60), Duration::from_millis(pause_ms)).1,
            _ => raw.rest(),
        };
        assert_eq!(heard.status, 408, "{heard:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
    // One that is merely in pieces arrives.
    let mut raw = connect();
    raw.send("POST /v1/pieces HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab");
    std::thread::sleep(Duration::from_millis(200));
    raw.send("c\r\n0\r\n\r\n");
    assert_eq!(raw.answer().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_nothing_of_the_answer_is_given_up() {
    let (_, canary) = edge();
    let mut raw = connect();
    raw.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    let started = Instant::now();
    wait_for("the origin is let go", || async { canary.broken_off.load(Ordering::Relaxed) > 0 }).await;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn a_connection_serves_so_many_requests_and_an_address_holds_so_many() {
    let mut raw = connect();
    for i in 1..=5 {
        raw.send(GET);
        let expected = if i == 5 { "close" } else { "keep-alive" };
        assert_eq!(field(&raw.answer().text, "connection"), Some(expected), "request {i}");
    }
    assert_eq!(raw.rest().status, 0);

    let second = &edge().0.ready().gateway[1];
    let mut held: Vec<Raw> = (0..64).map(|_| Raw::connect(second)).collect();
    held.last_mut().unwrap().send(GET);
    assert_eq!(held.last_mut().unwrap().answer().status, 200, "the last that is allowed is served");
    let mut beyond = Raw::connect(second);
    let started = Instant::now();
    assert_eq!(beyond.rest().status, 0);
    assert!(started.elapsed() < Duration::from_millis(500), "closed at once, not by a deadline");
    drop(held);
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let mut again = Raw::connect(second);
        let sent = std::io::Write::write_all(&mut again.0, GET.as_bytes()).is_ok();
        let mut piece = [0; 12];
        if sent && std::io::Read::read_exact(&mut again.0, &mut piece).is_ok() && piece.ends_with(b"200") {
            break;
        }
        assert!(Instant::now() < until, "the seats come back");
    }
}
