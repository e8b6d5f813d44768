//! Goal: what an organiser changes is in force at once, for everybody, and on record. Method: the organisers' routes
//! against holds, snapshots, prices and the record.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Fan, OPEN, Options, TestApp, until};

async fn organiser<'a>(app: &'a TestApp, admin: &str) -> Fan<'a> {
    app.with_authorization("Bearer organiser".to_owned()).at(admin)
}

fn path(rest: &str) -> String {
    format!("/v1/organiser/events/{OPEN}/{rest}")
}

async fn put(fan: &Fan<'_>, path: &str, body: Value) -> Answer {
    Answer::of(fan.request(Method::PUT, path).json(&body).send().await.unwrap()).await
}

async fn changes(fan: &Fan<'_>) -> Vec<Value> {
    fan.get(&path("changes")).await.expect(200)["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_token_opens_the_organisers_routes() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let body = json!({ "seats": ["stalls-A-1"] });
    for authorization in [None, Some("Bearer other"), Some("Basic organiser"), Some("organiser")] {
        let fan = authorization.map_or_else(|| app.stranger(), |text| app.with_authorization(text.to_owned()));
        fan.at(&admin).post(&path("seats/block"), body.clone()).await.problem(403, "forbidden");
    }
    // The public port does not have them at all.
    let public = app.with_authorization("Bearer organiser".to_owned());
    public.post(&path("seats/block"), body).await.problem(404, "not-found");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_seat_cannot_be_had_until_it_is_put_back() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let organiser = organiser(&app, &admin).await;
    let both = json!({ "seats": ["stalls-A-1", "stalls-A-2", "stalls-A-1"] });
    let done = organiser.post(&path("seats/block"), both.clone()).await.expect(200);
    let (event, version) = (OPEN, 1);
    let names = json!(["stalls-A-1", "stalls-A-2"]);
    assert_eq!(done, json!({ "event": event, "version": version, "changed": names, "unchanged": [] }));
    // Twice is once.
    let again = organiser.post(&path("seats/block"), both.clone()).await.expect(200);
    assert_eq!(again, json!({ "event": event, "version": null, "changed": [], "unchanged": names }));

    let taken = app.stranger().hold(OPEN, json!({ "seats": ["stalls-A-2", "stalls-A-3"] })).await;
    assert_eq!(taken.problem(409, "seats-taken")["taken"], json!(["stalls-A-2"]));
    let snapshot = app.stranger().get(&format!("/v1/events/{OPEN}/seats")).await.expect(200);
    assert!(snapshot["seats"].as_str().unwrap().starts_with("DwAA"), "both as if sold: {snapshot}");
    let event = app.stranger().get(&format!("/v1/events/{OPEN}")).await.expect(200);
    assert_eq!(event["availability"]["free"], 60);

    organiser.post(&path("seats/unblock"), json!({ "seats": ["stalls-A-2"] })).await.expect(200);
    let (hold, _) = app.stranger().hold_seats(OPEN, &["stalls-A-2"]).await;
    assert_eq!(hold["seats"][0]["seat"], "stalls-A-2");

    // What somebody has is not taken away, and nothing of the request is done.
    let held = organiser.post(&path("seats/block"), json!({ "seats": ["stalls-A-2", "stalls-A-4"] })).await;
    assert_eq!(held.problem(409, "seats-taken")["taken"], json!(["stalls-A-2"]));
    app.stranger().hold_seats(OPEN, &["stalls-A-4"]).await;
    // What has lapsed is nobody's.
    crate::holds::lapse(&app, &hold).await;
    let block = organiser.post(&path("seats/block"), json!({ "seats": ["stalls-A-2"] })).await.expect(200);
    assert_eq!(block["changed"], json!(["stalls-A-2"]));
    // And unblocking what is not blocked changes nothing.
    let none =
        organiser.post(&path("seats/unblock"), json!({ "seats": ["stalls-A-4", "stalls-B-1"] })).await.expect(200);
    assert_eq!((&none["version"], &none["changed"]), (&Value::Null, &json!([])));

    let record = changes(&organiser).await;
    let actions: Vec<&str> = record.iter().map(|change| change["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["block", "unblock", "block"]);
    assert_eq!((&record[2]["version"], &record[2]["detail"]), (&json!(1), &json!({ "seats": names })));
    assert!(record.iter().all(|change| change["actor"].as_str().unwrap().starts_with("organiser:")));
    assert!(record.iter().all(|change| !change["request_id"].as_str().unwrap().is_empty()));
    for (bad, pointer) in [(json!({ "seats": [] }), "/seats"), (json!({ "seats": ["stalls-A-1", "no"] }), "/seats/1")] {
        let problem = organiser.post(&path("seats/block"), bad).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_may_be_repeated_under_its_key() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let organiser = organiser(&app, &admin).await;
    let body = json!({ "add": 5 });
    let first = organiser.post_once("k1", &path("areas/pit/capacity"), &body).await;
    let again = organiser.post_once("k1", &path("areas/pit/capacity"), &body).await;
    assert_eq!((first.expect(200), again.header("idempotency-replayed")), (again.expect(200), Some("true")));
    assert_eq!(again.json()["capacity"], 45);
    assert_eq!(changes(&organiser).await.len(), 1);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_price_is_for_those_who_hold_from_now_on() {
    let app = TestApp::with(Options { jobs: true, ..Options::default() }).await;
    let admin = app.admin().await;
    let organiser = organiser(&app, &admin).await;
    let other = app.second_node().await;
    let event = app.stranger().get(&format!("/v1/events/{OPEN}")).await.expect(200);
    let (before, buyer) = app.stranger().hold_seats(OPEN, &["stalls-A-1"]).await;
    // The other node knows the old prices.
    app.stranger().at(&other).get(&format!("/v1/events/{OPEN}")).await.expect(200);
    let category = event["price_categories"][0]["category"].as_str().unwrap().to_owned();
    let place = path(&format!("categories/{}/price", category.replace(' ', "%20")));
    let old = event["price_categories"][0]["price"]["amount"].as_i64().unwrap();
    assert_eq!(before["seats"][0]["price"]["amount"], old, "the seat is of the first category");

    let done =
        put(&organiser, &place, json!({ "price": { "amount": old + 777, "currency": "EUR" } })).await.expect(200);
    assert_eq!((&done["price"]["amount"], &done["fee"]["amount"]), (&json!(old + 777), &json!(150)));
    // At once on this node, as soon as the bell rings on the other.
    let (after, _) = app.stranger().hold_seats(OPEN, &["stalls-A-2"]).await;
    assert_eq!(after["seats"][0]["price"]["amount"], old + 777);
    until("the other node has the price", || async {
        let event = app.stranger().at(&other).get(&format!("/v1/events/{OPEN}")).await.expect(200);
        (event["price_categories"][0]["price"]["amount"] == old + 777).then_some(())
    })
    .await;
    // Who held before pays what was shown.
    let booking = buyer.book(&before).await.expect(201);
    assert_eq!(booking["total"]["amount"], old);
    buyer.pay(&booking, "tok_ok").await.expect(200);

    let face = put(&organiser, &place, json!({ "face": { "amount": 1000, "currency": "EUR" } })).await.expect(200);
    assert_eq!(face["price"]["amount"], 1150);
    for (bad, pointer) in [
        (json!({}), ""),
        (json!({ "price": { "amount": 149, "currency": "EUR" } }), "/price/amount"),
        (json!({ "face": { "amount": -1, "currency": "EUR" } }), "/face/amount"),
        (json!({ "face": { "amount": 1, "currency": "USD" } }), ""),
    ] {
        let problem = put(&organiser, &place, bad).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    let lost =
        put(&organiser, &path("categories/nowhere/price"), json!({ "face": { "amount": 1, "currency": "EUR" } })).await;
    lost.problem(404, "not-found");
    let actions: Vec<Value> = changes(&organiser).await.iter().map(|change| change["action"].clone()).collect();
    assert_eq!(actions, [json!("reprice"), json!("reprice")]);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_area_grows_and_never_shrinks() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let organiser = organiser(&app, &admin).await;
    let capacity = path("areas/pit/capacity");
    for _ in 0..4 {
        app.stranger().hold(OPEN, json!({ "areas": [{ "area": "pit", "quantity": 10 }] })).await.expect(201);
    }
    let one = json!({ "areas": [{ "area": "pit", "quantity": 1 }] });
    app.stranger().hold(OPEN, one.clone()).await.problem(409, "not-enough");
    let done = organiser.post(&capacity, json!({ "add": 1 })).await.expect(200);
    assert_eq!((&done["capacity"], &done["version"]), (&json!(41), &json!(5)));
    app.stranger().hold(OPEN, one.clone()).await.expect(201);
    app.stranger().hold(OPEN, one).await.problem(409, "not-enough");
    let event = app.stranger().get(&format!("/v1/events/{OPEN}")).await.expect(200);
    assert_eq!((&event["areas"][0]["capacity"], &event["areas"][0]["free"]), (&json!(41), &json!(0)));

    assert_eq!(organiser.post(&capacity, json!({ "capacity": 41 })).await.expect(200)["version"], Value::Null);
    organiser.post(&capacity, json!({ "capacity": 40 })).await.problem(409, "state-conflict");
    for bad in [json!({}), json!({ "capacity": 0 }), json!({ "add": -1 }), json!({ "add": 1, "capacity": 50 })] {
        organiser.post(&capacity, bad).await.problem(400, "invalid");
    }
    organiser.post(&capacity, json!({ "capacity": 10_000_000 })).await.expect(200);
    organiser.post(&capacity, json!({ "add": 1 })).await.problem(400, "invalid");
    organiser.post(&path("areas/nowhere/capacity"), json!({ "add": 1 })).await.problem(404, "not-found");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_is_read_page_by_page_while_it_grows() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let organiser = organiser(&app, &admin).await;
    let grow = async || organiser.post(&path("areas/pit/capacity"), json!({ "add": 1 })).await.expect(200);
    for _ in 0..5 {
        grow().await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    let mut pages = 0;
    loop {
        let page = organiser.get(&path(&format!("changes?limit=2{cursor}"))).await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(!items.is_empty() && items.len() <= 2, "{page}");
        seen.extend(items.iter().map(|change| change["version"].as_i64().unwrap()));
        // What is new is before the first page, and moves none of the others.
        grow().await;
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (vec![5, 4, 3, 2, 1], 3));
    let all = changes(&organiser).await;
    assert_eq!(
        all.iter().map(|change| change["version"].as_i64().unwrap()).collect::<Vec<_>>(),
        [8, 7, 6, 5, 4, 3, 2, 1]
    );
    for bad in ["limit=0", "limit=101", "limit=x", "cursor=x"] {
        organiser.get(&path(&format!("changes?{bad}"))).await.problem(400, "invalid");
    }
    let elsewhere = organiser.get("/v1/organiser/events/club/changes").await.expect(200);
    assert_eq!(elsewhere, json!({ "items": [], "next": null }));
    app.check().await;
}
