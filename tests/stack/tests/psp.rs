//! The sandbox payment provider over HTTP, as its own process: what it answers, what it refuses, and
//! that a `kill -9` takes nothing back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

struct Psp {
    child: Child,
    port: u16,
}

impl Psp {
    fn start(dir: &Path) -> Psp {
        let port_file = dir.join("port");
        let _ = std::fs::remove_file(&port_file);
        let mut child = Command::new(env!("CARGO_BIN_EXE_stack"))
            .args(["psp", "--listen", "127.0.0.1:0", "--ledger"])
            .arg(dir.join("ledger.ndjson"))
            .arg("--port-file")
            .arg(&port_file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(port) = std::fs::read_to_string(&port_file) {
                return Psp { child, port: port.parse().unwrap() };
            }
            assert!(child.try_wait().unwrap().is_none(), "the provider ended");
            assert!(Instant::now() < deadline, "no port after 20 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One request; an empty `key` sends no key.
    fn send(&self, line: &str, key: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let key = if key.is_empty() { String::new() } else { format!("Idempotency-Key: {key}\r\n") };
        let head = format!("Host: psp\r\nConnection: close\r\nContent-Length: {}\r\n{key}", body.len());
        stream.write_all(format!("{line} HTTP/1.1\r\n{head}\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.send(&format!("GET {path}"), "", "");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.send(&format!("POST {path}"), key, &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    fn pay(&self, key: &str, token: &str) -> (u16, Value) {
        self.post("/v1/payments", key, &payment(token))
    }
}

impl Drop for Psp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn payment(token: &str) -> Value {
    json!({ "reference": "b/1", "amount": 4500, "currency": "EUR", "token": token, "webhook_url": null })
}

#[test]
fn a_payment_goes_its_way_and_is_in_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    let (status, made) = psp.pay("1", "tok_ok");
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["status"], "authorized");
    assert_eq!((made["captured"].as_i64(), made["refunded"].as_i64()), (Some(0), Some(0)));
    assert_eq!(made["decline_reason"], Value::Null);
    let path = format!("/v1/payments/{}", made["payment"].as_str().unwrap());
    assert_eq!(psp.get(&path), (200, made.clone()));

    let (status, captured) = psp.post(&format!("{path}/capture"), "2", &json!({ "amount": 4500 }));
    assert_eq!((status, &captured["status"]), (200, &json!("captured")));
    assert_eq!(psp.post(&format!("{path}/void"), "3", &json!({})).0, 409);
    let (status, partly) = psp.post(&format!("{path}/refunds"), "4", &json!({ "amount": 500 }));
    assert_eq!((status, &partly["refunded"]), (200, &json!(500)));
    assert_eq!(psp.post(&format!("{path}/refunds"), "5", &json!({ "amount": 4001 })).0, 409);
    let (_, whole) = psp.post(&format!("{path}/refunds"), "6", &json!({ "amount": 4000 }));
    assert_eq!(whole["status"], "refunded");

    let (_, found) = psp.get("/v1/payments?reference=b/1");
    assert_eq!(found["items"], json!([whole]));
    let (_, ledger) = psp.get("/v1/ledger");
    assert_eq!(ledger["items"][0]["payment"], made["payment"]);
    assert!(ledger["items"][0]["created_at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_decline_is_an_answer_and_nonsense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    let (status, declined) = psp.pay("1", "tok_declined");
    assert_eq!((status, &declined["status"]), (201, &json!("declined")));
    assert_eq!(declined["decline_reason"], "card_declined");
    let path = format!("/v1/payments/{}/capture", declined["payment"].as_str().unwrap());
    assert_eq!(psp.post(&path, "2", &json!({ "amount": 1 })).0, 409);

    assert_eq!(psp.pay("3", "tok_nobody").0, 422);
    assert_eq!(psp.pay("", "tok_ok").0, 400, "no key");
    assert_eq!(psp.send("POST /v1/payments", "4", "{").0, 400);
    assert_eq!(psp.post("/v1/payments", "5", &json!({ "amount": 1 })).0, 422);
    assert_eq!(psp.post("/v1/payments/pay_none/void", "6", &json!({})).0, 404);
    assert_eq!(psp.get("/v1/payments/pay_none").0, 404);
    assert_eq!(psp.send("POST /v1/payments", "7", &"x".repeat(20_000)).0, 413);
    assert_eq!(psp.get("/livez").0, 200);
}

#[test]
fn a_repeated_key_gets_the_same_answer_even_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    let first = psp.pay("1", "tok_ok");
    assert_eq!(psp.pay("1", "tok_ok"), first);
    assert_eq!(psp.pay("1", "tok_declined").0, 422);
    let path = format!("/v1/payments/{}/void", first.1["payment"].as_str().unwrap());
    assert_eq!(psp.send(&format!("POST {path}"), "1", "").0, 422, "the same key for another route");
    let voided = psp.post(&path, "2", &json!({}));
    assert_eq!(voided.1["status"], "voided");
    drop(psp);

    let again = Psp::start(dir.path());
    assert_eq!(again.pay("1", "tok_ok"), first);
    assert_eq!(again.post(&path, "2", &json!({})), voided);
    assert_eq!(again.get("/v1/ledger").1["items"].as_array().unwrap().len(), 1);
}

#[test]
fn payments_at_once_are_all_kept_and_keys_are_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let psp = &psp;
            scope.spawn(move || {
                for number in 0..10 {
                    // Every key is sent by two workers.
                    assert_eq!(psp.pay(&format!("{}-{number}", worker / 2), "tok_ok").0, 201);
                }
            });
        }
    });
    assert_eq!(psp.get("/v1/ledger").1["items"].as_array().unwrap().len(), 40);
}
