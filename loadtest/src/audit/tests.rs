//! A checker that cannot fail is worth nothing: each violation is put into a clean sale, one at a
//! time, and the invariant it breaks must be the one that is reported.

use super::books::HoldRow;
use super::sample::{Sale, id, paid, sale};
use crate::history::{Kind, Verdict};

const SEATS: &str = "no seat sold twice";
const AREAS: &str = "no area oversold";
const PROMISES: &str = "acknowledged is kept";
const MONEY: &str = "money and bookings agree";
const RATE: &str = "called within the rate";
const ORDER: &str = "first come, first called";
const PLACES: &str = "no place lost";
const KEYS: &str = "one key, one effect";

#[test]
fn the_clean_sale_is_clean_and_everything_was_checked() {
    for finding in sale().findings() {
        assert!(!finding.is_broken() && finding.not_checked.is_none() && finding.unsettled == 0, "{finding}");
        assert!(!finding.checked.is_empty(), "{finding}");
    }
}

type Crime = fn(&mut Sale);

fn assert_caught(crimes: &[(&str, &str, Crime)]) {
    for (invariant, name, commit) in crimes {
        let mut sale = sale();
        commit(&mut sale);
        let findings = sale.findings();
        let caught = findings.iter().find(|finding| finding.name == *invariant).expect("the invariant is checked");
        assert!(caught.is_broken(), "{name} went unseen: {caught}");
    }
}

#[test]
fn double_sales_are_caught() {
    assert_caught(&[
        (SEATS, "one seat acknowledged to two fans", |s| s.record(2, Kind::Confirm).seats = vec![5]),
        (SEATS, "one seat in two confirmed bookings", |s| {
            s.booking(22).seats.insert(5, 4_500);
        }),
        (SEATS, "a confirmed booking whose seat is free", |s| {
            s.book().seats.insert(5, Default::default());
        }),
        (SEATS, "a sold seat without a booking", |s| {
            s.booking(21).state = "failed".into();
        }),
        (SEATS, "a sold seat of another's booking", |s| {
            s.book().seats.get_mut(&5).expect("a seat").booking = Some(id(22));
        }),
        (SEATS, "a change is missing", |s| {
            s.changes.remove(1);
        }),
        (SEATS, "a change twice", |s| {
            let change = s.changes[2].clone();
            s.changes.insert(3, change);
        }),
        (SEATS, "a seat sold that was only held", |s| s.changes[1].seats = vec![4]),
        (SEATS, "a seat held over a live hold", |s| {
            let mut again = s.changes[0].clone();
            (again.version, again.hold) = (2, Some(id(99)));
            s.changes[1] = again;
        }),
        (SEATS, "the event has more versions than changes", |s| s.book().version = 7),
    ]);
}

#[test]
fn oversold_areas_are_caught() {
    assert_caught(&[
        (AREAS, "more sold than there are", |s| {
            s.book().areas.get_mut("floor").expect("an area").capacity = 1;
        }),
        (AREAS, "a counter that forgot a sale", |s| {
            s.book().areas.get_mut("floor").expect("an area").sold = 1;
        }),
        (AREAS, "a counter that kept a hold", |s| {
            s.book().areas.get_mut("floor").expect("an area").held = 2;
        }),
        (AREAS, "a booking that no counter knows", |s| s.booking(22).areas[0].1 = 3),
        (AREAS, "overfull on the way", |s| s.changes[3].areas[0].capacity = 1),
        (AREAS, "a step that does not add up", |s| s.changes[4].areas[0].held = 3),
    ]);
}

#[test]
fn broken_promises_are_caught() {
    assert_caught(&[
        (PROMISES, "a confirmed booking is gone", |s| {
            s.book().bookings.remove(&id(21));
        }),
        (PROMISES, "a confirmed booking is not confirmed", |s| s.booking(21).state = "expired".into()),
        (PROMISES, "a confirmed booking lost a seat", |s| {
            s.booking(21).seats.remove(&5);
        }),
        (PROMISES, "a confirmed booking lost a place", |s| s.booking(22).areas[0].1 = 1),
        (PROMISES, "another total", |s| s.booking(21).total = 8_999),
        (PROMISES, "another currency", |s| s.booking(21).currency = "USD".into()),
        (PROMISES, "an acknowledged hold is gone", |s| {
            s.book().holds.remove(&id(11));
        }),
        (PROMISES, "a hold of other seats", |s| {
            s.book().holds.get_mut(&id(11)).expect("a hold").seats = vec![4, 6];
        }),
        (PROMISES, "a refused payment that sold all the same", |s| {
            let refused = s.record(1, Kind::Confirm);
            (refused.result, refused.status, refused.state) = (Verdict::Fail, Some(402), None);
        }),
        (PROMISES, "one booking, two answers", |s| {
            let mut again = s.record(1, Kind::Confirm).clone();
            again.total = Some(1);
            s.records.push(again);
        }),
    ]);
}

#[test]
fn lost_money_is_caught() {
    assert_caught(&[
        (MONEY, "confirmed and never paid", |s| s.booking(21).payments.clear()),
        (MONEY, "paid too little", |s| s.booking(21).payments[0].amount = 1),
        (MONEY, "paid twice", |s| {
            let mut again = s.booking(21).payments[0].clone();
            again.reference = "21/2".into();
            s.booking(21).payments.push(again);
        }),
        (MONEY, "paid in another currency", |s| s.booking(21).payments[0].currency = "USD".into()),
        (MONEY, "paid and not confirmed", |s| s.booking(21).state = "failed".into()),
        (MONEY, "never captured", |s| s.booking(21).payments[0].state = "authorized".into()),
        (MONEY, "lines that do not come to the total", |s| {
            s.booking(21).seats.insert(5, 1);
        }),
        (MONEY, "a ticket is missing", |s| s.booking(21).tickets = 1),
        (MONEY, "the provider knows of no payment", |s| {
            s.ledger.lines.remove("21/1");
        }),
        (MONEY, "the provider took a cent more", |s| {
            s.ledger.lines.get_mut("21/1").expect("a line")[0].captured = 9_001;
        }),
        (MONEY, "the provider gave it back", |s| {
            s.ledger.lines.get_mut("21/1").expect("a line")[0].refunded = 9_000;
        }),
        (MONEY, "the provider took money for nothing", |s| {
            s.ledger.lines.insert("77/1".into(), vec![paid("77/1", 500)]);
        }),
        (MONEY, "a refund was decided and not paid", |s| s.booking(21).payments[0].refund_due = 4_500),
        (MONEY, "a refund was noted and not paid", |s| {
            let payment = &mut s.booking(21).payments[0];
            (payment.refund_due, payment.refunded) = (4_500, 4_500);
        }),
        (MONEY, "more was paid back than was decided", |s| {
            let payment = &mut s.booking(21).payments[0];
            (payment.refund_due, payment.refunded) = (4_500, 4_500);
            s.ledger.lines.get_mut("21/1").expect("a line")[0].refunded = 4_501;
        }),
        (MONEY, "the provider took it twice", |s| {
            s.ledger.lines.get_mut("21/1").expect("a line").push(paid("21/1", 9_000));
        }),
        (MONEY, "the provider took another currency", |s| {
            s.ledger.lines.get_mut("21/1").expect("a line")[0].currency = "USD".into();
        }),
    ]);
}

#[test]
fn what_a_policy_keeps_and_what_goes_back_is_clean() {
    for state in ["confirmed", "refunded"] {
        let mut sale = sale();
        let booking = sale.booking(21);
        booking.state = state.into();
        let payment = &mut booking.payments[0];
        (payment.refund_due, payment.refunded) = (4_500, 4_500);
        sale.ledger.lines.get_mut("21/1").expect("a line")[0].refunded = 4_500;
        let findings = sale.findings();
        let money = findings.iter().find(|finding| finding.name == MONEY).expect("it is checked");
        assert!(!money.is_broken(), "{state}: {money}");
    }
}

#[test]
fn a_line_that_runs_wild_is_caught() {
    assert_caught(&[
        (RATE, "two calls at one instant, burst one", |s| {
            let at = s.record(1, Kind::Poll).called_at.clone();
            s.record(2, Kind::Poll).called_at = at;
        }),
        (ORDER, "the second is called first", |s| {
            let (first, second) =
                (s.record(1, Kind::Poll).called_at.clone(), s.record(2, Kind::Poll).called_at.clone());
            s.record(1, Kind::Poll).called_at = second;
            s.record(2, Kind::Poll).called_at = first;
        }),
        (ORDER, "two with one score", |s| {
            for record in s.records.iter_mut().filter(|record| record.fan == 2) {
                record.score = record.score.map(|_| 1.0);
            }
        }),
        (ORDER, "the first is forgotten", |s| {
            for record in s.records.iter_mut().filter(|record| record.fan == 3) {
                record.score = record.score.map(|_| 0.5);
                record.updated_at = Some("1970-01-01T00:01:00Z".into());
            }
        }),
        (PLACES, "a poll is refused for good", |s| {
            let poll = s.record(3, Kind::Poll);
            (poll.result, poll.status) = (Verdict::Fail, Some(404));
        }),
        (PLACES, "another visitor comes back", |s| s.record(3, Kind::Poll).visitor = Some("other".into())),
        (PLACES, "another score comes back", |s| s.record(3, Kind::Poll).score = Some(99.0)),
        (PLACES, "expired while asking on time", |s| s.record(3, Kind::Poll).place_state = Some("expired".into())),
    ]);
}

#[test]
fn keys_that_act_twice_are_caught() {
    assert_caught(&[
        (KEYS, "one key, two holds", |s| {
            let mut again = s.record(1, Kind::Hold).clone();
            again.hold = Some(id(55).to_string());
            s.records.push(again);
        }),
        (KEYS, "a hold that no key can have made", |s| {
            let hold = HoldRow { owner: "visitor:visitor1".into(), ..HoldRow::default() };
            s.book().holds.insert(id(55), hold);
        }),
        (KEYS, "a booking that no key can have made", |s| {
            let booking = s.booking(21).clone();
            s.book().bookings.insert(id(56), booking);
        }),
    ]);
}

#[test]
fn what_time_will_settle_is_told_apart() {
    let mut sale = sale();
    sale.booking(21).payments[0].state = "authorized".into();
    let findings = sale.findings();
    let money = findings.iter().find(|finding| finding.name == MONEY).expect("checked");
    assert!(money.unsettled > 0);
}

#[test]
fn forgotten_authorisations_are_listed_and_break_nothing() {
    let mut sale = sale();
    let mut forgotten = paid("77/1", 500);
    (forgotten.captured, forgotten.status) = (0, "authorized".into());
    sale.ledger.lines.insert("77/1".into(), vec![forgotten]);
    let findings = sale.findings();
    let money = findings.iter().find(|finding| finding.name == MONEY).expect("checked");
    assert!(!money.is_broken() && money.notes.iter().any(|note| note.contains("forgotten")), "{money}");
}

#[test]
fn an_unanswered_purchase_may_be_either() {
    let mut sale = sale();
    let lost = sale.record(1, Kind::Confirm);
    (lost.result, lost.status, lost.state) = (Verdict::Unknown, None, None);
    for finding in sale.findings() {
        assert!(!finding.is_broken(), "{finding}");
    }
    let mut other = super::sample::sale();
    let book = other.book();
    book.bookings.remove(&id(21));
    book.holds.remove(&id(11));
    for seat_no in [4, 5] {
        book.seats.insert(seat_no, Default::default());
    }
    other.changes.drain(0..3);
    for (change, version) in other.changes.iter_mut().zip(1..) {
        change.version = version;
    }
    other.book().version = 3;
    other.ledger.lines.remove("21/1");
    for kind in [Kind::Hold, Kind::Book, Kind::Confirm] {
        let lost = other.record(1, kind);
        (lost.result, lost.status, lost.state) = (Verdict::Unknown, None, None);
    }
    for finding in other.findings() {
        assert!(!finding.is_broken(), "{finding}");
    }
}
