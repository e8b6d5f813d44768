//! Goal: a payment at which every look fails is seen by a person, goes on being looked at, less and less often, and
//! is over by itself when a look succeeds. Method: a booking that cannot be sold, and captures that get lost.

use std::sync::atomic::Ordering;

use booking::storage::alarms::{self, Alarmed};

use crate::attempts::look_now;
use crate::money::{booked, faulty, settled, sold_and_not_captured, taken};
use crate::operators::admin;
use crate::support::{TestApp, path_of, until, value};

/// Has the payment looked at again and again until it is on the list.
async fn alarmed(app: &TestApp) -> Alarmed {
    until("somebody is called", || async {
        look_now(app, 1).await;
        alarms::list(app.db(), 10).await.unwrap().pop()
    })
    .await
}

/// In how many seconds the only payment is looked at next, as a look that failed has said.
async fn next_look_in_s(app: &TestApp) -> f64 {
    until("a look has failed", || async {
        // Longer than the lease of a look, by the settings of these tests.
        let query = "select extract(epoch from check_at - clock_timestamp())::double precision from payment
                     where failures >= 5 and check_at > clock_timestamp() + interval '7 seconds'";
        sqlx::query_scalar(query).fetch_optional(app.db()).await.unwrap()
    })
    .await
}

async fn nobody_is_called(app: &TestApp) {
    until("nobody has to look", || async { alarms::list(app.db(), 10).await.unwrap().is_empty().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_fails_for_ever_is_shown_and_tried_on() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    faults.lose_authorise_answers.store(true, Ordering::SeqCst);
    faults.lose_questions.store(true, Ordering::SeqCst);
    buyer.pay(&booking, "tok_ok").await.expect(202);
    // A row that no lifecycle allows: the hold does not have all places of the booking.
    let spoil = "insert into booking_seat (event_id, booking_id, seat_no, fee, tax, price)
                 select event_id, booking_id, 18, 0, 0, 0 from booking";
    sqlx::query(spoil).execute(app.db()).await.unwrap();
    faults.lose_questions.store(false, Ordering::SeqCst);

    let shown = alarmed(&app).await;
    assert!(shown.why.starts_with("failed ") && shown.why.contains("only 1 of 2 seats"), "{shown:?}");
    assert_eq!((shown.state.as_str(), shown.amount), ("created", 4350));
    let (said, ok) = admin(&app, &["payments", "list"]).await;
    assert!(ok && said.contains("only 1 of 2 seats") && said.contains("1 payments to look at"), "{said}");
    // It is looked at again, and never so late that its seats would be pending beyond the cap.
    let in_s = next_look_in_s(&app).await;
    assert!(in_s <= 10.0, "{in_s} s");
    // Taken off the list it comes back, since it still fails.
    assert!(alarms::seen(app.db(), &shown.reference).await.unwrap());
    assert!(alarms::list(app.db(), 10).await.unwrap().is_empty());
    alarmed(&app).await;

    sqlx::query("delete from booking_seat where seat_no = 18").execute(app.db()).await.unwrap();
    look_now(&app, 1).await;
    settled(&buyer, &booking, "confirmed", "captured").await;
    nobody_is_called(&app).await;
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_is_lost_again_and_again_is_shown() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = sold_and_not_captured(&app, &faults).await;
    let shown = alarmed(&app).await;
    assert!(shown.why.contains("Capture") && shown.why.contains("the answer was lost"), "{shown:?}");
    // It is looked at again, later and later.
    let in_s = next_look_in_s(&app).await;
    assert!(in_s > 20.0, "{in_s} s");
    faults.lose_captures.store(false, Ordering::SeqCst);
    look_now(&app, 1).await;
    settled(&buyer, &booking, "confirmed", "captured").await;
    nobody_is_called(&app).await;
    assert_eq!(taken(&app).await, 4350);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_provider_does_not_answer_nobody_is_called() {
    let (app, faults) = faulty().await;
    let (booking, buyer) = sold_and_not_captured(&app, &faults).await;
    faults.lose_questions.store(true, Ordering::SeqCst);
    until("many have looked", || async {
        look_now(&app, 1).await;
        (value::<i32>(app.db(), "select checks from payment").await >= 10).then_some(())
    })
    .await;
    assert!(value::<i32>(app.db(), "select failures from payment").await <= 1, "one look may have asked before");
    assert!(alarms::list(app.db(), 10).await.unwrap().is_empty());
    assert_eq!(buyer.get(&path_of(&booking)).await.expect(200)["state"], "confirmed");
    app.check().await;
}
