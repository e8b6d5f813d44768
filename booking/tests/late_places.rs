//! Goal: late money buys the places that can be had and suit, by the rules that everybody else keeps: in the order of all
//! locks, by the database's clock, and without changing what was told before. Method: attempts that were given up and
//! arrive after others took the places.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use booking::app::expire_holds::expire_holds;
use booking::app::settle_payment::reconcile;
use booking::storage::payments;
use serde_json::{Value, json};
use sqlx::{Connection, Executor};

use crate::attempts::{arrive_late, look_now};
use crate::holds::lapse;
use crate::late::{expired, given_up};
use crate::money::{SHORT, faulty, settled, taken};
use crate::support::{CLUB, Faults, GUARDED, OPEN, Options, TestApp, path_of, payment, until};

/// Late money for a seat that somebody else has by then, from a buyer who takes an equal one: the seat that it bought,
/// if it bought one.
async fn bought_for(seat: &str) -> Option<String> {
    let (app, faults) = faulty().await;
    let (booking, buyer) = given_up(&app, &faults, seat, true).await;
    expired(&app, &booking).await;
    app.stranger().hold_seats(OPEN, &[seat]).await;
    arrive_late(&app, &booking, false).await;
    look_now(&app, 1).await;
    let done = until("it is settled", || async {
        let now = buyer.get(&path_of(&booking)).await.expect(200);
        ["captured", "voided"].contains(&now["payment"]["state"].as_str().unwrap()).then_some(now)
    })
    .await;
    app.check().await;
    (done["state"] == "confirmed").then(|| done["seats"][0]["seat"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_equal_seat_suits_whoever_chose_the_other() {
    for (chosen, bought) in [
        // Neither the wheelchair place nor that of the companion, which come first in the plan.
        ("stalls-A-3", Some("stalls-A-4")),
        // There is no other wheelchair place.
        ("stalls-A-1", None),
        // Not the one with the pillar.
        ("balcony-A-2", Some("balcony-A-3")),
        // At the aisle as well.
        ("balcony-A-6", Some("balcony-A-7")),
    ] {
        assert_eq!(bought_for(chosen).await.as_deref(), bought, "{chosen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_seat_stays_locked_while_a_lower_one_is_waited_for() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = given_up(&app, &faults, "stalls-D-5", true).await;
    expired(&app, &booking).await;
    app.stranger().hold_seats(OPEN, &["stalls-D-5"]).await;
    arrive_late(&app, &booking, false).await;
    // Somebody has locked the seat that will be chosen instead, and is about to lock the one that was wanted first.
    let beside = app.beside().await;
    let mut conn = beside.acquire().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let lock =
        |seat: &str| format!("select 1 from seat where event_id = '{OPEN}' and seat = '{seat}' for update nowait");
    tx.execute(sqlx::AssertSqlSafe(lock("stalls-C-1"))).await.unwrap();
    look_now(&app, 1).await;
    until("late money waits for the seat", || async {
        let query = "select count(*) from pg_stat_activity where datname = current_database()
                     and wait_event_type = 'Lock' and query like '%from seat%'";
        let waiting: i64 = sqlx::query_scalar(query).fetch_one(app.db()).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    tx.execute(sqlx::AssertSqlSafe(lock("stalls-D-5"))).await.expect("nobody has the higher seat");
    tx.rollback().await.unwrap();
    drop(conn);
    settled(&buyer, &booking, "confirmed", "captured").await;
    let now = buyer.get(&path_of(&booking)).await.expect(200);
    assert_eq!(now["seats"][0]["seat"], "stalls-C-1");
    beside.close().await;
    app.check().await;
}

/// Looks at the first attempt until the booking is so.
async fn looked_until(app: &TestApp, booking: &Value, state: &str, paid: &str) {
    let reference = format!("{}/1", booking["booking"].as_str().unwrap());
    until(&format!("{state} and {paid}"), || async {
        let found = payments::of_callback(app.db(), "sandbox", Some(&reference), None).await.unwrap().unwrap();
        reconcile(&app.services, &found).await.unwrap();
        let query = "select b.state || ' ' || p.state from booking b join payment p using (event_id, booking_id)
                     where p.reference = $1";
        let now: String = sqlx::query_scalar(query).bind(&reference).fetch_one(app.db()).await.unwrap();
        (now == format!("{state} {paid}")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_that_lapsed_holds_still_have_are_free_for_late_money() {
    for lapsed in [true, false] {
        // No jobs: nobody sweeps.
        let faults = Arc::new(Faults::default());
        let options = Options { set: SHORT.to_vec(), faults: Some(Arc::clone(&faults)), ..Options::default() };
        let app = TestApp::with(options).await;
        let places = |quantity: u32| json!({ "areas": [{ "area": "club", "quantity": quantity }] });
        let hold = app.stranger().hold(CLUB, places(3)).await.expect(201);
        let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
        let booking = buyer.book(&hold).await.expect(201);
        faults.lose_authorisations.store(true, Ordering::SeqCst);
        buyer.pay(&booking, "tok_ok").await;
        looked_until(&app, &booking, "held", "failed").await;
        lapse(&app, &hold).await;
        assert_eq!(expire_holds(&app.services).await.unwrap(), 1);
        // All fifty places are another's; the first two holds lapse.
        let mut others = Vec::new();
        for quantity in [2, 8, 10, 10, 10, 10] {
            others.push(app.stranger().hold(CLUB, places(quantity)).await.expect(201));
        }
        if lapsed {
            lapse(&app, &others[0]).await;
            lapse(&app, &others[1]).await;
        }
        arrive_late(&app, &booking, false).await;
        let (state, paid) = if lapsed { ("confirmed", "captured") } else { ("expired", "voided") };
        looked_until(&app, &booking, state, paid).await;
        assert_eq!(taken(&app).await, if lapsed { booking["total"]["amount"].as_i64().unwrap() } else { 0 });
        let held: i32 = sqlx::query_scalar("select held from area where event_id = $1")
            .bind(CLUB)
            .fetch_one(app.db())
            .await
            .unwrap();
        assert_eq!(held, if lapsed { 40 } else { 50 });
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_told_as_it_was_made_although_it_was_prolonged_for_another_try() {
    let set = vec!["holds.ttl_s=20", "checkout.retry_s=120"];
    let app = TestApp::with(Options { set, jobs: true, ..Options::default() }).await;
    let fan = app.fan();
    let path = format!("/v1/events/{GUARDED}/holds");
    let body = json!({ "seats": ["stalls-C-1"] });
    let first = fan.post_once("key", &path, &body).await;
    let booking = fan.book(&first.expect(201)).await.expect(201);
    fan.pay(&booking, "tok_declined").await.problem(402, "payment-declined");
    let now = fan.get(&crate::support::hold_path(&first.json())).await.expect(200);
    assert_ne!(now["expires_at"], first.json()["expires_at"], "it was prolonged");
    assert_eq!(fan.post_once("key", &path, &body).await.text, first.text);
    // And extended on top of it.
    fan.post(&format!("{}/extend", crate::support::hold_path(&first.json())), json!({})).await.expect(200);
    assert_eq!(fan.post_once("key", &path, &body).await.text, first.text);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_told_as_it_was_made_although_late_money_bought_other_seats() {
    let (app, faults) = faulty().await;
    let fan = app.fan();
    let path = format!("/v1/events/{GUARDED}/holds");
    let body = json!({ "seats": ["stalls-D-4", "stalls-D-5"] });
    let first = fan.post_once("key", &path, &body).await;
    let booking = fan.book(&first.expect(201)).await.expect(201);
    faults.lose_authorisations.store(true, Ordering::SeqCst);
    let mut pay = payment("tok_ok");
    pay["accept_equal"] = json!(true);
    fan.post(&format!("{}/confirm", path_of(&booking)), pay).await;
    settled(&fan, &booking, "held", "failed").await;
    lapse(&app, &first.json()).await;
    app.fan().hold_seats(GUARDED, &["stalls-D-5"]).await;
    arrive_late(&app, &booking, false).await;
    look_now(&app, 1).await;
    settled(&fan, &booking, "confirmed", "captured").await;
    let seats = fan.get(&path_of(&booking)).await.expect(200)["seats"].clone();
    assert_eq!((&seats[0]["seat"], &seats[1]["seat"]), (&json!("stalls-C-1"), &json!("stalls-D-4")));
    // All but its end, which the test has pushed.
    let again = fan.post_once("key", &path, &body).await.expect(201);
    for member in ["hold", "seats", "total", "created_at", "state"] {
        assert_eq!(again[member], first.json()[member], "{member}");
    }
    app.check().await;
}
