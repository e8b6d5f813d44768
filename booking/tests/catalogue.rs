//! Goal: events are found, described and imported once. Method: the three test events under every filter.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, CLUB, GUARDED, OPEN, TestApp, description};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_paged() {
    let app = TestApp::start().await;
    let fan = app.stranger();
    let found = async |query: &str| -> Vec<String> {
        let page = fan.get(&format!("/v1/events?{query}")).await.expect(200);
        page["items"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    };
    let all = [CLUB, OPEN, GUARDED].map(str::to_owned).to_vec();
    for query in [
        "",
        "q=",
        "q=the+PORTO",
        "city=porto",
        "category=Drama",
        "from=2030-01-01",
        "from=2030-01-01T20:00:00Z&to=2031-01-01",
    ] {
        assert_eq!(found(query).await, all, "{query}");
    }
    for (query, event) in [
        ("q=troupe+club", CLUB),
        ("venue=hall+theatre", GUARDED),
        ("venue=hall-theatre-porto", GUARDED),
        ("performer=troupe+open-theatre", OPEN),
    ] {
        assert_eq!(found(query).await, [event], "{query}");
    }
    for query in ["q=%25", "q=_", "city=porto'", "to=2030-01-01T20:00:00Z", "from=2031-01-01"] {
        assert_eq!(found(query).await, Vec::<String>::new(), "{query}");
    }
    for query in [
        "limit=0",
        "limit=101",
        "from=yesterday",
        "cursor=!",
        "q=%00",
        &format!("q={}", "x".repeat(300)),
        "from=-9000-01-01",
        "to=-009000-01-01T00:00:00Z",
    ] {
        fan.get(&format!("/v1/events?{query}")).await.problem(400, "invalid");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = fan.get(&format!("/v1/events?limit=1{cursor}")).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_and_its_plan() {
    let app = TestApp::start().await;
    let fan = app.stranger();
    let event = fan.get(&format!("/v1/events/{GUARDED}")).await.expect(200);
    assert_eq!((&event["sale"], &event["venue"]["city"]), (&json!("demo"), &json!("Porto")));
    let prices: Vec<(&str, i64)> = event["price_categories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["category"].as_str().unwrap(), c["price"]["amount"].as_i64().unwrap()))
        .collect();
    assert_eq!(prices, [("Front stalls", 5950), ("Stalls", 4350), ("Balcony", 2750)]);
    assert_eq!(event["areas"][0]["price"]["amount"], 1650);

    let plan = fan.get(&format!("/v1/events/{GUARDED}/plan")).await;
    let guids: Vec<Value> = plan.expect(200)["zones"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|zone| zone["rows"].as_array().unwrap().clone())
        .flat_map(|row| row["seats"].as_array().unwrap().clone())
        .map(|seat| seat["seat_guid"].clone())
        .collect();
    assert_eq!((guids.len(), &guids[9]), (62, &json!("stalls-B-2")));
    let etag = plan.header("etag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "strong: {etag}");
    for tags in [etag.to_owned(), format!("\"x\", {etag}"), "*".to_owned()] {
        let request = fan.request(Method::GET, &format!("/v1/events/{GUARDED}/plan")).header("if-none-match", tags);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str(), answer.header("etag")), (304, "", Some(etag)));
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_is_repeatable_and_never_changes_an_event() {
    use booking::app::import_event::{Imported, import_event};
    let app = TestApp::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("event.toml");
    let text = description(CLUB).replace("id = \"club\"", "id = \"club-2\"");
    std::fs::write(&file, &text).unwrap();
    assert_eq!(import_event(app.db(), &file).await.unwrap().1, Imported::New { seats: 0, areas: 1 });
    assert_eq!(import_event(app.db(), &file).await.unwrap().1, Imported::Unchanged);
    app.stranger().hold("club-2", json!({ "areas": [{ "area": "club", "quantity": 1 }] })).await.expect(201);
    assert_eq!(import_event(app.db(), &file).await.unwrap().1, Imported::Unchanged);
    for (from, to, says) in [
        ("capacity = 50", "capacity = 51", "other files"),
        ("capacity = 50", "capacity = 0", "capacity"),
        ("currency = \"EUR\"\nvenue", "currency = \"USD\"\nvenue", "prices are in USD"),
        ("city", "sity", "unknown field"),
        ("2030-01-01T20:00:00Z", "tomorrow", "RFC 3339"),
        ("tax_bp = 600", "tax_bp = 20000", "basis points"),
        ("[pricing]", "sale = \"Not A Sale\"\n[pricing]", "sale"),
        ("[pricing]", "time_zone = \"Mars/Olympus\"\n[pricing]", "time zone"),
        ("[pricing]", "plan = \"missing.json\"\n[pricing]", "missing.json"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        std::fs::write(&file, changed).unwrap();
        let error = import_event(app.db(), &file).await.unwrap_err();
        assert!(format!("{error:#}").contains(says), "{to}: {error:#}");
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_describes_itself() {
    let app = TestApp::start().await;
    let api = app.stranger().get("/openapi.json").await.expect(200);
    assert_eq!(api["openapi"].as_str().map(|v| &v[..3]), Some("3.1"));
    let paths: Vec<&String> = api["paths"].as_object().unwrap().keys().collect();
    for path in [
        "/v1/events",
        "/v1/events/{event}",
        "/v1/events/{event}/plan",
        "/v1/events/{event}/seats",
        "/v1/events/{event}/seats/stream",
        "/v1/events/{event}/holds",
        "/v1/events/{event}/holds/{hold}",
        "/v1/events/{event}/bookings",
        "/v1/events/{event}/bookings/{booking}",
        "/v1/events/{event}/bookings/{booking}/confirm",
        "/v1/events/{event}/bookings/{booking}/cancel",
        "/v1/bookings",
        "/v1/payments/{provider}/webhook",
    ] {
        assert!(paths.contains(&&path.to_owned()), "{path} is missing in {paths:?}");
    }
    assert!(api["components"]["schemas"]["Problem"].is_object());
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_many_ask_for_at_once_is_read_once() {
    let app = TestApp::start().await;
    let event = OPEN.parse().unwrap();
    let ask = || app.services.events.get(app.db(), &event);
    let all = futures_util::future::join_all((0..20).map(|_| ask())).await;
    let first = all[0].as_ref().unwrap();
    assert!(all.iter().all(|facts| std::sync::Arc::ptr_eq(facts.as_ref().unwrap(), first)));
    app.check().await;
}
