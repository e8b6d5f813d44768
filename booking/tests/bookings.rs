//! Goal: from hold to tickets and back. Method: the whole path of a fan, and its forks.

use serde_json::{Value, json};

use crate::support::{CLUB, GUARDED, OPEN, Options, TestApp, path_of, payment, until, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_book_decline_pay_cancel() {
    let app = TestApp::start().await;
    let fan = app.fan();
    let (hold, buyer) = fan.hold_seats(GUARDED, &["stalls-A-3", "stalls-A-4"]).await;
    let booking = fan.book(&hold).await.expect(201);
    assert_eq!((&booking["state"], &booking["total"]), (&json!("held"), &hold["total"]));
    assert_eq!(booking["buyer"], json!({ "name": "Ada", "email": "ada@example.org" }));
    assert_eq!(booking["seats"], hold["seats"]);
    fan.book(&hold).await.problem(409, "state-conflict");

    // Declined: the hold lives on, and another attempt may go well.
    let problem = buyer.pay(&booking, "tok_declined").await.problem(402, "payment-declined");
    assert_eq!(problem["reason"], "card_declined");
    let held = buyer.get(&path_of(&booking)).await.expect(200);
    assert_eq!((&held["state"], &held["payment"]["state"]), (&json!("held"), &json!("declined")));
    app.fan().hold(GUARDED, json!({ "seats": ["stalls-A-3"] })).await.problem(409, "seats-taken");
    buyer.pay(&booking, "tok_what").await.problem(400, "invalid");
    let paid = buyer.pay(&booking, "tok_ok").await.expect(200);
    assert_eq!(paid["state"], "confirmed");
    let tickets = paid["tickets"].as_array().unwrap();
    assert_eq!(tickets.iter().map(|t| t["seat"].as_str().unwrap()).collect::<Vec<_>>(), ["stalls-A-3", "stalls-A-4"]);
    assert_ne!(tickets[0]["code"], tickets[1]["code"]);
    // Paying again pays nothing.
    assert_eq!(buyer.pay(&booking, "tok_ok").await.expect(200)["tickets"], paid["tickets"]);
    let read = buyer.get(&path_of(&booking)).await.expect(200);
    assert_eq!((&read["tickets"], &read["payment"]["state"]), (&paid["tickets"], &json!("captured")));
    let captured: i64 = app.ledger().await.iter().map(|p| p["captured"].as_i64().unwrap()).sum();
    assert_eq!(captured, paid["total"]["amount"].as_i64().unwrap());
    // A sold hold cannot be released.
    buyer.delete(&crate::support::hold_path(&hold)).await.problem(409, "state-conflict");

    // Another's booking is none.
    for other in [app.fan(), app.stranger()] {
        other.get(&path_of(&booking)).await.problem(404, "not-found");
        other.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.problem(404, "not-found");
    }
    app.fan().pay(&booking, "tok_ok").await.problem(404, "not-found");

    // Cancelled: seats free at once, money back soon, twice is once.
    let cancelled = buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
    assert_eq!((&cancelled["state"], &cancelled["tickets"]), (&json!("cancelled"), &json!([])));
    app.fan().hold_seats(GUARDED, &["stalls-A-3"]).await;
    until("the money is back", || async {
        let booking = buyer.get(&path_of(&booking)).await.expect(200);
        (booking["state"] == "refunded").then_some(())
    })
    .await;
    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
    let refunded: i64 = app.ledger().await.iter().map(|p| p["refunded"].as_i64().unwrap()).sum();
    assert_eq!(refunded, captured);
    let topics: Vec<String> =
        sqlx::query_scalar("select topic from outbox order by seq").fetch_all(app.db()).await.unwrap();
    assert_eq!(topics, ["booking.confirmed", "booking.cancelled", "booking.refunded"]);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn general_admission_gives_a_ticket_per_place() {
    let app = TestApp::start().await;
    let hold = app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 3 }] })).await.expect(201);
    let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    let booking = buyer.book(&hold).await.expect(201);
    let paid = buyer.pay(&booking, "tok_ok").await.expect(200);
    assert_eq!(paid["tickets"].as_array().unwrap().len(), 3);
    assert!(paid["tickets"].as_array().unwrap().iter().all(|ticket| ticket["area"] == "club"));
    let stock = buyer.get(&format!("/v1/events/{CLUB}/seats")).await.expect(200);
    assert_eq!(stock["areas"], json!([{ "area": "club", "capacity": 50, "held": 0, "sold": 3 }]));
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_not_booked_or_paid() {
    let app = TestApp::with(Options { set: vec!["holds.ttl_s=1"], jobs: true, ..Options::default() }).await;
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let booking = buyer.book(&hold).await.expect(201);
    until("the hold has lapsed", || async {
        value::<bool>(app.db(), "select expires_at <= clock_timestamp() from hold").await.then_some(())
    })
    .await;
    buyer.book(&hold).await.problem(410, "hold-expired");
    buyer.pay(&booking, "tok_ok").await.problem(410, "hold-expired");
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["state"], "expired");
    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.problem(409, "state-conflict");
    assert!(app.ledger().await.is_empty(), "nobody was asked for money");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_that_is_not_paid_can_be_cancelled() {
    let app = TestApp::start().await;
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let booking = buyer.book(&hold).await.expect(201);
    let cancelled = buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    buyer.pay(&booking, "tok_ok").await.problem(409, "state-conflict");
    app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    // Releasing the hold of a booking cancels the booking.
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-2"]).await;
    let booking = buyer.book(&hold).await.expect(201);
    buyer.delete(&crate::support::hold_path(&hold)).await.expect(204);
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["state"], "cancelled");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_follows_the_event_s_policy() {
    let app = TestApp::start().await;
    sqlx::query("update event set cancel_until_s = 1000000000").execute(app.db()).await.unwrap();
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let booking = buyer.book(&hold).await.expect(201);
    buyer.pay(&booking, "tok_ok").await.expect(200);
    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.problem(403, "forbidden");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_costs_nothing_asks_nobody() {
    let app = TestApp::start().await;
    sqlx::query("update area set face = 0, fee = 0, tax = 0, price = 0").execute(app.db()).await.unwrap();
    let hold = app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 1 }] })).await.expect(201);
    let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    let booking = buyer.book(&hold).await.expect(201);
    let paid = buyer.pay(&booking, "tok_ok").await.expect(200);
    assert_eq!((&paid["state"], paid["tickets"].as_array().unwrap().len()), (&json!("confirmed"), 1));
    let cancelled = buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
    assert_eq!(cancelled["state"], "refunded", "nothing is what goes back");
    assert!(app.ledger().await.is_empty());
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_bookings_are_listed() {
    let app = TestApp::start().await;
    let (first, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let mut made = vec![buyer.book(&first).await.expect(201)["booking"].clone()];
    for seat in ["stalls-C-2", "stalls-C-3"] {
        let hold = buyer.hold(OPEN, json!({ "seats": [seat] })).await.expect(201);
        made.insert(0, buyer.book(&hold).await.expect(201)["booking"].clone());
    }
    let (other, stranger) = app.stranger().hold_seats(OPEN, &["stalls-C-4"]).await;
    stranger.book(&other).await.expect(201);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = buyer.get(&format!("/v1/bookings?limit=2{cursor}")).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|booking| booking["booking"].clone()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, made);
    assert_eq!(app.stranger().get("/v1/bookings").await.expect(200), json!({ "items": [], "next": null }));
    for bad in ["limit=0", "limit=101", "limit=x", "cursor=x", "cursor=%00"] {
        buyer.get(&format!("/v1/bookings?{bad}")).await.problem(400, "invalid");
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_booking_moves_no_page_of_the_list() {
    let app = TestApp::start().await;
    let (first, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let mut made = vec![buyer.book(&first).await.expect(201)["booking"].clone()];
    for n in 2..=5 {
        let hold = buyer.hold(OPEN, json!({ "seats": [format!("stalls-C-{n}")] })).await.expect(201);
        made.insert(0, buyer.book(&hold).await.expect(201)["booking"].clone());
    }
    // Made in the same moment, so that the ids alone order them.
    let sql = "update booking set created_at = (select min(created_at) from booking)
               where booking_id <> (select booking_id from booking order by created_at limit 1)";
    sqlx::query(sql).execute(app.db()).await.unwrap();
    made.sort_by(|a, b| b.as_str().cmp(&a.as_str()));
    let (mut seen, mut cursor, mut n) = (Vec::new(), String::new(), 6);
    loop {
        let page = buyer.get(&format!("/v1/bookings?limit=2{cursor}")).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|booking| booking["booking"].clone()));
        let hold = buyer.hold(OPEN, json!({ "seats": [format!("stalls-C-{n}")] })).await.expect(201);
        buyer.book(&hold).await.expect(201);
        n += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, made);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_confirmations_of_one_booking_pay_once() {
    let app = TestApp::start().await;
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1", "stalls-C-2"]).await;
    let booking = buyer.book(&hold).await.expect(201);
    let path = format!("{}/confirm", path_of(&booking));
    let answers = futures_util::future::join_all((0..20).map(|_| buyer.post(&path, payment("tok_ok")))).await;
    for answer in &answers {
        assert!([200, 202].contains(&answer.status.as_u16()), "{}", answer.text);
        if answer.status == 202 {
            assert_eq!((answer.header("retry-after"), &answer.json()["state"]), (Some("1"), &json!("payment_pending")));
        }
    }
    let done: Value = buyer.pay(&booking, "tok_ok").await.expect(200);
    assert_eq!(done["payment"]["attempt"], 1);
    assert_eq!(app.ledger().await.len(), 1);
    app.check().await;
}
