//! Goal: what operators do by hand works as the binary that ships. Method: run it beside a node.

use std::process::Command;

use serde_json::json;

use crate::money::{booked, settled, taken};
use crate::support::{CLUB, OPEN, TestApp, path_of, until};

/// Runs `usher-booking admin …`; what it printed, and whether it succeeded.
pub(crate) async fn admin(app: &TestApp, words: &[&str]) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher-booking"));
    command.arg("admin").args(words).arg("--config").arg(app.config_file());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (said, output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_event_is_paid_back_to_the_end_and_again_changes_nothing() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        let hold = app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 1 }] })).await.expect(201);
        let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
        let booking = buyer.book(&hold).await.expect(201);
        buyer.pay(&booking, "tok_ok").await.expect(200);
    }
    assert!(taken(&app).await > 0);
    for says in ["is cancelled", "was cancelled before"] {
        let (said, ok) = admin(&app, &["cancel-event", CLUB, "--reason", "the singer is ill"]).await;
        assert!(ok && said.contains(says) && said.contains("is cancelled and paid back"), "{said}");
    }
    assert_eq!(taken(&app).await, 0);
    let (said, ok) = admin(&app, &["cancel-event", "nobody", "--reason", "x"]).await;
    assert!(!ok, "{said}");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_announcements_and_alarms() {
    let app = TestApp::start().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    buyer.pay(&booking, "tok_ok").await.expect(200);
    settled(&buyer, &booking, "confirmed", "captured").await;
    let id = booking["booking"].as_str().unwrap();
    let refund = ["refund", OPEN, id, "--amount", "350", "--reason", "bad view", "--request", "case 7"];
    for says in ["350 of booking", "was decided before"] {
        let (said, ok) = admin(&app, &refund).await;
        assert!(ok && said.contains(says), "{said}");
    }
    until("it went back", || async { (taken(&app).await == 4000).then_some(()) }).await;
    let (said, ok) = admin(&app, &["refund", OPEN, id, "--amount", "4001", "--reason", "x", "--request", "y"]).await;
    assert!(!ok && said.contains("the 4000 that are left"), "{said}");

    sqlx::query("update outbox set delivered_at = null, quarantined_at = clock_timestamp(), last_error = 'no'")
        .execute(app.db())
        .await
        .unwrap();
    let (said, ok) = admin(&app, &["outbox", "list"]).await;
    assert!(ok && said.contains("booking.confirmed") && said.contains("1 set aside"), "{said}");
    let (said, ok) = admin(&app, &["outbox", "replay"]).await;
    assert!(ok && said.contains("1 announcements are tried again"), "{said}");

    let sql = "update payment set alarm = 'look at me', alarmed_at = clock_timestamp()";
    sqlx::query(sql).execute(app.db()).await.unwrap();
    let (said, ok) = admin(&app, &["payments", "list"]).await;
    assert!(ok && said.contains("look at me") && said.contains("1 payments to look at"), "{said}");
    let reference = format!("{id}/1");
    assert!(admin(&app, &["payments", "seen", &reference]).await.1);
    assert!(!admin(&app, &["payments", "seen", &reference]).await.1, "it is off the list");
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["state"], "confirmed");
    app.check().await;
}
