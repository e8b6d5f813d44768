//! Goal: announcements arrive at least once, in the order of each booking, and one that cannot be delivered holds up
//! its own booking alone. Method: a consumer that fails and panics on command; a real node that is told to stop.

use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use booking::app::deliver_announcements::{Consumer, ConsumerError, deliver_announcements};
use booking::storage::outbox::{self, Announcement};
use serde_json::json;
use sqlx::Connection;

use crate::money::{booked, settled};
use crate::support::{Options, TestApp, path_of, until, value};

/// Keeps what it gets; refuses or panics on the topics of one booking.
#[derive(Debug, Default)]
struct Picky {
    got: Mutex<Vec<(i64, String, String)>>,
    poison: Mutex<Option<String>>,
}

#[async_trait]
impl Consumer for Picky {
    async fn take(&self, announcement: &Announcement) -> Result<(), ConsumerError> {
        let booking = announcement.booking_id.to_string();
        if self.poison.lock().unwrap().as_ref() == Some(&booking) {
            assert!(announcement.attempts % 2 == 0, "a payload that nobody can bear");
            return Err("not now".into());
        }
        self.got.lock().unwrap().push((announcement.seq, booking, announcement.topic.clone()));
        Ok(())
    }
}

impl Picky {
    fn topics(&self, booking: &str) -> Vec<String> {
        let got = self.got.lock().unwrap();
        got.iter().filter(|one| one.1 == booking).map(|one| one.2.clone()).collect()
    }
}

async fn picky() -> (TestApp, Arc<Picky>) {
    let consumer = Arc::new(Picky::default());
    let set = vec!["checkout.outbox_tries=4"];
    let options = Options { set, jobs: true, consumer: Some(Arc::<Picky>::clone(&consumer)), ..Options::default() };
    (TestApp::with(options).await, consumer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_announcement_holds_up_its_own_booking_alone() {
    let (app, consumer) = picky().await;
    let (poisoned, its_buyer) = booked(&app, "stalls-C-1").await;
    let bad = poisoned["booking"].as_str().unwrap().to_owned();
    *consumer.poison.lock().unwrap() = Some(bad.clone());
    its_buyer.pay(&poisoned, "tok_ok").await.expect(200);
    its_buyer.post(&format!("{}/cancel", path_of(&poisoned)), json!({})).await.expect(200);
    settled(&its_buyer, &poisoned, "refunded", "refunded").await;
    for seat in ["stalls-C-2", "stalls-C-3"] {
        let (booking, buyer) = booked(&app, seat).await;
        buyer.pay(&booking, "tok_ok").await.expect(200);
        let id = booking["booking"].as_str().unwrap().to_owned();
        until("others flow", || async { (consumer.topics(&id) == ["booking.confirmed"]).then_some(()) }).await;
    }
    let aside = until("it is set aside", || async {
        sqlx::query("update outbox set due_at = clock_timestamp() where delivered_at is null")
            .execute(app.db())
            .await
            .unwrap();
        let (waiting, aside) = outbox::counts(app.db()).await.unwrap();
        (aside == 1).then_some(waiting)
    })
    .await;
    assert_eq!(aside, 2, "those after it wait for it");
    let list = outbox::list(app.db(), 10).await.unwrap();
    assert!(list[0].is_aside && list[0].attempts == 4 && list[0].last_error.is_some(), "{list:?}");
    assert!(consumer.topics(&bad).is_empty());
    // Mended, and tried again by an operator: in order.
    *consumer.poison.lock().unwrap() = None;
    assert_eq!(outbox::replay(app.db(), None).await.unwrap(), 1);
    until("all arrive", || async {
        (consumer.topics(&bad) == ["booking.confirmed", "booking.cancelled", "booking.refunded"]).then_some(())
    })
    .await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_and_not_noted_is_sent_again_under_the_same_number() {
    let (app, consumer) = picky().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    buyer.pay(&booking, "tok_ok").await.expect(200);
    let id = booking["booking"].as_str().unwrap().to_owned();
    until("it arrives", || async { (!consumer.topics(&id).is_empty()).then_some(()) }).await;
    // As after a crash between sending and noting.
    until("noted", || async { (outbox::counts(app.db()).await.unwrap() == (0, 0)).then_some(()) }).await;
    sqlx::query("update outbox set delivered_at = null, due_at = clock_timestamp()").execute(app.db()).await.unwrap();
    until("again", || async { (consumer.topics(&id).len() == 2).then_some(()) }).await;
    let got = consumer.got.lock().unwrap().clone();
    assert_eq!(got[0], got[1], "a consumer knows it by its number");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_the_work_without_doubling_it() {
    let consumer = Arc::new(Picky::default());
    let options = Options { consumer: Some(Arc::<Picky>::clone(&consumer)), ..Options::default() };
    let app = TestApp::with(options).await;
    for n in 1..=4 {
        let (booking, buyer) = booked(&app, &format!("stalls-C-{n}")).await;
        buyer.pay(&booking, "tok_ok").await.expect(200);
    }
    let rounds = (0..6).map(|_| deliver_announcements(&app.services));
    let delivered: usize = futures_util::future::join_all(rounds).await.into_iter().map(Result::unwrap).sum();
    assert_eq!((delivered, consumer.got.lock().unwrap().len()), (4, 4));
    app.check().await;
}

/// How many pages of memory or disk the next take looks at; it takes what is due.
async fn pages_of_a_take(app: &TestApp) -> i64 {
    let query = "explain (analyze, buffers, format json) select * from take_announcements(16, 15)";
    let plan: serde_json::Value = sqlx::query_scalar(query).fetch_one(app.db()).await.unwrap();
    let count = |what: &str| plan[0]["Plan"][what].as_i64().unwrap();
    count("Shared Hit Blocks") + count("Shared Read Blocks")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_behind_one_that_is_set_aside_cost_nothing() {
    let consumer = Arc::new(Picky::default());
    let options = Options { consumer: Some(Arc::<Picky>::clone(&consumer)), ..Options::default() };
    let app = TestApp::with(options).await;
    // Behind one that is set aside, and each behind one of its own that is.
    for statement in [
        "insert into outbox (event_id, booking_id, topic, payload, quarantined_at)
         values ('open-theatre', '00000000-0000-0000-0000-000000000001', 'a', '{}', clock_timestamp())",
        "insert into outbox (event_id, booking_id, topic, payload)
         select 'open-theatre', '00000000-0000-0000-0000-000000000001', 'b', '{}' from generate_series(1, 3000)",
        "with aside as (
             insert into outbox (event_id, booking_id, topic, payload, quarantined_at)
             select 'open-theatre', gen_random_uuid(), 'a', '{}', clock_timestamp() from generate_series(1, 3000)
             returning booking_id)
         insert into outbox (event_id, booking_id, topic, payload) select 'open-theatre', booking_id, 'b', '{}' from aside",
    ] {
        sqlx::query(statement).execute(app.db()).await.unwrap();
    }
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    buyer.pay(&booking, "tok_ok").await.expect(200);
    // It comes after all of them, and each take looks at few: still it is soon there.
    let id = booking["booking"].as_str().unwrap().to_owned();
    let mut goes = 0;
    while consumer.topics(&id).is_empty() {
        deliver_announcements(&app.services).await.unwrap();
        goes += 1;
        assert!(goes < 40, "6000 that wait hold up another booking");
    }
    assert_eq!(consumer.got.lock().unwrap().len(), 1, "nothing else may go");
    let pages = pages_of_a_take(&app).await;
    assert!(pages < 100, "{pages} pages for nothing");

    // One that is tried again wakes those behind it, one by one and in order.
    let first: i64 = sqlx::query_scalar("select min(seq) from outbox").fetch_one(app.db()).await.unwrap();
    sqlx::query("delete from outbox where booking_id = '00000000-0000-0000-0000-000000000001' and seq > $1")
        .bind(first + 20)
        .execute(app.db())
        .await
        .unwrap();
    assert_eq!(outbox::replay(app.db(), Some(first)).await.unwrap(), 1);
    for _ in 0..=20 {
        assert!(deliver_announcements(&app.services).await.unwrap() > 0);
        if consumer.got.lock().unwrap().len() == 22 {
            break;
        }
    }
    let got: Vec<i64> = consumer.got.lock().unwrap().iter().skip(1).map(|one| one.0).collect();
    assert_eq!(got, (first..=first + 20).collect::<Vec<_>>());
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_put_off_while_the_one_before_it_is_delivered_is_woken() {
    let app = TestApp::with(Options::default()).await;
    let beside = app.beside().await;
    let insert = "insert into outbox (event_id, booking_id, topic, payload)
                  values ('open-theatre', '00000000-0000-0000-0000-000000000001', 'a', '{}')";
    sqlx::query(insert).execute(app.db()).await.unwrap();
    let first = outbox::take_due(app.db(), 16, 15).await.unwrap().remove(0).seq;
    sqlx::query(insert).execute(app.db()).await.unwrap();
    // Another node puts the second off, and its transaction is still to end while the first is marked.
    let mut conn = beside.acquire().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let taken = sqlx::query("select * from take_announcements(16, 15)").fetch_all(&mut *tx).await.unwrap();
    assert!(taken.is_empty(), "the first is not delivered yet");
    let pool = app.db().clone();
    let delivered = tokio::spawn(async move { outbox::delivered(&pool, &[first]).await });
    until("it is marked, or waits for the other", || async {
        let waits =
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        (delivered.is_finished() || value::<i64>(&beside, waits).await > 0).then_some(())
    })
    .await;
    tx.commit().await.unwrap();
    delivered.await.unwrap().unwrap();
    let next = outbox::take_due(app.db(), 16, 15).await.unwrap();
    assert_eq!(next.iter().map(|one| one.seq).collect::<Vec<_>>(), [first + 1]);
    drop(conn);
    beside.close().await;
    app.check().await;
}

/// What a consumer of announcements got: the keys, and what they announced.
type Posted = Arc<Mutex<Vec<(String, String)>>>;

async fn serve_consumer() -> (String, Posted) {
    let posted = Posted::default();
    let kept = Arc::clone(&posted);
    let take = move |headers: axum::http::HeaderMap, axum::Json(body): axum::Json<serde_json::Value>| async move {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        assert_eq!(key, format!("announcement {}", body["seq"]));
        kept.lock().unwrap().push((key, body["topic"].as_str().unwrap().to_owned()));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let routes = axum::Router::new().route("/hook", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, posted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_in_order_posts_what_is_due_before_it_goes() {
    let app = TestApp::with(Options::default()).await;
    let (hook, posted) = serve_consumer().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_usher-booking"));
    command.args(["serve", "--config"]).arg(app.config_file());
    // Nothing is delivered by itself as long as this test runs.
    command.args(["--set", &format!("listen={free}"), "--set", &format!("checkout.outbox_url={hook}")]);
    command.args(["--set", "jobs.reconcile_every_ms=3600000"]);
    let node = Killed(Mutex::new(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()));
    let url = format!("http://{free}");
    until("the node listens", || async { app.client.get(format!("{url}/livez")).send().await.ok() }).await;

    let (first, buyer) = booked(&app, "stalls-C-1").await;
    buyer.at(&url).pay(&first, "tok_ok").await.expect(200);
    assert_eq!(outbox::counts(app.db()).await.unwrap(), (1, 0));
    // Another is being paid when the signal comes.
    let (second, buyer) = booked(&app, "stalls-C-2").await;
    let slow = json!({ "kind": "latency", "on": ["authorize"], "latency_ms": 1200 });
    let slowed = app.client.post(format!("{}/v1/faults", app.psp)).json(&slow).send().await.unwrap();
    assert!(slowed.status().is_success());
    let buyer = buyer.at(&url);
    let signal = async {
        until("its payment has begun", || async {
            (value::<i64>(app.db(), "select count(*) from payment where state = 'created'").await == 1).then_some(())
        })
        .await;
        assert!(posted.lock().unwrap().is_empty());
        let pid = node.0.lock().unwrap().id().to_string();
        let told = std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        until("what was due before is posted", || async { (!posted.lock().unwrap().is_empty()).then_some(()) }).await;
        assert_eq!(value::<i64>(app.db(), "select count(*) from outbox").await, 1, "the other is still to come");
    };
    let (paid, ()) = tokio::join!(buyer.pay(&second, "tok_ok"), signal);
    paid.expect(200);
    let ended = until("the node has ended", || async { node.0.lock().unwrap().try_wait().unwrap() });
    assert!(ended.await.success());
    let topics: Vec<String> = posted.lock().unwrap().iter().map(|one| one.1.clone()).collect();
    assert_eq!(topics, ["booking.confirmed", "booking.confirmed"]);
    assert_eq!(outbox::counts(app.db()).await.unwrap(), (0, 0));
    app.check().await;
}

/// A process that does not outlive its test.
struct Killed(Mutex<Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}
