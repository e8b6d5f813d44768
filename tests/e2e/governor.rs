//! The origin's say on the rate: nothing left to sell, nobody there, slow, asking for less, and well again. Each change is
//! told in one sentence, and of several gateways that see the same only one makes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use stack::{Fixture, Pace, Setting, StackOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{Inside, World, problem, text, wait_for};

const SOLD_OUT: &str = "Stopped: nothing is left to sell.";
const BACK: &str = "Full rate: there is something to sell again.";
const SILENT: &str = "Stopped: the shop does not answer.";

/// A stack whose only event has three places.
async fn small_world(gateways: usize) -> Arc<World> {
    let file = std::env::temp_dir().join(format!("usher-e2e-lounge-{}-{gateways}.toml", std::process::id()));
    let event = r#"
        id = "lounge"
        name = "Three Chairs"
        category = "concert"
        starts_at = "2027-03-05T22:00:00Z"
        currency = "EUR"
        venue = "Lounge"
        city = "Porto"
        time_zone = "Europe/Lisbon"
        sale = "lounge"
        [[areas]]
        area = "chairs"
        name = "Chairs"
        capacity = 3
        price = { amount = 100, currency = "EUR" }
    "#;
    std::fs::write(&file, event).unwrap();
    let options = StackOptions {
        gateways,
        fixture: Fixture::File(file.clone()),
        pace: Pace { rate_per_min: 1_200.0, burst: 5, max_inside: 100 },
        governed: true,
        settings: vec![Setting::Booking("holds.ttl_s=6".to_owned())],
        ..StackOptions::default()
    };
    let world = tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap();
    std::fs::remove_file(file).unwrap();
    Arc::new(world)
}

async fn hold_all(world: &World, fan: &Inside) -> String {
    let body = json!({"areas": [{"area": "chairs", "quantity": 3}]});
    let answer = world
        .post("/v1/events/lounge/holds", &body)
        .header("authorization", format!("Pass {}", fan.pass))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    text(&answer.json::<Value>().await.unwrap()["hold"])
}

/// Waits until every gateway tells this sentence.
async fn until_told(world: &World, sale: &str, why: &str) {
    for i in 0..world.ready().gateway.len() {
        wait_for(why, || async { governor(world, i, sale).await["why"] == why }).await;
    }
}

async fn governor(world: &World, gateway: usize, sale: &str) -> Value {
    let path = format!("/control/sales/{sale}");
    let document: Value = world.control(gateway, Method::GET, &path).send().await.unwrap().json().await.unwrap();
    document["governor"].clone()
}

/// The sentences, oldest first, with the factors.
async fn log(world: &World, sale: &str) -> Vec<(f64, String)> {
    let path = format!("/control/sales/{sale}/log");
    let log: Value = world.control(0, Method::GET, &path).send().await.unwrap().json().await.unwrap();
    let told = log["items"].as_array().unwrap().iter().map(|c| (c["factor"].as_f64().unwrap(), text(&c["why"])));
    let mut told: Vec<_> = told.collect();
    told.reverse();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sold_out_shop_calls_nobody_until_something_is_back() {
    let world = small_world(2).await;
    assert_eq!(governor(&world, 0, "lounge").await["factor"], 1.0);
    let first = world.enter("lounge").await;
    let hold = hold_all(&world, &first).await;
    until_told(&world, "lounge", SOLD_OUT).await;
    assert_eq!(governor(&world, 1, "lounge").await["rate_in_force_per_min"], 0.0);

    // What is given up is back: who waited is called, and was not before.
    let waiting = world.join("lounge").await;
    assert_eq!(waiting["state"], "waiting", "{waiting}");
    let called = world.numbers("lounge").await["called_total"].clone();
    assert_eq!(called, 1);
    let released = world
        .client
        .delete(world.gateway(&format!("/v1/events/lounge/holds/{hold}")))
        .header("authorization", format!("Pass {}", first.pass))
        .send()
        .await
        .unwrap();
    // The hold may just have run out by itself.
    assert!([204, 404].contains(&released.status().as_u16()), "{released:?}");
    until_told(&world, "lounge", BACK).await;
    let place = text(&waiting["place"]);
    let document = world.until_inside(0, "lounge", &place).await;

    // A hold that runs out brings it back as well.
    let second = Inside { pass: text(&document["pass"]), place: document };
    hold_all(&world, &second).await;
    until_told(&world, "lounge", SOLD_OUT).await;
    until_told(&world, "lounge", BACK).await;

    // Two gateways saw the same, and each change was made once.
    let sentences: Vec<String> = log(&world, "lounge").await.into_iter().map(|(_, why)| why).collect();
    assert_eq!(sentences, [SOLD_OUT, BACK, SOLD_OUT, BACK]);

    // What nodes tell gateways is nothing for fans, however it is spelt.
    let booking = &world.ready().booking[0];
    let path = "/admission/health?event=lounge";
    let told: Value = world.client.get(format!("{booking}{path}")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&told["event"], &told["stock_left"], &told["capacity"]), (&json!("lounge"), &json!(3), &json!(3)));
    for path in [path, "/Admission//health?event=lounge", "/x/../admission/health", "/%61dmission/health", "/admission"]
    {
        problem(world.get(path).send().await.unwrap(), 404, "not-found").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_freezes_stops_its_sale_and_gets_it_back_step_by_step() {
    let world = small_world(1).await;
    world.stack.booking(0).node().pause().unwrap();
    // A thread that runs on another core may answer once more.
    wait_for("the freeze bites", || async {
        let asked = world.client.get(format!("{}/livez", world.ready().booking[0])).timeout(Duration::from_secs(1));
        asked.send().await.is_err_and(|error| error.is_timeout())
    })
    .await;
    until_told(&world, "lounge", SILENT).await;
    let waiting = world.join("lounge").await;
    assert_eq!(waiting["state"], "waiting");

    world.stack.booking(0).node().resume().unwrap();
    let resumed = Instant::now();
    until_told(&world, "lounge", "Up to 10 % of the rate: the shop is well.").await;
    assert!(resumed.elapsed() > Duration::from_secs(8), "well for ten seconds first, not {:?}", resumed.elapsed());
    until_told(&world, "lounge", "Up to 20 % of the rate: the shop is well.").await;
    world.until_inside(0, "lounge", &text(&waiting["place"])).await;
    let factors: Vec<f64> = log(&world, "lounge").await.into_iter().map(|(factor, _)| factor).collect();
    assert_eq!(factors[..3], [0.0, 0.1, 0.2]);
}

/// An origin that says what it is told to say, and fails whoever it is sent.
struct Scripted {
    address: String,
    said: Arc<std::sync::Mutex<(u16, String)>>,
    /// How often gateways asked how it is.
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let said = Arc::new(std::sync::Mutex::new((200, "{}".to_owned())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (telling, counting) = (said.clone(), asked.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (telling, counting) = (telling.clone(), counting.clone());
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    while let Ok(1..) = stream.read(&mut head).await {
                        counting.fetch_add(usize::from(head.starts_with(b"GET /how")), Ordering::Relaxed);
                        let (status, body) = match head.starts_with(b"GET /e2e/") {
                            true => (500, String::new()),
                            false => telling.lock().unwrap().clone(),
                        };
                        let length = body.len();
                        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n\r\n{body}");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, said, asked }
    }

    fn say(&self, status: u16, body: &Value) {
        *self.said.lock().unwrap() = (status, body.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_failing_origin_lowers_the_rate() {
    let origin = Scripted::start().await;
    let settings = vec![Setting::Gateway(format!("upstreams=[\"{}\"]", origin.address))];
    let options = StackOptions { gateways: 2, fixture: Fixture::Empty, settings, ..StackOptions::default() };
    let world = tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap();
    let sale = json!({"rate_per_min": 1_200, "burst": 1, "health_path": "/how?are=you", "health_p99_ms": 300});
    world.create_sale("scripted", sale.clone()).await;
    wait_for("the origin is asked", || async { origin.asked.load(Ordering::Relaxed) > 2 }).await;
    assert_eq!(governor(&world, 0, "scripted").await["factor"], 1.0);

    origin.say(200, &json!({"holds_p99_ms": 900.0, "stock_left": 7}));
    until_told(&world, "scripted", "Down to 70 % of the rate: holds take 900 ms, more than 300 ms.").await;
    assert_eq!(governor(&world, 1, "scripted").await["rate_in_force_per_min"], 840.0);
    origin.say(200, &json!({"accept_factor": 0.5}));
    until_told(&world, "scripted", "Down to 35 % of the rate: the shop asks for less.").await;
    origin.say(503, &json!({}));
    until_told(&world, "scripted", SILENT).await;

    // Nobody is called, though the line moves on; the organiser sees it, and takes the origin's say away.
    let waiting = world.join("scripted").await;
    assert_eq!(waiting["state"], "waiting");
    assert_eq!(world.numbers("scripted").await["called_total"], 0);
    let mut without = sale.as_object().unwrap().clone();
    without.remove("health_path");
    world.create_sale("scripted", Value::Object(without)).await;
    world.until_inside(0, "scripted", &text(&waiting["place"])).await;
    assert_eq!(governor(&world, 0, "scripted").await, Value::Null);
    let told = log(&world, "scripted").await;
    let factors: Vec<f64> = told.iter().map(|(factor, _)| *factor).collect();
    assert_eq!(factors, [0.7, 0.35, 0.0, 1.0], "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_fails_its_fans_lowers_the_rate() {
    let origin = Scripted::start().await;
    let settings = vec![Setting::Gateway(format!("upstreams=[\"{}\"]", origin.address))];
    let options = StackOptions { fixture: Fixture::Empty, settings, ..StackOptions::default() };
    let world = tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap();
    world.create_sale("failing", json!({"health_path": "/how"})).await;
    let fan = world.enter("failing").await;
    wait_for("the origin is asked", || async { origin.asked.load(Ordering::Relaxed) > 2 }).await;
    // It says that it is well; the gateway sees what becomes of the fans.
    for _ in 0..30 {
        let answer = world.get("/e2e/failing").header("authorization", format!("Pass {}", fan.pass)).send().await;
        assert_eq!(answer.unwrap().status(), 500, "the origin's own answer");
    }
    until_told(&world, "failing", "Down to 70 % of the rate: 100 % of the shop's answers are failures.").await;
}

/// One of two gateways hears nothing of the origin: it stops the sale only when no other one hears it either.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_cut_off_from_the_origin_stops_no_sale() {
    let world = small_world(2).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let file = std::path::Path::new(&world.ready().dir).join("gateway-2.toml");
    let mut settings: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    let upstreams = vec![toml::Value::from(nobody.local_addr().unwrap().to_string())];
    settings.insert("upstreams".to_owned(), upstreams.into()).expect("the gateways have origins");
    std::fs::write(&file, settings.to_string()).unwrap();
    let counting = asked.clone();
    tokio::spawn(async move {
        // Whoever asks is hung up on.
        while nobody.accept().await.is_ok() {
            counting.fetch_add(1, Ordering::Relaxed);
        }
    });
    world.stack.gateway(1).node().kill9().unwrap();
    let again = world.clone();
    tokio::task::spawn_blocking(move || again.stack.gateway(1).up()).await.unwrap().unwrap();
    // It asks once a second, and whether the node is there at all about as often.
    wait_for("the gateway was cut off for a while", || async { asked.load(Ordering::Relaxed) >= 16 }).await;
    assert_eq!(log(&world, "lounge").await, []);
    assert_eq!(world.enter("lounge").await.place["state"], "inside");

    world.stack.gateway(0).node().kill9().unwrap();
    wait_for(SILENT, || async { governor(&world, 1, "lounge").await["why"] == SILENT }).await;
}
