//! Goal: what has lapsed is taken back, no more of it than needed, and nothing broken holds that up. Method: holds
//! whose clocks are pushed in the table, sweeps by hand.

use serde_json::json;

use crate::holds::{fifty, lapse};
use crate::support::{CLUB, OPEN, Options, TestApp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_as_much_is_taken_back_as_is_needed() {
    let app = TestApp::with(Options { set: vec!["holds.max_seats_per_visitor=50"], ..Options::default() }).await;
    let places = |quantity: u32| json!({ "areas": [{ "area": "club", "quantity": quantity }] });
    let mut holds = Vec::new();
    for quantity in [10, 20, 20] {
        holds.push(app.stranger().hold(CLUB, places(quantity)).await.expect(201));
    }
    for hold in &holds[..2] {
        lapse(&app, hold).await;
    }
    let expired = async || -> Vec<i32> {
        let query = "select quantity from hold_area where state = 0 order by expires_at, quantity";
        sqlx::query_scalar(query).fetch_all(app.db()).await.unwrap()
    };
    let refused = app.stranger().hold(CLUB, places(31)).await.problem(409, "not-enough");
    assert_eq!((&refused["available"], expired().await), (&json!(30), vec![]), "nothing is touched for a refusal");
    app.stranger().hold(CLUB, places(3)).await.expect(201);
    assert_eq!(expired().await, [10], "the oldest is enough");
    app.stranger().hold(CLUB, places(27)).await.expect(201);
    assert_eq!(expired().await.len(), 2);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn areas_are_locked_in_one_order_whatever_the_database_sorts_by() {
    let app = TestApp::with(Options { set: vec!["holds.max_seats_per_visitor=50"], ..Options::default() }).await;
    // A language that skips hyphens, as many a server's default does.
    for statement in [
        "create collation skipping (provider = icu, locale = 'en-u-ka-shifted')",
        "alter table area alter column area type text collate skipping",
        "alter table hold_area alter column area type text collate skipping",
    ] {
        sqlx::query(statement).execute(app.db()).await.unwrap();
    }
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("event.toml");
    let text = crate::support::description(CLUB).replace("id = \"club\"", "id = \"two-areas\"");
    let (head, area) = text.split_once("[[areas]]").unwrap();
    let area = |name: &str, capacity: &str| {
        let area = area.replace("area = \"club\"", &format!("area = \"{name}\""));
        format!("[[areas]]{}", area.replace("capacity = 50", &format!("capacity = {capacity}")))
    };
    std::fs::write(&file, format!("{head}{}{}", area("ab", "1"), area("a-c", "20"))).unwrap();
    booking::app::import_event::import_event(app.db(), &file).await.unwrap();
    let wish = json!({ "areas": [{ "area": "a-c", "quantity": 20 }, { "area": "ab", "quantity": 1 }] });
    app.stranger().hold("two-areas", wish).await.expect(201);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broken_event_holds_up_no_other_s_sweep() {
    let app = TestApp::with(Options { set: vec!["holds.max_seats_per_visitor=50"], ..Options::default() }).await;
    let club = app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 1 }] })).await.expect(201);
    lapse(&app, &club).await;
    // Its counters do not fit its holds: taking the hold out of them is refused by the table.
    sqlx::query("update area set held = 0 where event_id = $1").bind(CLUB).execute(app.db()).await.unwrap();
    for seat in fifty() {
        let (hold, _) = app.stranger().hold_seats(OPEN, &[&seat]).await;
        lapse(&app, &hold).await;
    }
    // More than one batch.
    sqlx::query(
        "insert into hold (event_id, hold_id, owner, state, expires_at)
         select $1, gen_random_uuid(), 'buyer:abcdefghijklmnopqrst-_', 'active', clock_timestamp() from generate_series(1, 200)",
    )
    .bind(OPEN)
    .execute(app.db())
    .await
    .unwrap();
    assert_eq!(booking::app::expire_holds::expire_holds(&app.services).await.unwrap(), 250);
    sqlx::query("update area set held = 1 where event_id = $1").bind(CLUB).execute(app.db()).await.unwrap();
    assert_eq!(booking::app::expire_holds::expire_holds(&app.services).await.unwrap(), 1);
    app.check().await;
}
