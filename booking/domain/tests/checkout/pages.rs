//! `docs/CHECKOUT.md` against the code. `USHER_WRITE_PAGES=1 cargo test -p booking-domain --test checkout` writes its
//! tables anew.

use std::fmt::Write;
use std::path::Path;

use booking_domain::checkout::{Act, Age, Facts, Keep, Told, next};
use booking_domain::{BookingState, InvalidTransition, PaymentState};

/// One row of the table of answers: what is stored.
fn situations() -> Vec<(&'static str, Facts)> {
    use BookingState::{Cancelled, Confirmed, Held, PaymentPending};
    let base = Facts {
        booking: PaymentPending,
        payment: PaymentState::Created,
        told: Told::Unknown,
        age: Age::InTime,
        keep: Keep::All,
        refund_due: false,
        may_rescue: true,
    };
    let authorized = Facts { payment: PaymentState::Authorized, booking: Confirmed, ..base };
    let captured = Facts { payment: PaymentState::Captured, booking: Confirmed, ..base };
    let failed = Facts { payment: PaymentState::Failed, booking: Held, age: Age::Late, ..base };
    vec![
        ("created, before its deadline", base),
        ("created, past its deadline", Facts { age: Age::Late, ..base }),
        ("created, past the cap", Facts { age: Age::Capped, ..base }),
        ("authorized, booking confirmed", authorized),
        ("authorized, cancelled, some is kept", Facts { booking: Cancelled, keep: Keep::Part, ..authorized }),
        ("authorized, cancelled, nothing is kept", Facts { booking: Cancelled, keep: Keep::Nothing, ..authorized }),
        ("captured, no refund due", captured),
        ("captured, a refund due", Facts { refund_due: true, keep: Keep::Part, ..captured }),
        ("failed, the places may be tried", failed),
        ("failed, they were tried, or the sale was undone", Facts { may_rescue: false, ..failed }),
        ("failed, long ago", Facts { may_rescue: false, age: Age::Forgotten, ..failed }),
        ("declined", Facts { payment: PaymentState::Declined, booking: Held, ..base }),
        ("voided", Facts { payment: PaymentState::Voided, booking: Held, ..base }),
        ("refunded", Facts { payment: PaymentState::Refunded, booking: BookingState::Refunded, ..base }),
    ]
}

fn told_name(told: Told) -> &'static str {
    match told {
        Told::Unknown => "no answer",
        Told::Never => "never heard",
        Told::Processing => "processing",
        Told::Declined => "declined",
        Told::Authorized => "authorised",
        Told::Uncapturable => "capture refused",
        Told::Captured => "captured",
        Told::Voided => "voided",
        Told::Refunded => "refunded",
        Told::OtherKept => "other amount kept",
        Told::OtherTaken => "other amount taken",
    }
}

fn act_name(act: Act) -> &'static str {
    match act {
        Act::Ask => "ask again",
        Act::Close => "close",
        Act::Alarm => "**alarm**",
        Act::Quarantine => "**quarantine**",
        Act::Sell => "sell",
        Act::Decline => "decline",
        Act::GiveUp => "give up",
        Act::Rescue => "rescue",
        Act::Capture => "capture",
        Act::NoteCaptured => "note captured",
        Act::UndoSale => "undo the sale",
        Act::Void => "void",
        Act::NoteVoided => "note voided",
        Act::PayBackAll => "pay all back",
        Act::PayBack => "pay the refund",
        Act::NoteRefunded => "note refunded",
    }
}

fn answers() -> String {
    let mut table = String::from("| payment |");
    for told in Told::ALL {
        write!(table, " {} |", told_name(told)).unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(Told::ALL.len()));
    for (name, facts) in situations() {
        write!(table, "\n| {name} |").unwrap();
        for told in Told::ALL {
            write!(table, " {} |", act_name(next(&Facts { told, ..facts }))).unwrap();
        }
    }
    table
}

type Step = (&'static str, fn(BookingState) -> Result<BookingState, InvalidTransition>);

fn bookings() -> String {
    let steps: [Step; 8] = [
        ("payment begins", BookingState::start_payment),
        ("paid", BookingState::confirm),
        ("paid late", BookingState::rescue),
        ("not paid", BookingState::payment_failed),
        ("time runs out", BookingState::expire),
        ("capture refused", BookingState::capture_refused),
        ("cancel", BookingState::cancel),
        ("money is back", BookingState::refund),
    ];
    let mut table = String::from("| booking |");
    for (name, _) in steps {
        write!(table, " {name} |").unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(steps.len()));
    for state in BookingState::ALL {
        write!(table, "\n| {state} |").unwrap();
        for (_, step) in steps {
            write!(table, " {} |", step(*state).map_or("–", BookingState::name)).unwrap();
        }
    }
    table
}

#[test]
fn the_page_says_what_the_code_does() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CHECKOUT.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let mut now = page.clone();
    for (name, table) in [("answers", answers()), ("bookings", bookings())] {
        let (open, close) = (format!("<!-- table: {name} -->\n"), format!("\n<!-- end: {name} -->"));
        let from = now.find(&open).unwrap_or_else(|| panic!("{open} is missing")) + open.len();
        let to = from + now[from..].find(&close).unwrap_or_else(|| panic!("{close} is missing"));
        now.replace_range(from..to, &table);
    }
    if std::env::var_os("USHER_WRITE_PAGES").is_some() {
        std::fs::write(&file, &now).unwrap();
    }
    assert_eq!(page, now, "docs/CHECKOUT.md is not what the code does; see tests/checkout/pages.rs");
}
