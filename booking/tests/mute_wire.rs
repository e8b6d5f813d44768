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
#[ignore = "long"]
async fn requests_that_met_a_mute_database_are_answered_and_leave_their_connections() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    let mut holds = Vec::new();
    for number in 1..=8 {
        holds.push(app.stranger().hold_seats(OPEN, &[&format!("stalls-B-{number}")]).await);
    }

    wire.set_mute(true);
    let began = Instant::now();
    let reads = (0..AT_ONCE).map(|n| {
        let (hold, buyer) = &holds[n % 4];
        let path = hold_path(hold);
        async move { buyer.get(&path).await }
    });
    let releases = holds[4..].iter().map(|(hold, buyer)| {
        let path = hold_path(hold);
        async move { buyer.delete(&path).await }
    });
    let answers = async { tokio::join!(join_all(reads), join_all(releases)) };
    let (reads, releases) = tokio::time::timeout(ANSWERED, answers).await.expect("every request is answered");
    assert!(began.elapsed() > Duration::from_secs(2), "the fault did not bite");
    for answer in reads.iter().chain(&releases) {
        answer.problem(503, "unavailable");
    }

    wire.set_mute(false);
    let (hold, buyer) = &holds[0];
    until("a hold can be read", || async { (buyer.get(&hold_path(hold)).await.status == 200).then_some(()) }).await;
    for (hold, buyer) in &holds[4..] {
        until("a hold can be released", || async {
            let status = buyer.delete(&hold_path(hold)).await.status;
            (status == 204 || status == 410).then_some(())
        })
        .await;
    }
    app.check().await;
}
