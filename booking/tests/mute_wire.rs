//! Goal: a database that goes mute, as a machine without power does, takes no connection of a node with it for ever.
//! Method: a wire that swallows all requests and is never cut, as many requests as there are connections, and then a
//! wire that carries again, but no answer to what was swallowed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{OPEN, Options, TestApp, Wire, hold_path, until};

/// Longer than any request is worked at.
const ANSWERED: Duration = Duration::from_secs(40);
/// As many as the pool of the requests has connections.
const AT_ONCE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_leaves_its_connection() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let fan = app.stranger();
    // All connections are open, and lie in the pool.
    join_all((0..AT_ONCE * 8).map(|_| fan.get("/v1/events"))).await;
    until("they are back", || async { (app.db().num_idle() == AT_ONCE).then_some(()) }).await;
    wire.set_mute(true);
    let asked = join_all((0..AT_ONCE).map(|_| fan.get("/readyz"))).await;
    assert!(asked.iter().all(|answer| answer.status == 503), "the fault did not bite");
    wire.set_mute(false);
    let read = until("a connection is free", || async { (fan.get("/v1/events").await.status == 200).then_some(()) });
    tokio::time::timeout(ANSWERED, read).await.expect("a connection is free");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn every_request_that_met_a_mute_database_is_answered() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let fan = app.stranger();
    let mut holds = Vec::new();
    for number in 1..=4 {
        holds.push(app.stranger().hold_seats(OPEN, &[&format!("stalls-B-{number}")]).await);
    }
    wire.set_mute(true);
    let began = Instant::now();
    let reads = join_all((0..AT_ONCE - holds.len()).map(|_| fan.get("/v1/events")));
    let releases = join_all(holds.iter().map(|(hold, buyer)| async { buyer.delete(&hold_path(hold)).await }));
    let answers = tokio::time::timeout(ANSWERED, async { tokio::join!(reads, releases) }).await;
    let (reads, releases) = answers.expect("every request is answered");
    assert!(began.elapsed() > Duration::from_secs(2), "the fault did not bite");
    for answer in reads.iter().chain(&releases) {
        answer.problem(503, "unavailable");
    }

    wire.set_mute(false);
    until("events can be read", || async { (fan.get("/v1/events").await.status == 200).then_some(()) }).await;
    for (hold, buyer) in &holds {
        until("a hold can be released", || async {
            let status = buyer.delete(&hold_path(hold)).await.status;
            (status == 204 || status == 410).then_some(())
        })
        .await;
    }
    app.check().await;
}
