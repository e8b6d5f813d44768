//! How events reach their endpoint: which, how often, and what happens when nobody takes them.

use serde_json::json;

use super::endpoint::{Endpoint, types};
use super::provider::{Psp, until};

#[test]
fn whoever_wants_all_events_gets_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let (psp, endpoint) = (Psp::start(dir.path()), Endpoint::start());
    let quiet = psp.made("0", "tok_ok");
    psp.tell(&[&endpoint.url], "all");
    assert_eq!(psp.get("/v1/webhook-endpoint").1["events"], "all");
    let path = psp.made("1", "tok_ok");
    for (key, step, body, told) in [
        ("2", "capture", json!({ "amount": 4000 }), "payment.captured"),
        ("3", "refunds", json!({ "amount": 500 }), "payment.partly_refunded"),
        ("4", "refunds", json!({ "amount": 3500 }), "payment.refunded"),
    ] {
        let (status, payment) = psp.post(&format!("{path}/{step}"), key, &body);
        assert_eq!(status, 200, "{payment}");
        let seen = until(told, || endpoint.seen().into_iter().find(|event| event["type"] == told));
        assert_eq!(seen["data"]["payment"], payment);
    }
    psp.made("5", "tok_declined");
    psp.post(&format!("{quiet}/void"), "6", &json!({}));
    let seen = endpoint.wait_for(6);
    let mut kinds = types(&seen);
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "payment.authorized",
            "payment.captured",
            "payment.declined",
            "payment.partly_refunded",
            "payment.refunded",
            "payment.voided",
        ]
    );
    // A repetition is no change.
    psp.post(&format!("{path}/capture"), "2", &json!({ "amount": 4000 }));
    psp.made("7", "tok_ok");
    assert_eq!(endpoint.wait_for(7).len(), 7);
}

#[test]
fn an_event_that_nobody_takes_is_told_again_at_the_next_address() {
    let dir = tempfile::tempdir().unwrap();
    let (psp, first, second) = (Psp::start(dir.path()), Endpoint::start(), Endpoint::start());
    first.answer_next(&[500, 404]);
    second.answer_next(&[503]);
    psp.tell(&[&first.url, &second.url], "late");
    psp.made("1", "tok_async_ok");
    until("it is taken", || (psp.counts()["delivered"] == 1).then_some(()));
    assert_eq!((first.seen().len(), second.seen().len()), (2, 2));
    let ids: Vec<_> = first.seen().into_iter().chain(second.seen()).map(|event| event["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(psp.counts(), json!({ "waiting": 0, "tries": 4, "delivered": 1, "dropped": 0, "given_up": 0 }));
}

#[test]
fn a_killed_provider_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start();
    let psp = Psp::start_with(dir.path(), 3_600_000, true);
    psp.tell(&["http://127.0.0.1:1/nobody"], "all");
    let told = psp.made("1", "tok_ok");
    until("it was tried", || (psp.counts()["tries"] != 0).then_some(()));
    let processed = psp.made("2", "tok_async_ok");
    drop(psp);

    let psp = Psp::start(dir.path());
    assert_eq!(psp.get("/v1/webhook-endpoint").1["urls"], json!(["http://127.0.0.1:1/nobody"]));
    assert_eq!(psp.get(&told).1["status"], "authorized");
    assert_eq!(psp.get(&processed).1["status"], "processing", "an hour is not over");
    psp.tell(&[&endpoint.url], "all");
    let seen = endpoint.wait_for(2);
    let mut kinds = types(&seen);
    kinds.sort_unstable();
    assert_eq!(kinds, ["payment.authorized", "payment.processing"]);
    until("both are counted", || (psp.counts()["delivered"] == 2).then_some(()));
    drop(psp);

    // What was taken is not told again.
    let psp = Psp::start(dir.path());
    psp.made("3", "tok_ok");
    assert_eq!(endpoint.wait_for(3)[2]["data"]["payment"]["payment"], psp.get("/v1/ledger").1["items"][2]["payment"]);
}

#[test]
fn what_is_processed_over_a_kill_still_ends() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start_with(dir.path(), 1500, true);
    let path = psp.made("1", "tok_async_fail");
    drop(psp);
    let psp = Psp::start(dir.path());
    assert_eq!(psp.wait_for(&path, "declined")["decline_reason"], "card_declined");
}

#[test]
fn an_endpoint_is_told_nothing_unsigned_and_must_make_sense() {
    let dir = tempfile::tempdir().unwrap();
    let psp = Psp::start_with(dir.path(), 50, false);
    let put = |document: &str| psp.send("PUT /v1/webhook-endpoint", "", document).0;
    assert_eq!(put(r#"{"urls":["http://127.0.0.1:1/"]}"#), 422, "there is no secret");
    assert_eq!(put(r#"{"urls":[]}"#), 200);
    drop(psp);
    let psp = Psp::start(dir.path());
    let put = |document: &str| psp.send("PUT /v1/webhook-endpoint", "", document).0;
    assert_eq!(put(r#"{"urls":["http://127.0.0.1:1/"]}"#), 200);
    for (document, status) in [
        (r#"{"urls":["ftp://x"]}"#, 422),
        (r#"{"urls":[],"events":"some"}"#, 422),
        (r#"{"url":"http://x"}"#, 422),
        ("{", 400),
    ] {
        assert_eq!(put(document), status, "{document}");
    }
}
