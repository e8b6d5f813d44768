//! Every card token of the provider does what it is there for.

use std::time::{Duration, Instant};

use serde_json::json;

use super::endpoint::{Endpoint, types};
use super::provider::{Psp, payment};

#[test]
fn a_slow_one_acts_at_once_and_answers_after_five_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    std::thread::scope(|scope| {
        let asked_at = Instant::now();
        let answer = scope.spawn(|| psp.pay("1", "tok_slow"));
        let known = super::provider::until("it is in the ledger", || {
            psp.get("/v1/ledger").1["items"].get(0).filter(|payment| payment["status"] == "authorized").cloned()
        });
        assert!(asked_at.elapsed() < Duration::from_secs(4));
        assert_eq!(answer.join().unwrap(), (201, known));
        assert!(asked_at.elapsed() >= Duration::from_secs(5));
    });
}

#[test]
fn a_timeout_takes_the_money_and_never_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (psp, endpoint) = (Psp::start(dir.path()), Endpoint::start());
    psp.tell(&[&endpoint.url], "late");
    let body = payment("tok_timeout_captured").to_string();
    for _ in 0..2 {
        let answer = psp.send_within("POST /v1/payments", "1", &body, Duration::from_millis(300));
        assert_eq!(answer, None, "not even a repetition is answered");
    }
    let (_, found) = psp.get("/v1/payments?reference=b/1");
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    let payment = &found["items"][0];
    assert_eq!((&payment["status"], &payment["captured"]), (&json!("captured"), &json!(4500)));
    let seen = endpoint.wait_for(1);
    assert_eq!((types(&seen), &seen[0]["data"]["payment"]), (vec!["payment.captured"], payment));
}

#[test]
fn an_asynchronous_one_ends_by_webhook() {
    let dir = tempfile::tempdir().unwrap();
    let (psp, endpoint) = (Psp::start(dir.path()), Endpoint::start());
    psp.tell(&[&endpoint.url], "late");
    for (key, token, end) in [("1", "tok_async_ok", "authorized"), ("2", "tok_async_fail", "declined")] {
        let before = endpoint.seen().len();
        let (status, made) = psp.pay(key, token);
        assert_eq!((status, &made["status"]), (201, &json!("processing")));
        let path = format!("/v1/payments/{}", made["payment"].as_str().unwrap());
        let event = endpoint.wait_for(before + 1).pop().unwrap();
        assert_eq!(event["type"], format!("payment.{end}"));
        assert_eq!(psp.get(&path), (200, event["data"]["payment"].clone()));
        assert_eq!(psp.pay(key, token), (201, made), "a repetition is answered as then");
        // What was answered is not told on top.
        let (status, _) = psp.post(&format!("{path}/void"), &format!("{key}v"), &json!({}));
        assert_eq!(status, if end == "authorized" { 200 } else { 409 });
    }
    assert_eq!(types(&endpoint.seen()), ["payment.authorized", "payment.declined"]);
}

#[test]
fn what_is_being_processed_can_be_neither_captured_nor_voided() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start_with(dir.path(), 3_600_000, true);
    let path = psp.made("1", "tok_async_ok");
    assert_eq!(psp.post(&format!("{path}/capture"), "2", &json!({ "amount": 4500 })).0, 409);
    assert_eq!(psp.post(&format!("{path}/void"), "3", &json!({})).0, 409);
    assert_eq!(psp.get(&path).1["status"], "processing");
}

#[test]
fn duplicates_are_the_same_event_three_times() {
    let dir = tempfile::tempdir().unwrap();
    let (psp, endpoint) = (Psp::start(dir.path()), Endpoint::start());
    psp.tell(&[&endpoint.url], "late");
    let path = psp.made("1", "tok_duplicate_webhooks");
    let seen = endpoint.wait_for(6);
    let mut ids: Vec<_> = seen.iter().map(|event| event["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids[0] == ids[2] && ids[3] == ids[5] && ids[2] != ids[3], "{ids:?}");
    assert_eq!(types(&seen).iter().filter(|kind| **kind == "payment.authorized").count(), 3);
    psp.post(&format!("{path}/capture"), "2", &json!({ "amount": 4500 }));
    let seen = endpoint.wait_for(9);
    assert_eq!(types(&seen).iter().filter(|kind| **kind == "payment.captured").count(), 3);
    super::provider::until("all is counted", || (psp.counts()["delivered"] == 3).then_some(()));
}

#[test]
fn reordered_events_come_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let (psp, endpoint) = (Psp::start_with(dir.path(), 1000, true), Endpoint::start());
    psp.tell(&[&endpoint.url], "late");
    let path = psp.made("1", "tok_reordered_webhooks");
    psp.wait_for(&path, "authorized");
    psp.post(&format!("{path}/capture"), "2", &json!({ "amount": 4500 }));
    let seen = endpoint.wait_for(3);
    assert_eq!(types(&seen), ["payment.captured", "payment.authorized", "payment.processing"]);
    let created: Vec<_> = seen.iter().map(|event| event["created"].as_i64().unwrap()).collect();
    assert!(created.is_sorted_by(|late, early| late >= early), "{created:?}");
}

#[test]
fn a_capture_can_be_refused_after_the_authorisation() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start(dir.path());
    let path = psp.made("1", "tok_capture_refused");
    assert_eq!(psp.post(&format!("{path}/capture"), "2", &json!({ "amount": 4500 })).0, 422);
    assert_eq!(psp.get(&path).1["status"], "authorized");
    assert_eq!(psp.post(&format!("{path}/void"), "3", &json!({})).1["status"], "voided");
}
