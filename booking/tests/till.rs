//! Goal: the till does what the general way does, or leaves it alone. Method: the same worlds played on two nodes with a
//! database each, of which one has no till; answers and tables must be the same, and it is counted which steps the till did.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::support::{Answer, CLUB, Fan, Faults, OPEN, Options, TestApp, hold_path, path_of, payment, until};

/// What a node's tables hold, without ids and times.
const TABLES: &[&str] = &[
    "select h.state, h.expires_at > clock_timestamp() + interval '5 min' as late from hold h order by h.created_at",
    "select state, buyer_name, buyer_email, currency, fee, tax, total, accept_equal, refund_policy, sold_attempt,
            deadline is null as d, confirmed_at is null as c from booking order by created_at",
    "select seat_no, fee, tax, price from booking_seat order by 1",
    "select a.area, a.quantity, a.fee, a.tax, a.price from booking_area a join booking using (event_id, booking_id)
     order by created_at, 1",
    "select attempt, provider, provider_payment is null as p, state, amount, currency, decline_reason, checks, late_tried,
            refund_due, refunded, alarm, check_at is null as c, deadline - created_at as pending,
            reference = booking_id || '/' || attempt as named
     from payment order by created_at",
    "select seat_no, state, hold_id is null as h, booking_id is null as b, expires_at is null as e, version
     from seat where version > 0 order by event_id, seat_no",
    "select event_id, area, held, pending, sold from area order by 1, 2",
    "select a.area, a.quantity, a.state, a.expires_at is null as e from hold_area a join hold using (event_id, hold_id)
     order by created_at, 1",
    "select event_id, version, op, state, seats, areas, hold_id is null as h, booking_id is null as b, expires_at is null as e
     from seat_event order by 1, 2",
    "select t.seat_no, t.area, t.state, length(t.code) from ticket t join booking using (event_id, booking_id)
     order by created_at, 1, 2, ticket_id",
    "select topic, payload - 'booking' as p, payload ->> 'booking' = booking_id::text as b from outbox order by seq",
    "select key, event_id, attempt, booking_id is null as b, hold_id is null as h, status,
            regexp_replace(headers::text, '[0-9a-f-]{36}', '') as headers from idempotency
     order by created_at, key",
];

async fn tables(app: &TestApp) -> Vec<String> {
    let mut all = Vec::new();
    for table in TABLES {
        let query = format!("select t::text from ({table}) t");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(app.db()).await.unwrap();
        all.extend(rows.into_iter().map(|row| format!("{}: {row}", table.split_whitespace().nth(1).unwrap())));
    }
    all
}

/// Leaves nothing of a document but what both nodes must say alike.
fn bleach(value: &mut Value) {
    const OWN: [&str; 12] = [
        "booking",
        "hold",
        "ticket",
        "code",
        "created_at",
        "confirmed_at",
        "expires_at",
        "request_id",
        "instance",
        "buyer_token",
        "detail",
        "expires_in_s",
    ];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if OWN.contains(&name.as_str()) && !member.is_null() {
                    *member = json!("…");
                }
                bleach(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(bleach),
        _ => {}
    }
}

fn plain(answer: &Answer) -> String {
    let mut document = if answer.text.is_empty() { Value::Null } else { answer.json() };
    bleach(&mut document);
    let replayed = answer.header("idempotency-replayed").is_some();
    format!("{} {replayed} {:?} {document}", answer.status, answer.header("retry-after"))
}

struct Pair {
    /// With a till, and without.
    apps: [TestApp; 2],
    faults: [Arc<Faults>; 2],
}

impl Pair {
    async fn start() -> Self {
        let faults = [Arc::new(Faults::default()), Arc::new(Faults::default())];
        let with = |set, faults: &Arc<Faults>| {
            TestApp::with(Options { set, faults: Some(Arc::clone(faults)), ..Options::default() })
        };
        let apps = [with(vec![], &faults[0]).await, with(vec!["checkout.till=false"], &faults[1]).await];
        Self { apps, faults }
    }

    fn fault(&self, set: impl Fn(&Faults)) {
        self.faults.iter().for_each(|faults| set(faults));
    }

    /// Plays a world on both. `done` is how many bookings, beginnings, sales and captures are the till's.
    async fn play(&self, world: &str, done: [u64; 4], play: impl AsyncFn(&TestApp) -> Vec<Answer>) {
        let before = self.apps[0].services.tills.done();
        let (mut told, mut written) = (Vec::new(), Vec::new());
        for app in &self.apps {
            told.push(play(app).await.iter().map(plain).collect::<Vec<_>>());
            written.push(tables(app).await);
        }
        assert_eq!(told[0], told[1], "{world}");
        let differ = written[0].iter().zip(&written[1]).find(|(one, other)| one != other);
        assert!(written[0] == written[1], "{world}: {differ:?}");
        let after = self.apps[0].services.tills.done();
        assert_eq!([0, 1, 2, 3].map(|step| after[step] - before[step]), done, "{world}");
        assert_eq!(self.apps[1].services.tills.done(), [0; 4], "the other has none");
    }
}

fn order(hold: &Value) -> Value {
    json!({ "hold": hold["hold"], "buyer": { "name": "Ada", "email": "ada@example.org" } })
}

fn bookings(hold: &Value) -> String {
    format!("/v1/events/{}/bookings", hold["event"].as_str().unwrap())
}

async fn held<'a>(app: &'a TestApp, event: &str, wish: Value) -> (Value, Fan<'a>) {
    let hold = app.stranger().hold(event, wish).await.expect(201);
    let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    (hold, buyer)
}

async fn booked<'a>(app: &'a TestApp, seat: &str) -> (Value, Value, Fan<'a>) {
    let (hold, buyer) = held(app, OPEN, json!({ "seats": [seat] })).await;
    let booking = buyer.book(&hold).await.expect(201);
    (hold, booking, buyer)
}

async fn change(app: &TestApp, sql: &'static str, hold: &Value) {
    let id: uuid::Uuid = hold["hold"].as_str().unwrap().parse().unwrap();
    let changed = sqlx::query(sql).bind(id).execute(app.db()).await.unwrap().rows_affected();
    assert!(changed > 0, "nothing was changed by {sql}");
}

/// From the hold to the ticket, with every request twice.
async fn whole(app: &TestApp, wish: Value, key: &str) -> Vec<Answer> {
    let (hold, buyer) = held(app, OPEN, wish).await;
    let (path, body) = (bookings(&hold), order(&hold));
    let booking = buyer.post_once(&format!("{key} book"), &path, &body).await;
    let again = buyer.post_once(&format!("{key} book"), &path, &body).await;
    let booking_path = path_of(&booking.json());
    let pay = format!("{booking_path}/confirm");
    let paid = buyer.post_once(&format!("{key} pay"), &pay, &payment("tok_ok")).await;
    let repaid = buyer.post_once(&format!("{key} pay"), &pay, &payment("tok_ok")).await;
    assert_eq!(paid.expect(200)["state"], "confirmed");
    let read = buyer.get(&booking_path).await;
    assert_eq!(read.text, paid.text, "{key}: what is read is what was told");
    vec![booking, again, paid, repaid, read]
}

/// Does something while another transaction keeps a lock, until it waits for it.
async fn beside<T>(app: &TestApp, lock: String, work: impl Future<Output = T>) -> T {
    let mut busy = app.beside().await.acquire().await.unwrap();
    for statement in ["begin", &lock] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut *busy).await.unwrap();
    }
    let free = async {
        until("somebody waits", || async {
            let waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                           where not granted and datname = current_database()";
            let tuples =
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
            let mut count = 0;
            for query in [waiting, tuples] {
                count += sqlx::query_scalar::<_, i64>(query).fetch_one(app.db()).await.unwrap();
            }
            (count > 0).then_some(())
        })
        .await;
        sqlx::query("rollback").execute(&mut *busy).await.unwrap();
    };
    tokio::join!(work, free).0
}

async fn owner(app: &TestApp, hold: &Value) -> String {
    let id: uuid::Uuid = hold["hold"].as_str().unwrap().parse().unwrap();
    sqlx::query_scalar("select owner from hold where hold_id = $1").bind(id).fetch_one(app.db()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ordinary_goes_through_the_till_and_comes_to_the_same() {
    let pair = Pair::start().await;
    pair.play("seats", [1; 4], async |app| whole(app, json!({ "seats": ["stalls-C-2", "stalls-C-1"] }), "seats").await)
        .await;
    let pit = |quantity: u32| json!([{ "area": "pit", "quantity": quantity }]);
    pair.play("an area", [1; 4], async |app| whole(app, json!({ "areas": pit(3) }), "area").await).await;
    pair.play("the buyer takes equal seats", [1; 4], async |app| {
        let (_, booking, buyer) = booked(app, "stalls-C-4").await;
        let body = json!({ "payment": { "method": "sandbox", "token": "tok_ok" }, "accept_equal": true });
        vec![buyer.post(&format!("{}/confirm", path_of(&booking)), body).await, buyer.get(&path_of(&booking)).await]
    })
    .await;
    pair.play("paid twice", [1; 4], async |app| {
        let (_, booking, buyer) = booked(app, "stalls-C-5").await;
        vec![buyer.pay(&booking, "tok_ok").await, buyer.pay(&booking, "tok_ok").await]
    })
    .await;
    for app in pair.apps {
        app.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_to_be_booked_is_left_alone() {
    let pair = Pair::start().await;
    pair.play("another's hold", [1, 0, 0, 0], async |app| {
        let (hold, buyer) = held(app, OPEN, json!({ "seats": ["stalls-C-1"] })).await;
        vec![app.fan().book(&hold).await, buyer.book(&hold).await]
    })
    .await;
    pair.play("booked twice", [1, 0, 0, 0], async |app| {
        let (hold, _, buyer) = booked(app, "stalls-C-2").await;
        vec![buyer.book(&hold).await]
    })
    .await;
    pair.play("a lapsed hold", [0; 4], async |app| {
        let (hold, buyer) = held(app, OPEN, json!({ "seats": ["stalls-C-3"] })).await;
        change(app, "update hold set expires_at = clock_timestamp() where hold_id = $1", &hold).await;
        vec![buyer.book(&hold).await]
    })
    .await;
    pair.play("a released hold", [0; 4], async |app| {
        let (hold, buyer) = held(app, OPEN, json!({ "seats": ["stalls-C-4"] })).await;
        buyer.delete(&hold_path(&hold)).await.expect(204);
        vec![buyer.book(&hold).await]
    })
    .await;
    pair.play("a key that is known", [1, 0, 0, 0], async |app| {
        let (one, buyer) = held(app, OPEN, json!({ "seats": ["stalls-C-5"] })).await;
        let other = buyer.hold(OPEN, json!({ "seats": ["stalls-C-6"] })).await.expect(201);
        let first = buyer.post_once("known", &bookings(&one), &order(&one)).await;
        vec![first, buyer.post_once("known", &bookings(&one), &order(&other)).await]
    })
    .await;
    pair.play("a key in use", [0; 4], async |app| {
        let (hold, buyer) = held(app, OPEN, json!({ "seats": ["stalls-C-7"] })).await;
        let mut busy = app.db().acquire().await.unwrap();
        let name = format!("{} in use", owner(app, &hold).await);
        let lock = "select pg_advisory_lock(hashtextextended($1, 1))";
        sqlx::query(lock).bind(&name).execute(&mut *busy).await.unwrap();
        let answer = buyer.post_once("in use", &bookings(&hold), &order(&hold)).await;
        answer.problem(409, "in-flight");
        sqlx::query("select pg_advisory_unlock_all()").execute(&mut *busy).await.unwrap();
        vec![answer]
    })
    .await;
    pair.play("a hold that somebody is at", [0; 4], async |app| {
        let (hold, buyer) = held(app, OPEN, json!({ "seats": ["stalls-D-1"] })).await;
        let lock = format!("select 1 from hold where hold_id = '{}' for update", hold["hold"].as_str().unwrap());
        vec![beside(app, lock, buyer.book(&hold)).await]
    })
    .await;
    pair.play("an event that does not take place", [0; 4], async |app| {
        let (hold, buyer) = held(app, CLUB, json!({ "areas": [{ "area": "club", "quantity": 1 }] })).await;
        cancel(app, CLUB).await;
        vec![buyer.book(&hold).await]
    })
    .await;
}

async fn cancel(app: &TestApp, event: &str) {
    let sql = "insert into event_cancellation (event_id, reason) values ($1, 'rain')";
    sqlx::query(sql).bind(event).execute(app.db()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_is_not_to_begin_is_left_alone() {
    let pair = Pair::start().await;
    pair.play("another's booking", [1, 0, 0, 0], async |app| {
        let (_, booking, _) = booked(app, "stalls-C-1").await;
        vec![app.fan().pay(&booking, "tok_ok").await]
    })
    .await;
    pair.play("a lapsed hold", [1, 0, 0, 0], async |app| {
        let (hold, booking, buyer) = booked(app, "stalls-C-2").await;
        change(app, "update hold set expires_at = clock_timestamp() where hold_id = $1", &hold).await;
        vec![buyer.pay(&booking, "tok_ok").await]
    })
    .await;
    pair.play("a second attempt", [1, 1, 1, 1], async |app| {
        let (_, booking, buyer) = booked(app, "stalls-C-3").await;
        vec![buyer.pay(&booking, "tok_declined").await, buyer.pay(&booking, "tok_ok").await]
    })
    .await;
    pair.play("a booking that is being paid", [1, 1, 0, 0], async |app| {
        let (_, booking, buyer) = booked(app, "stalls-C-4").await;
        let path = format!("{}/confirm", path_of(&booking));
        let first = buyer.post_once("async", &path, &payment("tok_async_ok")).await;
        first.expect(202);
        vec![
            first,
            buyer.post_once("async", &path, &payment("tok_async_ok")).await,
            buyer.pay(&booking, "tok_ok").await,
        ]
    })
    .await;
    pair.play("a seat that is lost", [1, 0, 0, 0], async |app| {
        let (hold, booking, buyer) = booked(app, "stalls-C-5").await;
        let lost = "update seat set state = 0, hold_id = null, expires_at = null where hold_id = $1";
        change(app, lost, &hold).await;
        vec![buyer.pay(&booking, "tok_ok").await]
    })
    .await;
    pair.play("places of an area that are lost", [1, 0, 0, 0], async |app| {
        let (hold, buyer) = held(app, OPEN, json!({ "areas": [{ "area": "pit", "quantity": 2 }] })).await;
        let booking = buyer.book(&hold).await.expect(201);
        let lost = "with lost as (update hold_area set state = 0, expires_at = null where hold_id = $1 returning quantity)
                    update area a set held = held - lost.quantity from lost where area = 'pit' and event_id = 'open-theatre'";
        change(app, lost, &hold).await;
        vec![buyer.pay(&booking, "tok_ok").await]
    })
    .await;
    pair.play("a key that is known", [1, 0, 0, 0], async |app| {
        let (hold, buyer) = held(app, OPEN, json!({ "seats": ["stalls-C-6"] })).await;
        let booking = buyer.post_once("known", &bookings(&hold), &order(&hold)).await;
        let path = format!("{}/confirm", path_of(&booking.json()));
        vec![buyer.post_once("known", &path, &payment("tok_ok")).await]
    })
    .await;
    pair.play("what costs nothing", [1, 0, 0, 0], async |app| {
        let (hold, booking, buyer) = booked(app, "stalls-C-7").await;
        for sql in [
            "update booking_seat set fee = 0, tax = 0, price = 0 where booking_id = (select booking_id from booking where hold_id = $1)",
            "update booking set fee = 0, tax = 0, total = 0 where hold_id = $1",
        ] {
            change(app, sql, &hold).await;
        }
        let paid = buyer.pay(&booking, "tok_ok").await;
        assert_eq!(paid.expect(200)["state"], "confirmed");
        vec![paid]
    })
    .await;
    pair.play("a hold that somebody is at", [1, 0, 1, 1], async |app| {
        let (hold, booking, buyer) = booked(app, "stalls-D-1").await;
        let lock = format!("select 1 from hold where hold_id = '{}' for update", hold["hold"].as_str().unwrap());
        vec![beside(app, lock, buyer.pay(&booking, "tok_ok")).await]
    })
    .await;
    pair.play("an owner who is counted", [1, 0, 1, 1], async |app| {
        let (hold, booking, buyer) = booked(app, "stalls-D-2").await;
        let name = format!("limit {OPEN} {}", owner(app, &hold).await);
        let lock = format!("select pg_advisory_xact_lock(hashtextextended('{name}', 0))");
        vec![beside(app, lock, buyer.pay(&booking, "tok_ok")).await]
    })
    .await;
    pair.play("an event that does not take place", [1, 0, 0, 0], async |app| {
        let (hold, buyer) = held(app, CLUB, json!({ "areas": [{ "area": "club", "quantity": 1 }] })).await;
        let booking = buyer.book(&hold).await.expect(201);
        cancel(app, CLUB).await;
        vec![buyer.pay(&booking, "tok_ok").await]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_provider_says_comes_to_the_same() {
    let pair = Pair::start().await;
    let world = async |name: &str, done: [u64; 4], seat: &'static str, token: &'static str| {
        pair.play(name, done, async |app| {
            let (_, booking, buyer) = booked(app, seat).await;
            let path = format!("{}/confirm", path_of(&booking));
            let first = buyer.post_once(seat, &path, &payment(token)).await;
            vec![first, buyer.post_once(seat, &path, &payment(token)).await, buyer.get(&path_of(&booking)).await]
        })
        .await;
    };
    world("no", [1, 1, 0, 0], "stalls-C-1", "tok_declined").await;
    pair.fault(|faults| faults.report_other_amounts.store(true, Ordering::SeqCst));
    world("another amount", [1, 1, 0, 0], "stalls-C-2", "tok_ok").await;
    pair.fault(|faults| faults.report_other_amounts.store(false, Ordering::SeqCst));
    pair.fault(|faults| faults.lose_authorise_answers.store(true, Ordering::SeqCst));
    world("nothing to the authorisation", [1, 1, 0, 0], "stalls-C-3", "tok_ok").await;
    pair.fault(|faults| faults.lose_authorise_answers.store(false, Ordering::SeqCst));
    pair.fault(|faults| faults.refuse_authorisations.store(true, Ordering::SeqCst));
    world("a refusal of the request", [1, 1, 0, 0], "stalls-C-4", "tok_ok").await;
    pair.fault(|faults| faults.refuse_authorisations.store(false, Ordering::SeqCst));
    pair.fault(|faults| faults.refuse_captures.store(true, Ordering::SeqCst));
    world("a refusal of the capture", [1, 1, 1, 0], "stalls-C-5", "tok_ok").await;
    pair.fault(|faults| faults.refuse_captures.store(false, Ordering::SeqCst));
    pair.fault(|faults| faults.lose_captures.store(true, Ordering::SeqCst));
    world("nothing to the capture", [1, 1, 1, 0], "stalls-C-6", "tok_ok").await;
    pair.fault(|faults| faults.lose_captures.store(false, Ordering::SeqCst));
    world("yes", [1; 4], "stalls-C-7", "tok_ok").await;
    for app in pair.apps {
        app.check().await;
    }
}
