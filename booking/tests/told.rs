//! Goal: whoever looks on learns at once of changes that no request for seats makes. Method: the bell that a node rings
//! for the others is heard on the wire, after all that rang before was heard.

use booking::app::cancel_event::{cancel_batch, cancel_event};
use serde_json::json;
use sqlx::postgres::PgListener;

use crate::money::booked;
use crate::support::{CLUB, GUARDED, OPEN, Options, TestApp, waiting};

/// Somebody who hears the bell.
struct Ear {
    listener: PgListener,
}

impl Ear {
    async fn of(app: &TestApp) -> Self {
        let mut listener = PgListener::connect(app.database()).await.unwrap();
        listener.listen("usher_seats").await.unwrap();
        Self { listener }
    }

    /// Waits until it rings for an event.
    async fn hear(&mut self, event: &str) {
        let heard = async {
            loop {
                let said = self.listener.recv().await.unwrap();
                if said.payload().split(' ').nth(1) == Some(event) {
                    return;
                }
            }
        };
        let patience = std::time::Duration::from_secs(15);
        tokio::time::timeout(patience, heard).await.unwrap_or_else(|_| panic!("nothing rang for {event}"));
    }

    /// Hears everything that was rung for until now: what is rung for together comes in any order, what is rung for
    /// later comes later.
    async fn catch_up(&mut self, app: &TestApp) {
        for mark in ["stalls-A-1", "stalls-A-2"] {
            app.fan().hold_seats(GUARDED, &[mark]).await;
            self.hear(GUARDED).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_bookings_of_an_event_that_does_not_take_place() {
    let app = TestApp::with(Options::default()).await;
    booked(&app, "stalls-C-1").await;
    let mut ear = Ear::of(&app).await;
    ear.catch_up(&app).await;
    let event = OPEN.parse().unwrap();
    cancel_event(&app.services, &event, "the singer is ill").await.unwrap();
    assert_eq!(cancel_batch(&app.services, &event).await.unwrap().cancelled, 1);
    ear.hear(OPEN).await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_sold_for_nothing() {
    let app = TestApp::with(Options::default()).await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("event.toml");
    let text = crate::support::description(CLUB);
    let text = text.replace("id = \"club\"", "id = \"gift\"").replace("fee = 150", "fee = 0");
    std::fs::write(&file, text.replace("amount = 2200", "amount = 0")).unwrap();
    booking::app::import_event::import_event(app.db(), &file).await.unwrap();
    let wish = json!({ "areas": [{ "area": "club", "quantity": 2 }] });
    let hold = app.stranger().hold("gift", wish).await.expect(201);
    let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    let booking = buyer.book(&hold).await.expect(201);
    let mut ear = Ear::of(&app).await;
    ear.catch_up(&app).await;
    assert_eq!(buyer.pay(&booking, "tok_ok").await.expect(200)["state"], "confirmed");
    ear.hear("gift").await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_holds_whose_holder_did_not_wait() {
    let app = TestApp::with(Options::default()).await;
    let mut ear = Ear::of(&app).await;
    ear.catch_up(&app).await;
    // The seat is locked until its taker has gone.
    let mut conn = app.beside().await.acquire().await.unwrap();
    let locked = "select from seat where event_id = $1 for update";
    let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
    sqlx::query(locked).bind(OPEN).execute(&mut *tx).await.unwrap();
    let taker = app.stranger();
    let gone = async { taker.hold(OPEN, json!({ "seats": ["stalls-C-1"] })).await };
    tokio::select! {
        answer = gone => panic!("the seat was locked: {}", answer.text),
        () = waiting(app.db(), 1) => {}
    }
    tx.rollback().await.unwrap();
    ear.hear(OPEN).await;
    app.check().await;
}
