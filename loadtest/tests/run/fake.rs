//! A system in one piece and in memory, just enough of the contract for a crowd to walk through,
//! with switches that make it misbehave.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// Seats of the only event.
pub(crate) const SEATS: usize = 400;

/// What the fake knows.
#[derive(Default)]
pub(crate) struct Fake {
    visitors: AtomicU64,
    seats: Mutex<Vec<u8>>,
    /// Hold or booking → seat.
    orders: Mutex<HashMap<String, u32>>,
    orders_made: AtomicU64,
    replays: Mutex<HashMap<String, Value>>,
    /// Gives every seat to everybody.
    pub(crate) generous: AtomicBool,
    /// Answers every third write with 503, having done its work.
    pub(crate) shaky: AtomicBool,
    /// Lets nobody out of the line.
    pub(crate) stuck: AtomicBool,
    writes: AtomicU64,
    /// Requests with a key that was seen before.
    pub(crate) replayed: AtomicU64,
}

type Shared = State<Arc<Fake>>;

/// Starts the fake on a port of its own.
pub(crate) async fn start(fake: Arc<Fake>) -> SocketAddr {
    fake.seats.lock().expect("free").resize(SEATS, 0);
    let app = Router::new()
        .route("/_usher/sales/demo/join", post(join))
        .route("/_usher/sales/demo/place", get(place).delete(|| async { StatusCode::NO_CONTENT }))
        .route("/events/arena", get(page))
        .route("/v1/events/arena", get(|| async { Json(json!({ "event": "arena" })) }))
        .route("/v1/events/arena/plan", get(plan))
        .route("/v1/events/arena/seats", get(snapshot))
        .route("/v1/events/arena/holds", post(hold))
        .route("/v1/events/arena/holds/{hold}", axum::routing::delete(|| async { StatusCode::NO_CONTENT }))
        .route("/v1/events/arena/bookings", post(book))
        .route("/v1/events/arena/bookings/{booking}/confirm", post(confirm))
        .route("/v1/events/arena/bookings/{booking}", get(booking))
        .with_state(fake);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn document(visitor: &str, inside: bool) -> Value {
    json!({
        "visitor": visitor, "place": visitor, "sale_state": "open", "poll_s": 0.2,
        "state": if inside { "inside" } else { "waiting" },
        "position": if inside { None } else { Some(1) },
        "pass": inside.then_some("PASS"),
    })
}

async fn join(State(fake): Shared) -> (StatusCode, Json<Value>) {
    let visitor = format!("v{}", fake.visitors.fetch_add(1, Ordering::Relaxed));
    (StatusCode::CREATED, Json(document(&visitor, false)))
}

async fn page(State(fake): Shared, headers: HeaderMap) -> Response {
    if headers.get("authorization").is_some_and(|value| value == "Pass PASS") {
        return "the shop".into_response();
    }
    let (_, Json(mut body)) = join(State(fake)).await;
    body["type"] = json!("/problems/waiting");
    let place = body["place"].as_str().unwrap_or_default().to_owned();
    let html = headers.get("accept").is_some_and(|accept| accept.to_str().is_ok_and(|a| a.contains("html")));
    match html {
        true => ([("usher-place", place)], "a page").into_response(),
        false => (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response(),
    }
}

async fn place(State(fake): Shared, headers: HeaderMap) -> Json<Value> {
    let visitor = headers["authorization"].to_str().expect("text").trim_start_matches("Place ").to_owned();
    Json(document(&visitor, !fake.stuck.load(Ordering::Relaxed)))
}

async fn plan() -> Json<Value> {
    let seats: Vec<Value> = (0..SEATS).map(|n| json!({ "seat_guid": format!("S-{n}") })).collect();
    Json(json!({ "zones": [{ "rows": seats.chunks(20).map(|row| json!({ "seats": row })).collect::<Vec<_>>() }] }))
}

async fn snapshot(State(fake): Shared) -> Json<Value> {
    use base64::Engine;
    let seats = fake.seats.lock().expect("free");
    let mut bits = vec![0u8; SEATS.div_ceil(4)];
    for (seat, state) in seats.iter().enumerate() {
        bits[seat / 4] |= state << (2 * (seat % 4));
    }
    Json(json!({ "version": 1, "seats": base64::engine::general_purpose::STANDARD.encode(bits), "areas": [] }))
}

fn problem(status: StatusCode, name: &str) -> Response {
    (status, Json(json!({ "type": format!("/problems/{name}") }))).into_response()
}

/// Answers a write once per key, and now and then only says that it failed.
fn once(fake: &Fake, headers: &HeaderMap, answer: impl FnOnce() -> Result<Value, &'static str>) -> Response {
    let key = headers["idempotency-key"].to_str().expect("text").to_owned();
    let known = fake.replays.lock().expect("free").get(&key).cloned();
    let body = match known {
        Some(body) => {
            fake.replayed.fetch_add(1, Ordering::Relaxed);
            body
        }
        None => match answer() {
            Ok(body) => body,
            Err(name) => return problem(StatusCode::CONFLICT, name),
        },
    };
    fake.replays.lock().expect("free").insert(key, body.clone());
    if fake.shaky.load(Ordering::Relaxed) && fake.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    }
    (StatusCode::CREATED, Json(body)).into_response()
}

fn order(fake: &Fake, seat_no: u32, state: &str) -> Value {
    let id = format!("00000000-0000-0000-0000-{:012}", fake.orders_made.fetch_add(1, Ordering::Relaxed));
    fake.orders.lock().expect("free").insert(id.clone(), seat_no);
    json!({
        "hold": id, "booking": id, "state": state, "seats": [{ "seat_no": seat_no }], "areas": [], "buyer": "B",
        "total": { "amount": 100, "currency": "EUR" }, "expires_in_s": 600
    })
}

async fn hold(State(fake): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    once(&fake, &headers, || {
        let named = body.pointer("/seats/0").and_then(Value::as_str).and_then(|name| name[2..].parse::<usize>().ok());
        let mut seats = fake.seats.lock().expect("free");
        let seat_no = match named {
            Some(_) if fake.generous.load(Ordering::Relaxed) => 7,
            Some(seat_no) => seat_no,
            None => seats.iter().position(|state| *state == 0).unwrap_or(0),
        };
        if seats[seat_no] != 0 && !fake.generous.load(Ordering::Relaxed) {
            return Err("seats-taken");
        }
        seats[seat_no] = 1;
        drop(seats);
        Ok(order(&fake, seat_no as u32, "active"))
    })
}

async fn book(State(fake): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    once(&fake, &headers, || {
        let seat_no = fake.orders.lock().expect("free")[body["hold"].as_str().expect("a hold")];
        Ok(order(&fake, seat_no, "held"))
    })
}

async fn confirm(State(fake): Shared, Path(id): Path<String>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if body.pointer("/payment/token") == Some(&json!("tok_declined")) {
        return problem(StatusCode::PAYMENT_REQUIRED, "payment-declined");
    }
    once(&fake, &headers, || {
        let seat_no = fake.orders.lock().expect("free")[&id];
        fake.seats.lock().expect("free")[seat_no as usize] = 3;
        Ok(confirmed(&id, seat_no))
    })
}

async fn booking(State(fake): Shared, Path(id): Path<String>) -> Json<Value> {
    let seat_no = fake.orders.lock().expect("free")[&id];
    Json(confirmed(&id, seat_no))
}

fn confirmed(id: &str, seat_no: u32) -> Value {
    json!({
        "booking": id, "state": "confirmed", "seats": [{ "seat_no": seat_no }], "areas": [], "tickets": [{}],
        "total": { "amount": 100, "currency": "EUR" }
    })
}
