//! Goal: every lifecycle allows exactly the steps that are drawn in its module, and refuses the rest.
//! Method: one table per lifecycle of all (state, step) pairs; random walks over holds on top.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use booking_domain::{BookingState, Hold, HoldState, InvalidTransition, PaymentState, TicketState};
use jiff::Timestamp;
use proptest::prelude::*;

type Step<S> = (&'static str, fn(S) -> Result<S, InvalidTransition>);

/// Checks all pairs: those listed lead where the table says, all others are refused.
fn check<S: Copy + PartialEq + std::fmt::Debug>(states: &[S], steps: &[Step<S>], allowed: &[(S, &str, S)]) {
    for state in states {
        for (name, step) in steps {
            let expected = allowed.iter().find(|(from, step, _)| from == state && step == name).map(|row| row.2);
            let got = step(*state);
            assert_eq!(got.ok(), expected, "{state:?} {name}");
            if let Err(refused) = got {
                assert!(refused.to_string().contains("cannot"), "{refused}");
            }
        }
    }
}

#[test]
fn bookings() {
    use BookingState::{Cancelled, Confirmed, Expired, Failed, Held, PaymentPending, Refunded};
    let steps: &[Step<BookingState>] = &[
        ("start", BookingState::start_payment),
        ("confirm", BookingState::confirm),
        ("rescue", BookingState::rescue),
        ("payment_failed", BookingState::payment_failed),
        ("expire", BookingState::expire),
        ("capture_refused", BookingState::capture_refused),
        ("cancel", BookingState::cancel),
        ("refund", BookingState::refund),
    ];
    let allowed = [
        (Held, "start", PaymentPending),
        (PaymentPending, "confirm", Confirmed),
        (Held, "rescue", Confirmed),
        (Expired, "rescue", Confirmed),
        (PaymentPending, "payment_failed", Held),
        (Held, "expire", Expired),
        (PaymentPending, "expire", Expired),
        (Confirmed, "capture_refused", Failed),
        (Held, "cancel", Cancelled),
        (Confirmed, "cancel", Cancelled),
        (Cancelled, "cancel", Cancelled),
        (Refunded, "cancel", Refunded),
        (Cancelled, "refund", Refunded),
    ];
    check(BookingState::ALL, steps, &allowed);
}

#[test]
fn payments() {
    use PaymentState::{Authorized, Captured, Created, Declined, Failed, Refunded, Voided};
    let steps: &[Step<PaymentState>] = &[
        ("authorize", PaymentState::authorize),
        ("rescue", PaymentState::rescue),
        ("decline", PaymentState::decline),
        ("fail", PaymentState::fail),
        ("capture", PaymentState::capture),
        ("void", PaymentState::void),
        ("refund", PaymentState::refund),
    ];
    let allowed = [
        (Created, "authorize", Authorized),
        (Failed, "rescue", Authorized),
        (Declined, "void", Voided),
        (Declined, "refund", Refunded),
        (Created, "decline", Declined),
        (Created, "fail", Failed),
        (Authorized, "fail", Failed),
        (Authorized, "capture", Captured),
        (Created, "void", Voided),
        (Authorized, "void", Voided),
        (Failed, "void", Voided),
        (Captured, "refund", Refunded),
        (Failed, "refund", Refunded),
    ];
    check(PaymentState::ALL, steps, &allowed);
}

#[test]
fn tickets() {
    check(
        TicketState::ALL,
        &[("void", TicketState::void)],
        &[(TicketState::Valid, "void", TicketState::Void), (TicketState::Void, "void", TicketState::Void)],
    );
}

#[test]
fn names_round_trip() {
    for state in HoldState::ALL {
        assert_eq!(state.name().parse::<HoldState>().as_ref(), Ok(state));
    }
    for state in BookingState::ALL {
        assert_eq!(state.name().parse::<BookingState>().as_ref(), Ok(state));
    }
    for state in PaymentState::ALL {
        assert_eq!(state.name().parse::<PaymentState>().as_ref(), Ok(state));
    }
    assert!("paid".parse::<BookingState>().is_err());
}

proptest! {
    /// However steps and time are mixed: an ended hold stays ended, a pending one never expires, and an
    /// expired one is never paid for.
    #[test]
    fn holds_keep_their_promises(steps in prop::collection::vec((0u8..4, 0i64..40), 1..40)) {
        let second = |s: i64| Timestamp::from_second(s).unwrap();
        let mut hold = Hold { state: HoldState::Active, expires_at: second(200) };
        let mut now = 0;
        for (step, later) in steps {
            now += later;
            let before = hold.at(second(now));
            prop_assert!(hold.state != HoldState::Pending || before.state == HoldState::Pending);
            let after = match step {
                0 => before.start_payment(),
                1 => before.payment_failed(),
                2 => before.consume(),
                _ => before.release(),
            };
            match before.state {
                HoldState::Consumed => prop_assert!(after.is_err()),
                HoldState::Expired | HoldState::Released => {
                    prop_assert!(after.is_err() || after == Ok(before));
                }
                HoldState::Active => prop_assert!(now < 200),
                HoldState::Pending => {}
            }
            hold = after.unwrap_or(before);
            prop_assert_eq!(hold.expires_at, second(200));
        }
    }
}
