//! Goal: a hall of 60,000 seats is served like a small one. Method: a generated plan, imported; every route that
//! grows with the seats is asked, and its size and time are bounded. The times are those of an unoptimised build and
//! many times the bars; `make bench` has the true ones.

use std::time::{Duration, Instant};

use booking::app::import_event::import_event;
use booking_domain::plan::packed::Packed;
use booking_domain::plan::{GenerateOptions, generate};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, Viewer};

const SEATS: u32 = 60_000;
const EVENT: &str = "stadium";

async fn import(app: &TestApp) -> Duration {
    let folder = tempfile::TempDir::new().unwrap();
    let options = GenerateOptions { seats: SEATS, tiers: 6, ..GenerateOptions::default() };
    let (plan, sidecar) = generate(&options).unwrap();
    std::fs::write(folder.path().join("plan.json"), plan.to_json()).unwrap();
    std::fs::write(folder.path().join("sidecar.json"), sidecar.to_json()).unwrap();
    let file = folder.path().join("event.toml");
    let text = format!(
        "id = \"{EVENT}\"\nname = \"Stadium\"\nstarts_at = \"2030-01-01T20:00:00Z\"\ncurrency = \"EUR\"\n\
         venue = \"Stadium\"\ncity = \"Porto\"\nplan = \"plan.json\"\nsidecar = \"sidecar.json\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let began = Instant::now();
    // Not by the serving pool: its statements end after five seconds.
    let pool = booking::storage::open_for_administration(&app.services.config.database).await.unwrap();
    import_event(&pool, &file).await.unwrap();
    pool.close().await;
    began.elapsed()
}

async fn timed(what: &str, answer: impl Future<Output = Answer>) -> Answer {
    let began = Instant::now();
    let answer = answer.await;
    println!("{what}: {:?}, {} bytes", began.elapsed(), answer.text.len());
    assert!(began.elapsed() < Duration::from_secs(2), "{what} took {:?}", began.elapsed());
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_thousand_seats_are_served_like_a_few() {
    let app = TestApp::start().await;
    let took = import(&app).await;
    println!("import: {took:?}");
    assert!(took < Duration::from_secs(20), "the import took {took:?}");
    let fan = app.stranger();
    let path = |rest: &str| format!("/v1/events/{EVENT}{rest}");
    // Whoever comes first waits until the plan is read.
    fan.get(&path("")).await.expect(200);
    let event = timed("event", fan.get(&path(""))).await.expect(200);
    assert_eq!(event["availability"]["free"], SEATS);

    let plan = timed("plan", fan.get(&path("/plan"))).await;
    plan.expect(200);
    let packed = timed("packed plan", fan.get(&path("/plan/packed"))).await;
    assert!(packed.text.len() * 10 < plan.text.len(), "{} of {}", packed.text.len(), plan.text.len());
    let seats = serde_json::from_str::<Packed>(&packed.text).unwrap().seats().unwrap();
    assert_eq!(seats.len(), SEATS as usize);
    for (rest, answer) in [("/plan", &plan), ("/plan/packed", &packed)] {
        assert!(answer.header("cache-control").unwrap().contains("immutable"));
        let known = fan.request(Method::GET, &path(rest)).header("if-none-match", answer.header("etag").unwrap());
        assert_eq!(known.send().await.unwrap().status(), 304, "{rest}");
    }
    assert_ne!(plan.header("etag"), packed.header("etag"));

    let snapshot = timed("snapshot", fan.get(&path("/seats"))).await;
    let bytes = snapshot.json()["seats"].as_str().unwrap().len();
    assert!(
        bytes == 20_000 && snapshot.text.len() < 20_500,
        "15 kB in base64 and little else: {}",
        snapshot.text.len()
    );

    let mut viewer = Viewer::new(&app.client, EVENT);
    viewer.load(&app.url).await;
    viewer.follow(&app.url, None).await;
    let chosen: Vec<&str> = [0usize, 29_999, 59_999].iter().map(|seat_no| seats[*seat_no].guid.as_str()).collect();
    let hold = timed("hold", fan.hold(EVENT, json!({ "seats": chosen }))).await.expect(201);
    let numbers: Vec<&Value> = hold["seats"].as_array().unwrap().iter().map(|seat| &seat["seat_no"]).collect();
    assert_eq!(numbers, [&json!(0), &json!(29_999), &json!(59_999)]);
    timed("best seats", fan.hold(EVENT, json!({ "best": { "quantity": 4 } }))).await.expect(201);
    while viewer.version < 2 {
        let told = viewer.next().await.unwrap();
        if told.kind == "change" {
            viewer.apply(&told);
        }
    }
    assert_eq!(viewer.seats.iter().filter(|state| **state == 1).count(), 7);
    timed("shop page", fan.get(&format!("/events/{EVENT}"))).await;
    app.check().await;
}
