//! Goal: what a node tells gateways of an event follows from that event's own holds, and neither a fan who may not hold, nor
//! one who is slow, nor the holds of another event change it. Method: holds made slow by a lock in the table, requests
//! made slow on the way.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{CLUB, GUARDED, OPEN, TestApp, until};

/// How long what is made slow takes, and the bound between that and what is quick, with room on both sides for a busy machine.
const SLOW: Duration = Duration::from_millis(1200);
const BETWEEN_MS: f64 = 1000.0;

async fn health(app: &TestApp, event: &str) -> (u16, Value) {
    let answer = app.client.get(format!("{}/admission/health?event={event}", app.url)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn places(quantity: u32) -> Value {
    json!({ "areas": [{ "area": "club", "quantity": quantity }] })
}

/// Posts a hold whose body comes late.
async fn dawdle(app: &TestApp, seat: String) -> String {
    let address = app.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = json!({ "seats": [seat] }).to_string();
    let head = format!(
        "POST /v1/events/{OPEN}/holds HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(SLOW).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_events_own_holds_tell_how_it_is() {
    let app = TestApp::start().await;
    // Holds of one event take long, since somebody locks its places.
    let mut lock = app.beside().await.acquire().await.unwrap();
    let mine = format!("begin; select 1 from area where event_id = '{CLUB}' for update");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mine)).execute(&mut *lock).await.unwrap();
    let slow = async {
        let holds = (0..6).map(|_| async { app.stranger().hold(CLUB, places(1)).await.expect(201) });
        futures_util::future::join_all(holds).await
    };
    let release = async {
        until("a hold waits", || async {
            let waiting = "select count(*) from pg_locks where not granted";
            (sqlx::query_scalar::<_, i64>(waiting).fetch_one(app.db()).await.unwrap() > 0).then_some(())
        })
        .await;
        tokio::time::sleep(SLOW).await;
        sqlx::raw_sql("rollback").execute(&mut *lock).await.unwrap();
    };
    // Holds that are asked for slowly are quick; and whoever may not hold, asks for nothing or in vain, says nothing.
    let dawdling = futures_util::future::join_all((1..=6).map(|n| dawdle(&app, format!("stalls-C-{n}"))));
    let others = async {
        for _ in 0..30 {
            app.stranger().hold(GUARDED, json!({ "seats": ["stalls-A-1"] })).await.problem(401, "pass-required");
            app.stranger().hold("no-such-event", places(1)).await.problem(404, "not-found");
            app.stranger().hold(OPEN, json!({ "seats": [] })).await.problem(400, "invalid");
            app.stranger().hold(CLUB, places(40)).await.problem(422, "limit-exceeded");
        }
    };
    let (answers, ..) = tokio::join!(dawdling, others, slow, release);
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    let p99_ms = |told: &Value| told["holds_p99_ms"].as_f64().unwrap();
    let (status, told) = health(&app, CLUB).await;
    assert_eq!((status, &told["stock_left"]), (200, &json!(44)));
    assert!(p99_ms(&told) >= BETWEEN_MS, "what is denied at once hides nothing: {told}");
    let (_, told) = health(&app, OPEN).await;
    assert!(p99_ms(&told) < BETWEEN_MS, "{told}");
    assert_eq!((&told["holds_per_s"], &told["accept_factor"]), (&json!(0.6), &json!(1.0)));
    let (_, told) = health(&app, GUARDED).await;
    assert_eq!((&told["holds_per_s"], &told["holds_p99_ms"]), (&json!(0.0), &Value::Null));
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_that_cannot_be_read_in_time_is_left_out() {
    let app = TestApp::start().await;
    let mut lock = app.beside().await.acquire().await.unwrap();
    sqlx::raw_sql("begin; lock table area in access exclusive mode").execute(&mut *lock).await.unwrap();
    let (status, told) = health(&app, CLUB).await;
    assert_eq!((status, told.get("stock_left"), &told["accept_factor"]), (200, None, &json!(1.0)), "{told}");
    sqlx::raw_sql("rollback").execute(&mut *lock).await.unwrap();
    until("the stock is told again", || async { health(&app, CLUB).await.1.get("stock_left").cloned() }).await;
    assert_eq!(health(&app, "no-such-event").await.0, 404);
    app.check().await;
}
