//! Goal: whatever is wrong with a request, its answer is the documented problem, and nothing is done. Method:
//! a table of malformed requests; edges of sizes, methods and routes.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, CLUB, GUARDED, OPEN, TestApp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_holds_are_pointed_at() {
    let app = TestApp::start().await;
    let table: &[(&str, &str, &str)] = &[
        (OPEN, "", ""),
        (OPEN, "{", ""),
        (OPEN, "null", ""),
        (OPEN, "[]", ""),
        (OPEN, "{}", ""),
        (OPEN, r#"{"seats":["stalls-C-1"]}garbage"#, ""),
        (OPEN, "{\"seats\":[\"\u{0}\"]}", ""),
        (OPEN, r#"{"seats":"stalls-C-1"}"#, "/seats"),
        (OPEN, r#"{"seats":[1]}"#, "/seats/0"),
        (OPEN, r#"{"seats":[]}"#, "/seats"),
        (OPEN, r#"{"seats":["stalls-C-1","nowhere"]}"#, "/seats/1"),
        (OPEN, r#"{"seats":["stalls-C-1","stalls-C-1"]}"#, "/seats/1"),
        (OPEN, r#"{"seats":["stalls-C-1"],"price":1}"#, "/price"),
        (OPEN, r#"{"seats":["stalls-C-1"],"seats":["stalls-C-2"]}"#, ""),
        (OPEN, r#"{"seats":["stalls-C-1"],"best":{"quantity":1}}"#, ""),
        (OPEN, r#"{"areas":[]}"#, "/areas"),
        (OPEN, r#"{"areas":[{"area":"pit"}]}"#, "/areas/0"),
        (OPEN, r#"{"areas":[{"area":"pit","quantity":0}]}"#, "/areas/0/quantity"),
        (OPEN, r#"{"areas":[{"area":"pit","quantity":-1}]}"#, "/areas/0/quantity"),
        (OPEN, r#"{"areas":[{"area":"pit","quantity":2147483648}]}"#, "/areas/0/quantity"),
        (OPEN, r#"{"areas":[{"area":"pit","quantity":1e309}]}"#, ""),
        (OPEN, r#"{"areas":[{"area":"pit","quantity":1.5}]}"#, "/areas/0/quantity"),
        (OPEN, r#"{"areas":[{"area":"PIT'; drop table seat","quantity":1}]}"#, "/areas/0/area"),
        (OPEN, r#"{"areas":[{"area":"pit","quantity":1},{"area":"pit","quantity":1}]}"#, "/areas/1/area"),
        (OPEN, r#"{"areas":[{"area":"pit","quantity":1,"price":0}]}"#, "/areas/0/price"),
        (OPEN, r#"{"best":{"quantity":0}}"#, "/best/quantity"),
        (OPEN, r#"{"best":{"quantity":101}}"#, "/best/quantity"),
        (OPEN, r#"{"best":{"quantity":2,"category":"Royal box"}}"#, "/best/category"),
        (CLUB, r#"{"best":{"quantity":2}}"#, "/best"),
        (CLUB, r#"{"seats":["stalls-C-1"]}"#, "/seats/0"),
    ];
    for (event, body, pointer) in table {
        let request = app.stranger().request(Method::POST, &format!("/v1/events/{event}/holds"));
        let request = request.header("content-type", "application/json").body((*body).to_owned());
        let problem = Answer::of(request.send().await.unwrap()).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], *pointer, "{body}: {problem}");
        assert!(!problem["errors"][0]["detail"].as_str().unwrap().is_empty());
    }
    let holds: i64 = sqlx::query_scalar("select count(*) from hold").fetch_one(app.db()).await.unwrap();
    assert_eq!(holds, 0);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_bookings_are_pointed_at() {
    let app = TestApp::start().await;
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let id = hold["hold"].as_str().unwrap();
    let good = json!({ "hold": id, "buyer": { "name": "Ada", "email": "ada@example.org" } });
    let table = [
        ("/hold", json!("x"), "/hold"),
        ("/hold", json!(7), "/hold"),
        ("/buyer", json!(null), "/buyer"),
        ("/buyer/name", json!(" "), "/buyer/name"),
        ("/buyer/name", json!("a\r\nb"), "/buyer/name"),
        ("/buyer/name", json!("x".repeat(201)), "/buyer/name"),
        ("/buyer/email", json!("nobody"), "/buyer/email"),
        ("/buyer/email", json!("a@b.de\nBcc: c@d.de"), "/buyer/email"),
    ];
    for (member, value, pointer) in table {
        let mut body = good.clone();
        *body.pointer_mut(member).unwrap() = value;
        let problem = buyer.post(&format!("/v1/events/{OPEN}/bookings"), body).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    for (extra, value) in [("coupon", json!("FREE")), ("total", json!(1)), ("state", json!("confirmed"))] {
        let mut body = good.clone();
        body[extra] = value;
        let problem = buyer.post(&format!("/v1/events/{OPEN}/bookings"), body).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{extra}"));
    }
    // Two faults are listed as two.
    let body = json!({ "hold": "x", "buyer": { "name": "", "email": "" } });
    let problem = buyer.post(&format!("/v1/events/{OPEN}/bookings"), body).await.problem(400, "invalid");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3);
    // Unknown holds and bookings.
    let mut body = good.clone();
    body["hold"] = json!("01890a5d-ac96-774b-bcce-b302099a8057");
    buyer.post(&format!("/v1/events/{OPEN}/bookings"), body).await.problem(404, "not-found");
    let booking = buyer.book(&hold).await.expect(201);
    let path = crate::support::path_of(&booking);
    for (body, pointer) in [
        (json!({ "payment": { "method": "cash", "token": "tok_ok" } }), "/payment/method"),
        (json!({ "payment": { "method": "sandbox", "token": "" } }), "/payment/token"),
        (json!({ "payment": { "method": "sandbox", "token": "a b" } }), "/payment/token"),
        (json!({ "payment": { "method": "sandbox", "token": "tok_ok", "amount": 1 } }), "/payment/amount"),
        (json!({}), ""),
    ] {
        let problem = buyer.post(&format!("{path}/confirm"), body).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_says_so() {
    let app = TestApp::start().await;
    let fan = app.fan();
    for path in [
        "/nope",
        "/v1/events/nope",
        "/v1/events/NOPE%20x",
        "/v1/events/%ff",
        "/v1/events/nope/plan",
        "/v1/events/nope/seats",
        "/v1/events/nope/seats/stream",
        "/v1/events/club/plan",
        "/v1/events/club/holds/x",
        "/v1/events/club/holds/01890a5d-ac96-774b-bcce-b302099a8057",
        "/v1/events/club/bookings/01890A5D-AC96-774B-BCCE-B302099A8057",
        "/v1/events/club/bookings/%00",
    ] {
        let problem = fan.get(path).await.problem(404, "not-found");
        assert_eq!(problem["instance"], path);
    }
    fan.post("/v1/events/nope/holds", json!({ "seats": ["x"] })).await.problem(404, "not-found");
    fan.post("/v1/payments/nobody/webhook", json!({})).await.problem(404, "not-found");
    for (method, path) in
        [(Method::PUT, "/v1/events"), (Method::DELETE, "/v1/bookings"), (Method::GET, "/v1/events/club/holds")]
    {
        let answer = Answer::of(fan.request(method, path).send().await.unwrap()).await;
        answer.problem(405, "method-not-allowed");
        assert!(answer.header("allow").is_some());
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_bounded_and_labelled() {
    let app = TestApp::start().await;
    let path = format!("/v1/events/{OPEN}/holds");
    let post = |body: String, label: &'static str| {
        app.stranger().request(Method::POST, &path).header("content-type", label).body(body)
    };
    let padded = |bytes: usize| format!("{{\"seats\":[\"stalls-C-1\"]{}}}", " ".repeat(bytes - 24));
    let fits = Answer::of(post(padded(64 * 1024), "application/json; charset=utf-8").send().await.unwrap()).await;
    fits.expect(201);
    for bytes in [64 * 1024 + 1, 500_000] {
        let answer = Answer::of(post(padded(bytes), "application/json").send().await.unwrap()).await;
        assert_eq!(answer.problem(413, "too-large")["limit"], 65_536);
    }
    let deep = format!("{{\"seats\":{}", "[".repeat(60_000));
    Answer::of(post(deep, "application/json").send().await.unwrap()).await.problem(400, "invalid");
    Answer::of(post("seats=1".to_owned(), "application/x-www-form-urlencoded").send().await.unwrap())
        .await
        .problem(415, "unsupported-media-type");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_keep_their_id() {
    let app = TestApp::start().await;
    let ask = |id: &'static str| app.stranger().request(Method::GET, "/nope").header("x-request-id", id);
    let answer = Answer::of(ask("gateway-1.a_B").send().await.unwrap()).await;
    assert_eq!(answer.problem(404, "not-found")["request_id"], "gateway-1.a_B");
    for bad in ["", "a b", "<script>"] {
        let answer = Answer::of(ask(bad).send().await.unwrap()).await;
        assert_eq!(answer.problem(404, "not-found")["request_id"].as_str().unwrap().len(), 32);
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_the_answer_is_503() {
    let app = TestApp::with(crate::support::Options {
        set: vec!["database.max_connections=2", "database.acquire_timeout_ms=200"],
        ..Default::default()
    })
    .await;
    // On a busy machine the first connection may take longer than a request waits for it.
    crate::support::until("the database is reached", || async {
        let answer = app.stranger().get(&format!("/v1/events/{GUARDED}")).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let taken = (app.take_connection().await, app.take_connection().await);
    let answer = app.stranger().hold(OPEN, json!({ "seats": ["stalls-C-1"] })).await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(taken);
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    app.check().await;
}
