//! Drives fans through whole visits against scripted answers: no clock, no socket.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::history::Verdict;
use crate::scenario::{Behaviour, JoinBy, Want, Weights};

fn world(change: impl FnOnce(&mut Scenario)) -> Arc<World> {
    let mut scenario = Scenario::parse(
        "t.toml",
        "name = 't'\nrun_s = 60\n[target]\nevent = 'arena'\nsale = 'demo'\n\
         [[arrivals]]\nshape = 'at_once'\nfans = 1\n",
    )
    .expect("usable");
    scenario.behaviour = Behaviour {
        join: Weights::of(&[(JoinBy::Api, 1.0)]),
        want: Weights::of(&[(Want::Seats, 1.0)]),
        looks_around: 0.0,
        says_goodbye: 0.0,
        second_card: 0.0,
        ..Behaviour::default()
    };
    change(&mut scenario);
    let seats: Vec<Value> = (0..40).map(|n| json!({ "seat_guid": format!("A-{n}") })).collect();
    let plan =
        Plan::parse(json!({ "zones": [{ "rows": [{ "seats": seats }] }] }).to_string().as_bytes()).expect("plan");
    Arc::new(World { scenario, plan, targets: 2, run_tag: "run".into() })
}

/// A fan and the clock of its test.
struct Visit {
    fan: Fan,
    now_us: u64,
    next: Next,
    notes: Vec<Note>,
    seen: Vec<Record>,
}

impl Visit {
    fn start(world: Arc<World>) -> Self {
        let mut fan = Fan::new(0, world);
        let next = fan.start(1_000_000);
        Self { fan, now_us: 1_000_000, next, notes: vec![], seen: vec![] }
    }

    fn asks(&self) -> &Call {
        match &self.next {
            Next::Call(call) => call,
            Next::End(outcome) => panic!("the visit is over: {outcome:?}"),
        }
    }

    fn body(&self) -> Value {
        serde_json::from_str(self.asks().body.as_deref().expect("a body")).expect("JSON")
    }

    fn hears(&mut self, heard: &Heard) -> &mut Self {
        self.now_us = self.now_us.max(self.asks().at_us) + 1_000;
        let step = self.fan.hear(self.now_us, heard);
        self.next = step.next;
        self.notes.extend(step.notes);
        self.seen.push(step.seen);
        self
    }

    fn answered(&mut self, kind: Kind, status: u16, body: &Value) -> &mut Self {
        assert_eq!(self.asks().kind, kind);
        let body = Bytes::from(body.to_string());
        self.hears(&Heard::Answer(Answer { status, body, ..Answer::default() }))
    }

    fn outcome(&self) -> Outcome {
        match &self.next {
            Next::End(outcome) => *outcome,
            Next::Call(call) => panic!("still asks for {:?}", call.kind),
        }
    }
}

fn waiting(position: u64) -> Value {
    json!({ "visitor": "v", "state": "waiting", "sale_state": "open", "position": position, "poll_s": 2, "place": "PLACE", "score": 7.0 })
}

fn inside() -> Value {
    json!({ "visitor": "v", "state": "inside", "place": "PLACE", "pass": "PASS", "called_at": "2027-01-01T00:00:00.000001Z", "called_seq": 3 })
}

fn problem(name: &str) -> Value {
    json!({ "type": format!("/problems/{name}") })
}

fn snapshot() -> Value {
    json!({ "version": 1, "seats": "AAAAAAAAAAAAAA==", "areas": [{ "area": "floor", "capacity": 10, "held": 0, "sold": 0 }] })
}

fn held() -> Value {
    json!({ "hold": "H", "seats": [{ "seat_no": 3, "price": { "amount": 5, "currency": "EUR" } }],
            "total": { "amount": 5, "currency": "EUR" }, "expires_in_s": 600, "state": "active", "buyer": "BUYER" })
}

fn order(state: &str) -> Value {
    json!({ "booking": "B", "hold": "H", "state": state, "seats": [{ "seat_no": 3 }], "areas": [],
            "total": { "amount": 5, "currency": "EUR" }, "tickets": [{}] })
}

fn at_hold(change: impl FnOnce(&mut Scenario)) -> Visit {
    let mut visit = Visit::start(world(change));
    visit.answered(Kind::Join, 201, &inside()).answered(Kind::Seats, 200, &snapshot());
    visit
}

fn at_payment(change: impl FnOnce(&mut Scenario)) -> Visit {
    let mut visit = at_hold(change);
    visit.answered(Kind::Hold, 201, &held()).answered(Kind::Book, 201, &order("held"));
    visit
}

#[test]
fn the_whole_visit_as_the_contract_has_it() {
    let mut visit = Visit::start(world(|s| {
        s.behaviour.looks_around = 1.0;
        s.behaviour.says_goodbye = 1.0;
    }));
    assert_eq!((visit.asks().method.as_str(), visit.asks().path.as_str()), ("POST", "/_usher/sales/demo/join"));
    visit.answered(Kind::Join, 201, &waiting(9));
    assert_eq!(visit.asks().auth, Some(Auth::Place("PLACE".into())));
    let due_in = visit.asks().at_us - visit.now_us;
    assert!((2_000_000..2_200_001).contains(&due_in), "{due_in}");
    visit.answered(Kind::Poll, 200, &waiting(4)).answered(Kind::Poll, 200, &inside());
    visit.answered(Kind::Page, 200, &Value::Null).answered(Kind::Event, 200, &json!({}));
    assert_eq!(visit.asks().auth, Some(Auth::Pass("PASS".into())));
    visit.answered(Kind::Seats, 200, &snapshot());
    assert_eq!(visit.asks().path, "/v1/events/arena/holds");
    assert!(visit.body()["seats"].as_array().is_some_and(|seats| !seats.is_empty()));
    assert_eq!(visit.asks().key.as_deref(), Some("run-0-1"));
    visit.answered(Kind::Hold, 201, &held());
    assert_eq!(visit.body()["hold"], "H");
    visit.answered(Kind::Book, 201, &order("held"));
    assert_eq!(visit.asks().path, "/v1/events/arena/bookings/B/confirm");
    assert_eq!(visit.body()["payment"]["token"], "tok_ok");
    visit.answered(Kind::Confirm, 200, &order("confirmed"));
    visit.answered(Kind::Booking, 200, &order("confirmed"));
    assert_eq!((visit.asks().method.as_str(), visit.asks().kind), ("DELETE", Kind::Leave));
    visit.answered(Kind::Leave, 204, &Value::Null);
    assert_eq!(visit.outcome(), Outcome::Confirmed);
    assert!(visit.notes.iter().any(|n| matches!(n, Note::Bought { total: 5, booking, .. } if booking == "B")));
    assert!(visit.seen.iter().all(|seen| seen.visitor.as_deref() == Some("v") && seen.result == Verdict::Ok));
    let claimed = &visit.seen[2];
    assert_eq!((claimed.called_seq, claimed.place_state.as_deref()), (Some(3), Some("inside")));
}

#[test]
fn a_program_and_a_browser_join_at_the_page() {
    let mut program = Visit::start(world(|s| s.behaviour.join = Weights::of(&[(JoinBy::Page, 1.0)])));
    assert_eq!((program.asks().path.as_str(), program.asks().html), ("/events/arena", false));
    let mut body = waiting(5);
    body["type"] = json!("/problems/waiting");
    program.answered(Kind::Join, 429, &body);
    assert_eq!(program.asks().kind, Kind::Poll);
    assert_eq!(program.seen[0].result, Verdict::Ok);

    let mut browser = Visit::start(world(|s| s.behaviour.join = Weights::of(&[(JoinBy::Browser, 1.0)])));
    assert!(browser.asks().html);
    browser.hears(&Heard::Answer(Answer {
        status: 200,
        place: Some("PLACE".into()),
        body: Bytes::from_static(b"<!doctype html>"),
        ..Answer::default()
    }));
    assert_eq!((browser.asks().kind, &browser.asks().auth), (Kind::Poll, &Some(Auth::Place("PLACE".into()))));
}

#[test]
fn retry_after_outranks_the_body() {
    let mut visit = Visit::start(world(|_| {}));
    let body = Bytes::from(waiting(3).to_string());
    visit.hears(&Heard::Answer(Answer { status: 201, retry_after_s: Some(9.0), body, ..Answer::default() }));
    let due_in = visit.asks().at_us - visit.now_us;
    assert!((9_000_000..9_900_001).contains(&due_in), "{due_in}");
}

#[test]
fn a_poll_goes_on_through_any_outage_and_keeps_the_place() {
    let mut visit = Visit::start(world(|_| {}));
    visit.answered(Kind::Join, 201, &waiting(3));
    for _ in 0..100 {
        visit.hears(&Heard::Lost(Lost::Refused));
        assert_eq!(visit.asks().auth, Some(Auth::Place("PLACE".into())));
        assert!(visit.asks().at_us - visit.now_us <= 7_500_000);
    }
    assert_ne!(visit.seen[1].target, visit.seen[2].target, "the other gateway is tried");
    visit.answered(Kind::Poll, 200, &waiting(2));
    assert_eq!(visit.asks().attempt, 0);
    visit.answered(Kind::Poll, 404, &problem("not-found"));
    assert_eq!(visit.outcome(), Outcome::PlaceLost);
}

#[test]
fn leaving_falling_silent_and_giving_up() {
    let mut leaver = Visit::start(world(|s| {
        s.behaviour.leaves = 1.0;
        s.behaviour.leaves_within_s = 0.5;
    }));
    leaver.answered(Kind::Join, 201, &waiting(3));
    assert_eq!((leaver.asks().method.as_str(), leaver.asks().kind), ("DELETE", Kind::Leave));
    leaver.answered(Kind::Leave, 204, &Value::Null);
    assert_eq!(leaver.outcome(), Outcome::Left);

    let mut silent = Visit::start(world(|s| {
        s.behaviour.goes_silent = 1.0;
        s.behaviour.silent_within_s = 0.5;
    }));
    silent.answered(Kind::Join, 201, &waiting(3));
    assert_eq!(silent.outcome(), Outcome::WentSilent);

    let mut tired = Visit::start(world(|s| s.limits.wait_s = 5.0));
    tired.answered(Kind::Join, 201, &waiting(3)).answered(Kind::Poll, 200, &waiting(3));
    tired.answered(Kind::Poll, 200, &waiting(3));
    assert_eq!(tired.outcome(), Outcome::GaveUp);
}

#[test]
fn what_should_not_happen_in_the_line_is_noted() {
    let mut visit = Visit::start(world(|_| {}));
    visit.answered(Kind::Join, 201, &waiting(3)).answered(Kind::Poll, 200, &waiting(8));
    let mut other = waiting(8);
    other["visitor"] = json!("w");
    visit.answered(Kind::Poll, 200, &other);
    assert!(visit.notes.contains(&Note::MovedBack { from: 3, to: 8 }));
    assert!(visit.notes.contains(&Note::OtherVisitor { was: "v".into(), is: "w".into() }));
}

#[test]
fn a_lost_answer_is_asked_again_with_the_same_key_elsewhere() {
    let mut visit = at_hold(|_| {});
    let first = visit.asks().clone();
    visit.hears(&Heard::Lost(Lost::Timeout));
    let again = visit.asks().clone();
    assert_eq!((again.key.as_ref(), again.body.as_ref(), again.attempt), (first.key.as_ref(), first.body.as_ref(), 1));
    assert_ne!(again.target, first.target);
    assert!(again.at_us > visit.now_us);
    assert_eq!(visit.seen.last().map(|seen| seen.result), Some(Verdict::Unknown));
    visit.answered(Kind::Hold, 409, &problem("in-flight"));
    assert_eq!((visit.asks().key.as_ref(), visit.asks().target), (first.key.as_ref(), again.target));
    for _ in 0..20 {
        if matches!(visit.next, Next::End(_)) {
            break;
        }
        visit.hears(&Heard::Lost(Lost::Broken));
    }
    assert_eq!(visit.outcome(), Outcome::Failed);
    assert_eq!(visit.seen.iter().filter(|seen| seen.kind == Some(Kind::Hold)).count(), 7, "1 + retries");
}

#[test]
fn a_lost_race_is_tried_again_a_bounded_number_of_times() {
    let mut visit = at_hold(|s| s.behaviour.choose_again = 2);
    let mut keys = vec![];
    for _ in 0..2 {
        keys.push(visit.asks().key.clone());
        visit.answered(Kind::Hold, 409, &problem("seats-taken")).answered(Kind::Seats, 200, &snapshot());
    }
    keys.push(visit.asks().key.clone());
    visit.answered(Kind::Hold, 409, &problem("seats-taken"));
    assert_eq!(visit.outcome(), Outcome::SoldOut);
    keys.dedup();
    assert_eq!(keys.len(), 3, "another choice is another operation");
}

#[test]
fn nothing_free_is_the_end() {
    let mut visit = Visit::start(world(|_| {}));
    let sold = json!({ "version": 1, "seats": "/////////////w==", "areas": [] });
    visit.answered(Kind::Join, 201, &inside()).answered(Kind::Seats, 200, &sold);
    assert_eq!(visit.outcome(), Outcome::SoldOut);
}

#[test]
fn abandoning_and_giving_back() {
    let mut rude = at_hold(|s| s.behaviour.abandons = 1.0);
    rude.answered(Kind::Hold, 201, &held());
    assert_eq!(rude.outcome(), Outcome::Abandoned);
    let mut polite = at_hold(|s| s.behaviour.releases = 1.0);
    polite.answered(Kind::Hold, 201, &held());
    assert_eq!((polite.asks().method.as_str(), polite.asks().path.as_str()), ("DELETE", "/v1/events/arena/holds/H"));
    assert!(polite.notes.contains(&Note::GivingBack { hold: "H".into() }));
    polite.answered(Kind::Release, 204, &Value::Null);
    assert_eq!(polite.outcome(), Outcome::Released);
}

#[test]
fn a_declined_card_a_second_card() {
    let declined = |s: &mut Scenario| s.behaviour.payment = Weights::of(&[("tok_declined".to_owned(), 1.0)]);
    let mut one = at_payment(declined);
    assert_eq!(one.body()["payment"]["token"], "tok_declined");
    one.answered(Kind::Confirm, 402, &problem("payment-declined"));
    assert_eq!(one.outcome(), Outcome::Declined);
    let mut two = at_payment(|s| {
        declined(s);
        s.behaviour.second_card = 1.0;
    });
    let first = two.asks().key.clone();
    two.answered(Kind::Confirm, 402, &problem("payment-declined"));
    assert_eq!(two.body()["payment"]["token"], "tok_ok");
    assert_ne!(two.asks().key, first);
    two.answered(Kind::Confirm, 200, &order("confirmed")).answered(Kind::Booking, 200, &order("confirmed"));
    assert_eq!(two.outcome(), Outcome::Confirmed);
}

#[test]
fn a_pending_payment_is_looked_at_until_it_ends() {
    let mut visit = at_payment(|s| s.limits.pending_polls = 3);
    visit.answered(Kind::Confirm, 202, &order("payment_pending"));
    visit.answered(Kind::Booking, 200, &order("payment_pending"));
    assert!(visit.fan.close().is_none(), "a fan in mid-payment may finish");
    visit.answered(Kind::Booking, 200, &order("confirmed")).answered(Kind::Booking, 200, &order("confirmed"));
    assert_eq!(visit.outcome(), Outcome::Confirmed);
    let mut stuck = at_payment(|s| s.limits.pending_polls = 1);
    stuck.answered(Kind::Confirm, 202, &order("payment_pending"));
    stuck.answered(Kind::Booking, 200, &order("payment_pending"));
    assert_eq!(stuck.outcome(), Outcome::PendingTooLong);
}

#[test]
fn passes_and_holds_that_are_gone() {
    let mut expired = at_payment(|_| {});
    expired.answered(Kind::Confirm, 410, &problem("hold-expired"));
    assert_eq!(expired.outcome(), Outcome::HoldExpired);
    let mut lost = at_hold(|_| {});
    lost.answered(Kind::Hold, 429, &problem("waiting"));
    assert_eq!(lost.outcome(), Outcome::PassLost);
    let mut own = at_payment(|_| {});
    own.answered(Kind::Confirm, 202, &order("payment_pending")).answered(Kind::Booking, 401, &problem("pass-required"));
    assert_eq!(own.asks().auth, Some(Auth::Buyer("BUYER".into())));
}

#[test]
fn a_sale_that_closes_sends_fans_home() {
    let mut visit = Visit::start(world(|_| {}));
    visit.answered(Kind::Join, 201, &waiting(3)).answered(Kind::Poll, 403, &problem("sale-closed"));
    assert_eq!(visit.outcome(), Outcome::SaleOver);
    let mut late = Visit::start(world(|_| {}));
    late.answered(Kind::Join, 403, &problem("sale-closed"));
    assert_eq!(late.outcome(), Outcome::SaleOver);
}

#[test]
fn a_longer_pass_replaces_the_one_before() {
    let mut visit = at_hold(|_| {});
    let body = Bytes::from(held().to_string());
    visit.hears(&Heard::Answer(Answer { status: 201, pass: Some("LONGER".into()), body, ..Answer::default() }));
    assert_eq!(visit.asks().auth, Some(Auth::Pass("LONGER".into())));
}

#[test]
fn tickets_open_with_the_buyer_token_when_the_pass_is_gone() {
    let mut visit = at_payment(|_| {});
    visit.answered(Kind::Confirm, 200, &order("confirmed")).answered(Kind::Booking, 401, &problem("pass-required"));
    assert_eq!(visit.asks().auth, Some(Auth::Buyer("BUYER".into())));
    visit.answered(Kind::Booking, 200, &order("confirmed"));
    assert_eq!(visit.outcome(), Outcome::Confirmed);
}

#[test]
fn who_may_finish_when_the_run_closes() {
    let mut visit = Visit::start(world(|_| {}));
    assert_eq!(visit.fan.close(), Some(Outcome::StillWaiting));
    visit.answered(Kind::Join, 201, &inside());
    assert_eq!(visit.fan.close(), Some(Outcome::StillShopping));
    visit.answered(Kind::Seats, 200, &snapshot()).answered(Kind::Hold, 201, &held());
    assert_eq!(visit.fan.close(), None);
}

#[test]
fn an_event_that_nothing_guards() {
    let mut visit = Visit::start(world(|s| s.target.sale = None));
    visit.answered(Kind::Seats, 200, &snapshot());
    assert_eq!(visit.asks().auth, None);
    visit.answered(Kind::Hold, 201, &held());
    assert_eq!(visit.asks().auth, Some(Auth::Buyer("BUYER".into())));
}
