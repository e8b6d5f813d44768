//! Goal: a node that dies at any step from hold to ticket, and back, leaves nothing that another does not finish: seats,
//! bookings and the provider's ledger agree within a minute. Method: real nodes that abort at an armed crash point while
//! several fans book; then a node that is not armed goes on. Each run proves that its crash happened.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use booking::crash::POINTS;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::attempts::arrive_late;
use crate::support::{Answer, Fan, GUARDED, Options, TestApp, path_of, payment};

/// Everything is settled so soon after a crash.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Fans per run: the crash comes to one of them.
const FANS: usize = 3;

/// A node as a process of its own, started again when it has died.
struct Node {
    app: Arc<TestApp>,
    url: String,
    running: Mutex<(Child, Option<Instant>)>,
}

fn start(app: &TestApp, url: &str, armed: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher-booking"));
    command.args(["serve", "--config"]).arg(app.config_file());
    for set in [
        format!("listen={}", url.trim_start_matches("http://")),
        "payments.provider_timeout_ms=700".to_owned(),
        "payments.pending_s=2".to_owned(),
        "checkout.breaker_failures=1000".to_owned(),
    ] {
        command.args(["--set", &set]);
    }
    if let Some(point) = armed {
        command.env("USHER_TEST_CRASH_AT", point);
    }
    command.env("RUST_LOG", "error").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Node {
    async fn armed(app: Arc<TestApp>, point: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{free}");
        let child = start(&app, &url, Some(point));
        let node = Self { app, url, running: Mutex::new((child, None)) };
        node.listens().await;
        node
    }

    async fn listens(&self) {
        for _ in 0..300 {
            self.keep_running();
            if self.app.client.get(format!("{}/livez", self.url)).send().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the node does not listen");
    }

    /// Starts another node when this one has died, and notes when.
    fn keep_running(&self) {
        let mut running = self.running.lock().unwrap();
        if let Some(status) = running.0.try_wait().unwrap() {
            assert!(!status.success());
            assert!(running.1.is_none(), "only the armed node dies: {status}");
            *running = (start(&self.app, &self.url, None), Some(Instant::now()));
        }
    }

    fn crashed_at(&self) -> Option<Instant> {
        self.running.lock().unwrap().1
    }

    /// A request that is repeated until it is answered for good.
    async fn post(&self, fan: &Fan<'_>, key: &str, path: &str, body: &Value) -> Answer {
        let begun = Instant::now();
        while begun.elapsed() < SETTLED_WITHIN {
            self.keep_running();
            match fan.try_post_at(&self.url, key, path, body).await {
                Some(answer) if answer.status.is_server_error() => {}
                Some(answer) if answer.text.contains("/in-flight") => {}
                Some(answer) if answer.status == StatusCode::ACCEPTED => {}
                Some(answer) => return answer,
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no answer to {path} within a minute");
    }

    async fn reaches(&self, fan: &Fan<'_>, booking: &Value, states: &[(&str, &str)]) -> (String, String) {
        let begun = Instant::now();
        let mut last = (String::new(), String::new());
        while begun.elapsed() < SETTLED_WITHIN {
            self.keep_running();
            let now = fan.get(&path_of(booking)).await.expect(200);
            let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
            last = (text(&now["state"]), text(&now["payment"]["state"]));
            if states.contains(&(last.0.as_str(), last.1.as_str())) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{last:?} is none of {states:?} after a minute");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap();
        let _ = running.0.kill();
        let _ = running.0.wait();
    }
}

async fn fault(app: &TestApp, fault: Option<Value>) {
    let url = format!("{}/v1/faults", app.psp);
    let request = match fault {
        Some(fault) => app.client.post(url).json(&fault),
        None => app.client.delete(url),
    };
    assert!(request.send().await.unwrap().status().is_success());
}

/// Pays until it is paid for; a new key for each new attempt.
async fn pay(node: &Node, fan: &Fan<'_>, booking: &Value, run: &str, token: &str) {
    for attempt in 0..10 {
        let key = format!("{run} pay {token} {attempt}");
        let answer = node.post(fan, &key, &format!("{}/confirm", path_of(booking)), &payment(token)).await;
        match answer.status.as_u16() {
            200 | 409 => return,
            402 if token == "tok_declined" => return,
            402 | 410 => {}
            other => panic!("{other}: {}", answer.text),
        }
    }
    panic!("ten attempts came to nothing");
}

/// One fan from hold to the end that this crash point is on the way to.
async fn one_fan(node: &Node, point: &str, run: &str, seat: &str) {
    let app = Arc::clone(&node.app);
    let fan = app.fan();
    let path = format!("/v1/events/{GUARDED}/holds");
    let hold = node.post(&fan, &format!("{run} hold"), &path, &json!({ "seats": [seat] })).await.expect(201);
    let body = json!({ "hold": hold["hold"], "buyer": { "name": "Ada", "email": "ada@example.org" } });
    let path = format!("/v1/events/{GUARDED}/bookings");
    let booking = node.post(&fan, &format!("{run} book"), &path, &body).await.expect(201);
    let confirm = format!("{}/confirm", path_of(&booking));
    match point {
        "given_back" => pay(node, &fan, &booking, run, "tok_declined").await,
        "rescued" | "voided" => {
            // The request is lost on its way; given up, it reaches the provider all the same.
            let _ = fan.try_post_at(&node.url, &format!("{run} lost"), &confirm, &payment("tok_ok")).await;
            node.reaches(&fan, &booking, &[("held", "failed")]).await;
            if point == "voided" {
                // By another node: this one may be dead at the moment.
                let hold = format!("/v1/events/{GUARDED}/holds/{}", hold["hold"].as_str().unwrap());
                fan.delete(&hold).await.expect(204);
            }
            arrive_late(&app, &booking, false).await;
            let due = "update payment set check_at = clock_timestamp() where booking_id = $1::uuid";
            sqlx::query(due).bind(booking["booking"].as_str()).execute(app.db()).await.unwrap();
            let end = if point == "voided" { ("cancelled", "voided") } else { ("confirmed", "captured") };
            node.reaches(&fan, &booking, &[end]).await;
        }
        _ => {}
    }
    if point != "voided" {
        pay(node, &fan, &booking, run, "tok_ok").await;
        node.reaches(&fan, &booking, &[("confirmed", "captured")]).await;
        if point == "announced" {
            wait_for_announcements(node).await;
        }
        // Back again, so that the seat can be had by the next run.
        let path = format!("{}/cancel", path_of(&booking));
        node.post(&fan, &format!("{run} cancel"), &path, &json!({})).await.expect(200);
        node.reaches(&fan, &booking, &[("refunded", "refunded")]).await;
    }
}

async fn wait_for_announcements(node: &Node) {
    let begun = Instant::now();
    loop {
        node.keep_running();
        let (waiting, aside) = booking::storage::outbox::counts(node.app.db()).await.unwrap();
        if (waiting, aside) == (0, 0) {
            return;
        }
        assert!(begun.elapsed() < SETTLED_WITHIN, "{waiting} announcements wait, {aside} are set aside");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The provider's ledger beside the database, payment by payment.
async fn compare(app: &TestApp) {
    for line in app.ledger().await {
        let reference = line["reference"].as_str().unwrap();
        let sql = "select state, amount, refunded from payment where reference = $1";
        let row: Option<(String, i64, i64)> =
            sqlx::query_as(sql).bind(reference).fetch_optional(app.db()).await.unwrap();
        let (state, amount, refunded) = row.unwrap_or_else(|| panic!("nobody knows {reference}"));
        let net = line["captured"].as_i64().unwrap() - line["refunded"].as_i64().unwrap();
        let owed = if state == "captured" { amount - refunded } else { 0 };
        assert_eq!(net, owed, "{reference} is {state} here and {line} there");
        assert_ne!(line["status"], "authorized", "{reference} is forgotten at the provider");
    }
}

/// Crashes a node at a point so many times.
async fn crash_at(point: &'static str, times: usize) {
    let app = Arc::new(TestApp::with(Options::default()).await);
    for turn in 0..times {
        let nth = turn % FANS + 1;
        let lost = ["rescued", "voided"].contains(&point);
        if lost {
            fault(&app, Some(json!({ "kind": "hang", "on": ["authorize"], "acts": false, "count": FANS }))).await;
        }
        let node = Node::armed(Arc::clone(&app), &format!("{point}:{nth}")).await;
        let fans = (0..FANS).map(|fan| {
            let (run, seat) = (format!("{turn} {fan}"), format!("stalls-C-{}", fan + 1));
            let node = &node;
            async move { one_fan(node, point, &run, &seat).await }
        });
        futures_util::future::join_all(fans).await;
        wait_for_announcements(&node).await;
        let crashed = node.crashed_at().unwrap_or_else(|| panic!("{point}:{nth} never came"));
        assert!(crashed.elapsed() < SETTLED_WITHIN, "settled {:?} after the crash", crashed.elapsed());
        compare(&app).await;
        if lost {
            fault(&app, None).await;
        }
    }
    let app = Arc::into_inner(app).expect("all nodes are gone");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_at_a_step_leaves_nothing_unfinished() {
    // A sample; the long run goes through all of them, a hundred times each.
    let sample = ["payment_begun", "authorised", "sold", "capture_asked", "rescued", "paid_back"];
    futures_util::future::join_all(sample.map(|point| crash_at(point, 1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn a_node_that_dies_at_any_step_a_hundred_times_leaves_nothing_unfinished() {
    let times = std::env::var("USHER_TEST_CRASHES").ok().and_then(|times| times.parse().ok()).unwrap_or(100);
    let begun = Instant::now();
    for points in POINTS.chunks(5) {
        futures_util::future::join_all(points.iter().map(|point| crash_at(point, times))).await;
        println!("{points:?} x {times}: {:?}", begun.elapsed());
    }
}
