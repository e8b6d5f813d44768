//! Goal: the tables refuse every step that the types refuse. Method: all pairs of states, asked of both.

use booking_domain::{BookingState, InvalidTransition, PaymentState};

use crate::money::booked;
use crate::support::TestApp;

type Steps<S> = Vec<fn(S) -> Result<S, InvalidTransition>>;

/// Pairs of different states that some step leads through.
fn pairs<S: Copy + PartialEq>(all: &[S], steps: &Steps<S>, name: fn(S) -> &'static str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for state in all {
        for step in steps {
            if let Ok(next) = step(*state)
                && next != *state
            {
                pairs.push((name(*state).to_owned(), name(next).to_owned()));
            }
        }
    }
    pairs.sort();
    pairs.dedup();
    pairs
}

async fn allowed(app: &TestApp, function: &str, states: Vec<String>) -> Vec<(String, String)> {
    let sql = format!(
        "select w, b from unnest($1::text[]) w, unnest($1::text[]) b where {function}(w, b) order by w collate \"C\", b collate \"C\""
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(states).fetch_all(app.db()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_allow_what_the_types_allow() {
    let app = TestApp::start().await;
    let bookings: Steps<BookingState> = vec![
        BookingState::start_payment,
        BookingState::confirm,
        BookingState::rescue,
        BookingState::payment_failed,
        BookingState::expire,
        BookingState::capture_refused,
        BookingState::cancel,
        BookingState::refund,
    ];
    let names = BookingState::ALL.iter().map(|state| state.name().to_owned()).collect();
    assert_eq!(
        allowed(&app, "booking_may_become", names).await,
        pairs(BookingState::ALL, &bookings, BookingState::name)
    );
    let payments: Steps<PaymentState> = vec![
        PaymentState::authorize,
        PaymentState::rescue,
        PaymentState::decline,
        PaymentState::fail,
        PaymentState::capture,
        PaymentState::void,
        PaymentState::refund,
        // Two steps in one look.
        |state| state.capture()?.refund(),
    ];
    let names = PaymentState::ALL.iter().map(|state| state.name().to_owned()).collect();
    assert_eq!(
        allowed(&app, "payment_may_become", names).await,
        pairs(PaymentState::ALL, &payments, PaymentState::name)
    );
    // And they do refuse.
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    buyer.pay(&booking, "tok_ok").await.expect(200);
    for sql in [
        "update booking set state = 'held', confirmed_at = null",
        "update payment set state = 'created'",
        "update payment set refund_due = amount + 1",
        "update payment set refunded = 1",
        "delete from payment",
    ] {
        let refused = sqlx::query(sql).execute(app.db()).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert!(code.is_some_and(|code| code.starts_with("23")), "{sql}: {refused}");
    }
    app.check().await;
}
