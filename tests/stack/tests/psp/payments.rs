//! Payments that are decided at once: what is answered, what is refused, and that a `kill -9` takes nothing back.

use serde_json::{Value, json};

use super::provider::Psp;

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
