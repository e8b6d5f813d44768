//! Goal: an event that does not take place is worked off by one at a time, counted right, and seen by all nodes. Method:
//! two who cancel the same bookings at the same time, one who is stopped between two batches, and bookings that somebody else has locked.

use booking::app::cancel_event::{cancel_batch, cancel_event, go_on};
use booking::error::Error;
use booking::storage::bell::{Ear, Heard, Ring};
use booking::storage::cancellations::take_due;
use booking_domain::EventId;
use serde_json::json;
use sqlx::{Connection, Executor};

use crate::operators::admin;
use crate::support::{CLUB, OPEN, Options, TestApp, value, waiting};

fn club() -> EventId {
    CLUB.parse().unwrap()
}

/// Held bookings of nothing, in bulk.
async fn book_many(app: &TestApp, bookings: i32) {
    let sql = "with made as (
                   insert into hold (event_id, hold_id, owner, state, expires_at)
                   select $1, gen_random_uuid(), 'buyer:' || lpad(n::text, 22, '0'), 'active',
                          clock_timestamp() + interval '1 hour' from generate_series(1, $2) n
                   returning event_id, hold_id, owner)
               insert into booking (event_id, booking_id, hold_id, owner, state, buyer_name, buyer_email, currency,
                                    fee, tax, total)
               select event_id, gen_random_uuid(), hold_id, owner, 'held', 'Ada', 'ada@example.org', 'EUR', 0, 0, 0
               from made";
    sqlx::query(sql).bind(CLUB).bind(bookings).execute(app.db()).await.unwrap();
}

/// A node whose club night is cancelled, with so many bookings to work off.
async fn cancelled_with(bookings: i32) -> TestApp {
    let app = TestApp::with(Options::default()).await;
    book_many(&app, bookings).await;
    assert!(cancel_event(&app.services, &club(), "the singer is ill").await.unwrap());
    app
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_cancel_the_same_bookings_count_each_once() {
    let app = cancelled_with(5).await;
    let beside = app.beside().await;
    let mut conn = beside.acquire().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    tx.execute("select 1 from hold for update").await.unwrap();
    let workers = [(), ()].map(|()| {
        let services = app.services.clone();
        tokio::spawn(async move { cancel_batch(&services, &club()).await.unwrap() })
    });
    waiting(app.db(), 2).await;
    tx.rollback().await.unwrap();
    for worker in workers {
        assert!(worker.await.unwrap().finished);
    }
    let progress = cancel_batch(&app.services, &club()).await.unwrap();
    assert_eq!((progress.cancelled, progress.open), (5, 0));
    drop(conn);
    beside.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_at_it_keeps_it_between_batches() {
    let app = cancelled_with(130).await;
    let beside = app.beside().await;
    let mut conn = beside.acquire().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    // In the second batch.
    tx.execute(
        "select 1 from hold where hold_id = (select hold_id from booking order by booking_id desc limit 1) for update",
    )
    .await
    .unwrap();
    let services = app.services.clone();
    let worker = tokio::spawn(async move { go_on(&services).await });
    waiting(app.db(), 1).await;
    let query = "select cancelled, due_at > clock_timestamp() + interval '15 seconds' from event_cancellation";
    let kept: (i64, bool) = sqlx::query_as(query).fetch_one(app.db()).await.unwrap();
    assert_eq!(kept, (129, true));
    assert_eq!(take_due(app.db(), 30).await.unwrap(), None, "no other node takes it");
    tx.rollback().await.unwrap();
    worker.await.unwrap().unwrap();
    let done: (i64, bool) = sqlx::query_as("select cancelled, finished_at is not null from event_cancellation")
        .fetch_one(app.db())
        .await
        .unwrap();
    assert_eq!(done, (130, true));
    drop(conn);
    beside.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_that_is_locked_holds_up_no_other() {
    let app = cancelled_with(6).await;
    let beside = app.beside().await;
    let mut conn = beside.acquire().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    tx.execute("select 1 from booking where booking_id = (select min(booking_id::text)::uuid from booking) for update")
        .await
        .unwrap();
    let progress = cancel_batch(&app.services, &club()).await.unwrap();
    assert_eq!((progress.cancelled, progress.open, progress.finished), (5, 1, false));
    tx.rollback().await.unwrap();
    let progress = cancel_batch(&app.services, &club()).await.unwrap();
    assert_eq!((progress.cancelled, progress.open, progress.finished), (6, 0, true));
    drop(conn);
    beside.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_can_be_had_it_is_left_for_later() {
    let app = cancelled_with(6).await;
    let beside = app.beside().await;
    let mut conn = beside.acquire().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    // All but the first and the last.
    tx.execute(
        "select 1 from booking where booking_id::text not in
             ((select min(booking_id::text) from booking), (select max(booking_id::text) from booking)) for update",
    )
    .await
    .unwrap();
    let left = cancel_batch(&app.services, &club()).await.unwrap_err();
    assert!(matches!(left, Error::Unavailable { .. }), "{left:?}");
    let cancelled: i64 = value(app.db(), "select cancelled from event_cancellation").await;
    assert_eq!(cancelled, 1, "it was given up after three in a row");
    tx.rollback().await.unwrap();
    assert!(cancel_batch(&app.services, &club()).await.unwrap().finished);
    drop(conn);
    beside.close().await;
    app.check().await;
}

async fn heard(ear: &mut Ear, wanted: impl Fn(&Ring) -> bool) -> Ring {
    let listen = async {
        loop {
            match ear.hear().await.unwrap() {
                Heard::Ring(ring) if wanted(&ring) => return ring,
                Heard::Ring(_) | Heard::Gap => {}
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(15), listen).await.expect("the bell rings")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_hear_of_an_event_that_an_operator_cancels() {
    // The node has no jobs: it does nothing about the event, and rings for nothing but the hold.
    let app = TestApp::with(Options::default()).await;
    let beside = app.beside().await;
    let mut ear = Ear::open(&beside).await.unwrap();
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let node = heard(&mut ear, |ring| ring.event.as_str() == OPEN).await.node;
    buyer.book(&hold).await.expect(201);
    let (said, ok) = admin(&app, &["cancel-event", OPEN, "--reason", "the singer is ill"]).await;
    assert!(ok && said.contains("1 cancelled, 0 to go"), "{said}");
    heard(&mut ear, |ring| ring.event.as_str() == OPEN && ring.node != node).await;
    let place = json!({ "seats": ["stalls-C-1"] });
    app.stranger().hold(OPEN, place).await.problem(409, "state-conflict");
    drop(ear);
    beside.close().await;
    app.check().await;
}
