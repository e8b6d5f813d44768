//! Faults that are switched on bite what they name, are counted, and leave the ledger true.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::provider::{Psp, payment, until};

fn switch_on(psp: &Psp, fault: &Value) {
    let (status, answer) = psp.post("/v1/faults", "", fault);
    assert_eq!(status, 201, "{answer}");
}

fn bitten(psp: &Psp) -> Vec<u64> {
    let (_, known) = psp.get("/v1/faults");
    known["items"].as_array().unwrap().iter().map(|fault| fault["bitten"].as_u64().unwrap()).collect()
}

#[test]
fn a_refusal_is_not_kept_and_its_key_stays_free() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    let path = psp.made("1", "tok_ok");
    switch_on(&psp, &json!({ "kind": "refuse", "on": ["capture"], "count": 1 }));
    let capture = || psp.post(&format!("{path}/capture"), "2", &json!({ "amount": 4500 }));
    assert_eq!(capture().0, 422);
    assert_eq!(psp.get(&path).1["status"], "authorized");
    assert_eq!(capture().1["status"], "captured");
    assert_eq!(bitten(&psp), [1]);
}

#[test]
fn an_error_acts_or_does_not_as_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    switch_on(&psp, &json!({ "kind": "error", "on": ["authorize"], "count": 1 }));
    assert_eq!(psp.pay("1", "tok_ok").0, 500);
    assert_eq!(psp.get("/v1/ledger").1["items"], json!([]));
    switch_on(&psp, &json!({ "kind": "error", "on": ["authorize"], "acts": true, "count": 1 }));
    assert_eq!(psp.pay("1", "tok_ok").0, 500);
    assert_eq!(psp.get("/v1/ledger").1["items"].as_array().unwrap().len(), 1);
    assert_eq!(psp.pay("1", "tok_ok").0, 201, "the key leads to what was done");
    assert_eq!(psp.get("/v1/ledger").1["items"].as_array().unwrap().len(), 1);
    assert_eq!(bitten(&psp), [1, 1]);
}

#[test]
fn hanging_and_latency_keep_callers_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    switch_on(&psp, &json!({ "kind": "hang", "on": ["authorize"], "for_s": 60 }));
    let body = payment("tok_ok").to_string();
    assert_eq!(psp.send_within("POST /v1/payments", "1", &body, Duration::from_millis(300)), None);
    assert_eq!(psp.get("/v1/ledger").1["items"], json!([]), "it did not act");
    assert_eq!(psp.send("DELETE /v1/faults", "", "").0, 204);
    switch_on(&psp, &json!({ "kind": "latency", "latency_ms": 300 }));
    let asked_at = Instant::now();
    assert_eq!(psp.pay("1", "tok_ok").0, 201);
    assert!(asked_at.elapsed() >= Duration::from_millis(300));
    assert_eq!(bitten(&psp), [1]);
}

#[test]
fn a_connection_breaks_off_before_the_act_or_after() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    let body = payment("tok_ok").to_string();
    for (acts, payments) in [(false, 0), (true, 1)] {
        switch_on(&psp, &json!({ "kind": "disconnect", "on": ["authorize"], "acts": acts, "count": 1 }));
        let answer = psp.cut_off("POST /v1/payments", "1", &body);
        assert!(!answer.ends_with("\r\n0\r\n\r\n") && !answer.contains("authorized"), "{answer:?}");
        assert_eq!(psp.get("/v1/ledger").1["items"].as_array().unwrap().len(), payments);
    }
    assert_eq!(bitten(&psp), [1, 1]);
}

#[test]
fn a_fault_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    switch_on(&psp, &json!({ "kind": "error", "for_s": 1 }));
    assert_eq!(psp.pay("1", "tok_ok").0, 500);
    until("it is over", || (psp.pay("1", "tok_ok").0 == 201).then_some(()));
    assert_eq!(psp.get("/v1/faults").1["items"][0]["active"], false);
    assert_eq!(psp.post("/v1/faults", "", &json!({ "kind": "gremlins" })).0, 422);
    assert_eq!(psp.post("/v1/faults", "", &json!({ "kind": "hang", "for_s": 0 })).0, 422);
}

#[test]
fn dropped_webhooks_never_come() {
    let dir = tempfile::tempdir().unwrap();
    let (psp, endpoint) = (Psp::start(dir.path()), Endpoint::start());
    psp.tell(&[&endpoint.url], "late");
    switch_on(&psp, &json!({ "kind": "drop_webhooks", "count": 1 }));
    let lost = psp.made("1", "tok_async_ok");
    until("it is lost", || (psp.counts()["dropped"] == 1).then_some(()));
    let told = psp.made("2", "tok_async_ok");
    let seen = endpoint.wait_for(1);
    assert!(told.ends_with(seen[0]["data"]["payment"]["payment"].as_str().unwrap()));
    assert_eq!(psp.get(&lost).1["status"], "authorized", "the truth can still be asked for");
    assert_eq!(bitten(&psp), [1]);
}
