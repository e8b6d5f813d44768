//! Goal: the till writes nothing unless the rows are as it was told, and what it lost the answer to comes to one end; with
//! others at work on the same event. Method: its functions called on rows that were changed; two nodes; a wire that swallows answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use booking::storage::begin_batch::{self, BeginOrder, Begun};
use booking::storage::idempotency::{Claim, Known, SavedAnswer, look_up};
use booking::storage::sell_batch::{self, FinishOrder, SellOrder};
use booking::storage::tickets::NewTicket;
use booking_domain::{BookingId, EventId, Owner, TicketId};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};

use crate::money::{SHORT, settled, taken};
use crate::support::{Faults, OPEN, Options, TestApp, Wire, path_of, payment, until};

/// A payment that has begun, and what it takes to sell it.
struct Sale {
    event: EventId,
    begun: Begun,
    tickets: Vec<NewTicket>,
}

fn ticket(seat_no: i32) -> NewTicket {
    let id = TicketId::new(uuid::Uuid::now_v7());
    NewTicket { id, seat_no: Some(seat_no), area: None, code: id.to_string() }
}

async fn begun(app: &TestApp, seats: &[&str]) -> Sale {
    let (hold, buyer) = app.stranger().hold_seats(OPEN, seats).await;
    let booking = buyer.book(&hold).await.expect(201);
    let (event, booking): (EventId, BookingId) =
        (OPEN.parse().unwrap(), booking["booking"].as_str().unwrap().parse().unwrap());
    let owner: String = sqlx::query_scalar("select owner from booking where booking_id = $1")
        .bind(booking.get())
        .fetch_one(app.db())
        .await
        .unwrap();
    let owners: Vec<Owner> = vec![owner.parse().unwrap()];
    let order = BeginOrder { booking, owners: &owners, accept_equal: None, claim: None };
    let mut conn = app.db().acquire().await.unwrap();
    let begun = begin_batch::begin(&mut conn, &event, "sandbox", 60, &[order]).await.unwrap().remove(0).unwrap();
    let tickets = begun.seats.iter().map(|seat_no| ticket(*seat_no)).collect();
    Sale { event, begun, tickets }
}

impl Sale {
    async fn sell(&self, conn: &mut PgConnection) -> bool {
        let Begun { payment, hold, .. } = &self.begun;
        let order = SellOrder { payment, hold: *hold, provider_payment: "pay_1", tickets: &self.tickets };
        sell_batch::sell(conn, &self.event, 5, &[order]).await.unwrap()[0].is_some()
    }

    async fn finish(&self, conn: &mut PgConnection, answer: Option<(&Claim, &SavedAnswer)>) -> bool {
        let order = FinishOrder { payment: &self.begun.payment, answer };
        sell_batch::finish(conn, &self.event, &[order]).await.unwrap()[0]
    }
}

async fn rows(conn: &mut PgConnection) -> String {
    let all = "select concat((select json_agg(p order by booking_id) from payment p), (select json_agg(b order by booking_id) from booking b),
        (select json_agg(s order by seat_no) from seat s), (select json_agg(t order by ticket_id) from ticket t),
        (select json_agg(e order by version) from seat_event e), (select json_agg(o order by seq) from outbox o),
        (select json_agg(h order by hold_id) from hold h))";
    sqlx::query_scalar(all).fetch_one(conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_is_written_only_of_what_was_decided() {
    let app = TestApp::with(Options::default()).await;
    let mut sale = begun(&app, &["stalls-C-1", "stalls-C-2"]).await;
    let mut conn = app.db().acquire().await.unwrap();
    for change in [
        "update payment set state = 'declined'",
        "update payment set state = 'failed'",
        "update payment set amount = amount + 1",
        "update payment set currency = 'USD'",
        "update payment set late_tried = true",
        "update payment set refund_due = 1",
        "update booking set state = 'held', deadline = null",
        "update booking set state = 'expired', deadline = null",
        "update hold set state = 'active'",
        "update hold set state = 'consumed'",
        "update seat set state = 1, booking_id = null
         where event_id = 'open-theatre' and seat_no = (select min(seat_no) from booking_seat)",
        "update seat set hold_id = gen_random_uuid()
         where event_id = 'open-theatre' and seat_no = (select max(seat_no) from booking_seat)",
        "delete from booking_seat where seat_no = (select max(seat_no) from booking_seat)",
    ] {
        let mut tx = conn.begin().await.unwrap();
        assert!(sqlx::query(change).execute(&mut *tx).await.unwrap().rows_affected() > 0, "{change}");
        let before = rows(&mut tx).await;
        assert!(!sale.sell(&mut tx).await, "{change}");
        assert_eq!(rows(&mut tx).await, before, "{change}");
        tx.rollback().await.unwrap();
    }
    // Other tickets than its seats.
    let kept = sale.tickets.clone();
    for tickets in
        [vec![kept[0].clone()], vec![kept[0].clone(), ticket(40)], vec![kept[0].clone(), kept[1].clone(), ticket(40)]]
    {
        sale.tickets = tickets;
        assert!(!sale.sell(&mut conn).await, "{:?}", sale.tickets);
    }
    sale.tickets = kept;
    // Somebody is at it.
    for row in ["hold", "booking", "payment"] {
        let mut other = app.beside().await.acquire().await.unwrap();
        let mut tx = other.begin().await.unwrap();
        let lock = format!("select 1 from {row} for update");
        sqlx::query(sqlx::AssertSqlSafe(lock)).execute(&mut *tx).await.unwrap();
        assert!(!sale.sell(&mut conn).await, "a locked {row} is not waited for");
        tx.rollback().await.unwrap();
    }
    assert!(sale.sell(&mut conn).await);
    assert!(!sale.sell(&mut conn).await, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_is_noted_only_of_a_sale_that_stands() {
    let app = TestApp::with(Options::default()).await;
    let sale = begun(&app, &["stalls-C-1"]).await;
    let mut conn = app.db().acquire().await.unwrap();
    let claim = |key: &str| Claim { actor: "a".to_owned(), key: key.to_owned(), request_hash: [7; 32] };
    let answer = SavedAnswer { status: 200, headers: vec![("a".into(), "b".into())], body: b"paid".to_vec() };
    let asked = claim("pay");
    assert!(!sale.finish(&mut conn, Some((&asked, &answer))).await, "nothing is sold yet");
    assert!(sale.sell(&mut conn).await);
    for change in [
        "update payment set state = 'failed'",
        "update payment set refund_due = 1",
        "update booking set state = 'cancelled'",
        "update booking set state = 'failed'",
        "update booking set sold_attempt = 2",
    ] {
        let mut tx = conn.begin().await.unwrap();
        assert!(sqlx::query(change).execute(&mut *tx).await.unwrap().rows_affected() > 0, "{change}");
        let before = rows(&mut tx).await;
        assert!(!sale.finish(&mut tx, Some((&asked, &answer))).await, "{change}");
        assert_eq!(rows(&mut tx).await, before, "{change}");
        assert!(matches!(look_up(&mut tx, &asked).await.unwrap(), Known::New), "{change}: nothing is kept");
        tx.rollback().await.unwrap();
    }
    // Another answer that was kept stays.
    let kept = "insert into idempotency (actor, key, request_hash, status, headers, body)
                values ('a', 'kept', decode(repeat('07', 32), 'hex'), 402, '[]', 'no')";
    sqlx::query(kept).execute(&mut *conn).await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    assert!(sale.finish(&mut tx, Some((&claim("kept"), &answer))).await);
    let told = look_up(&mut tx, &claim("kept")).await.unwrap();
    assert!(matches!(told, Known::Answered(saved) if saved.status == 402));
    tx.rollback().await.unwrap();
    assert!(sale.finish(&mut conn, Some((&asked, &answer))).await);
    let told = look_up(&mut conn, &asked).await.unwrap();
    assert!(matches!(told, Known::Answered(saved) if saved == answer));
    assert!(!sale.finish(&mut conn, None).await, "once");
    let open: i64 = sqlx::query_scalar("select count(*) from payment where check_at is not null")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert_eq!(open, 0, "nobody has to look");
}

async fn deadlocks(pool: &PgPool) -> i64 {
    let query = "select deadlocks from pg_stat_database where datname = current_database()";
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_sell_an_event_while_others_cancel_and_lapse() {
    let app = TestApp::with(Options {
        jobs: true,
        set: vec!["holds.max_seats_per_visitor=50", "holds.ttl_s=2"],
        ..Options::default()
    })
    .await;
    let other = app.second_node().await;
    let seats: Vec<String> =
        ["B", "C", "D"].iter().flat_map(|row| (1..=6).map(move |n| format!("stalls-{row}-{n}"))).collect();
    // Everybody wants their seats three times, gives them back, and shares a floor with all others; some walk away.
    let fans = (0..24usize).map(|number| {
        let (app, seats, other) = (&app, &seats, &other);
        async move {
            let mut bought = 0;
            for turn in 0..3usize {
                let wish = match number % 4 {
                    0 => json!({ "areas": [{ "area": "pit", "quantity": 1 }] }),
                    _ => json!({ "seats": [&seats[number % seats.len()], &seats[(number * 7 + turn) % seats.len()]] }),
                };
                let fan = if (number + turn) % 2 == 0 { app.stranger() } else { app.stranger().at(other) };
                let hold = fan.hold(OPEN, wish).await;
                if hold.status != 201 {
                    continue;
                }
                let hold = hold.json();
                let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
                let buyer = if number % 3 == 0 { buyer.at(other) } else { buyer };
                let booking = buyer.book(&hold).await.expect(201);
                if number % 5 == 4 {
                    continue;
                }
                // Two requests at once, one at each node: paid for once.
                let (one, two) = (buyer.clone(), buyer.clone().at(other));
                let (one, two) = tokio::join!(one.pay(&booking, "tok_ok"), two.pay(&booking, "tok_ok"));
                for answer in [&one, &two] {
                    assert!([200, 202].contains(&answer.status.as_u16()), "{}", answer.text);
                }
                settled(&buyer, &booking, "confirmed", "captured").await;
                bought += 1;
                buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
            }
            bought
        }
    });
    let bought: u64 = join_all(fans).await.into_iter().sum();
    assert!(bought >= 24, "{bought} were bought");
    assert!(app.services.tills.done()[3] > 0, "some by this node's till");
    until("all money is back", || async { (taken(&app).await == 0).then_some(()) }).await;
    assert_eq!(app.ledger().await.len() as u64, bought, "each was paid for once");
    assert_eq!(deadlocks(app.db()).await, 0);
    app.check().await;
}

async fn deaf_app(set: &[&'static str], faults: &Arc<Faults>) -> (TestApp, Arc<Wire>, PgPool) {
    let wire = Wire::new();
    let set = SHORT.iter().chain(set).copied().collect();
    let app = TestApp::with(Options {
        wire: Some(Arc::clone(&wire)),
        jobs: true,
        set,
        faults: Some(Arc::clone(faults)),
        ..Options::default()
    })
    .await;
    let direct = app.beside().await;
    (app, wire, direct)
}

async fn is_there(pool: &PgPool, query: &'static str) {
    until(query, || async { (sqlx::query_scalar::<_, i64>(query).fetch_one(pool).await.unwrap() > 0).then_some(()) })
        .await;
}

/// A connection whose open transaction keeps a function of the till waiting that is called after this.
async fn busy(direct: &PgPool, held: &'static str) -> PoolConnection<Postgres> {
    let mut busy = direct.acquire().await.unwrap();
    for statement in ["begin", held] {
        sqlx::query(statement).execute(&mut *busy).await.unwrap();
    }
    busy
}

/// Swallows the answer to a call of a function of the till, which has done its work, and cuts the wire then.
async fn lose(wire: &Wire, direct: &PgPool, mut busy: PoolConnection<Postgres>, function: &str, done: &'static str) {
    let called = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
         and query like '%{function}(%'"
    );
    until("it is called and waits", || async {
        let called = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(called.clone()));
        (called.fetch_one(direct).await.unwrap() > 0).then_some(())
    })
    .await;
    wire.set_deaf(true);
    sqlx::query("rollback").execute(&mut *busy).await.unwrap();
    is_there(direct, done).await;
    wire.cut();
}

const VERSION: &str = "select 1 from event_version for update";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_whose_answer_was_lost_is_made_once() {
    let (app, wire, direct) = deaf_app(&[], &Arc::default()).await;
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let path = format!("/v1/events/{OPEN}/bookings");
    let body = json!({ "hold": hold["hold"], "buyer": { "name": "Ada", "email": "ada@example.org" } });
    // What waits for its commit is rolled back.
    let held = "lock table event_cancellation in access exclusive mode";
    let waits =
        "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
    let lost = lose(&wire, &direct, busy(&direct, held).await, "book_batch", waits);
    let (answer, ()) = tokio::join!(buyer.post_once("book", &path, &body), lost);
    let told = answer.problem(503, "unavailable")["detail"].to_string();
    assert!(told.contains("whether it was done is not known; repeat it with the same key"), "{told}");
    let booked = until("its key is free", || async {
        let answer = buyer.post_once("book", &path, &body).await;
        (answer.status == 201).then_some(answer)
    })
    .await;
    assert_eq!(buyer.post_once("book", &path, &body).await.text, booked.text);
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beginning_whose_answer_was_lost_is_given_up_and_may_be_tried_again() {
    let (app, wire, direct) = deaf_app(&[], &Arc::default()).await;
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let booking = buyer.book(&hold).await.expect(201);
    let (path, card) = (format!("{}/confirm", path_of(&booking)), payment("tok_ok"));
    let made = "select count(*) from payment where state = 'created'";
    let lost = lose(&wire, &direct, busy(&direct, VERSION).await, "begin_batch", made);
    let (answer, ()) = tokio::join!(buyer.post_once("pay", &path, &card), lost);
    answer.problem(503, "unavailable");
    settled(&buyer, &booking, "held", "failed").await;
    // The first request came to nothing, and is told so.
    buyer.post_once("pay", &path, &card).await.problem(402, "payment-declined");
    let paid = buyer.post_once("again", &path, &card).await.expect(200);
    assert_eq!(paid["payment"]["attempt"], 2);
    assert_eq!(taken(&app).await, 4350);
    direct.close().await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_whose_answer_was_lost_is_taken_and_told() {
    let faults = Arc::new(Faults::default());
    let (app, wire, direct) = deaf_app(&["payments.pending_s=20", "payments.answer_within_ms=9000"], &faults).await;
    let (hold, buyer) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let booking = buyer.book(&hold).await.expect(201);
    let (path, card) = (format!("{}/confirm", path_of(&booking)), payment("tok_ok"));
    faults.delay_authorise_ms.store(300, Ordering::SeqCst);
    let lost = async {
        is_there(&direct, "select count(*) from payment where state = 'created'").await;
        let made = "select count(*) from payment where state = 'authorized'";
        lose(&wire, &direct, busy(&direct, VERSION).await, "sell_batch", made).await;
    };
    let (answer, ()) = tokio::join!(buyer.post_once("pay", &path, &card), lost);
    let paid = answer.expect(200);
    assert_eq!(paid["state"], "confirmed");
    settled(&buyer, &booking, "confirmed", "captured").await;
    let again = buyer.post_once("pay", &path, &card).await;
    assert_eq!(again.expect(200)["tickets"], paid["tickets"]);
    assert_eq!(buyer.post_once("pay", &path, &card).await.text, again.text);
    assert_eq!(taken(&app).await, 4350);
    direct.close().await;
    app.check().await;
}
