//! Invariant 4: money and bookings agree, in the books and, when it can be asked, in the ledger of
//! the provider: each confirmed booking was paid once and exactly, and nobody else paid.

use std::collections::HashMap;

use sqlx::types::Uuid;

use super::books::{BookingRow, Books, PaymentRow};
use super::finding::Finding;
use super::ledger::{LedgerLine, ProviderLedger};

/// Payment states in which nothing is decided yet.
const OPEN: [&str; 2] = ["created", "authorized"];

/// Checks all bookings, and the ledger when there is one.
pub(super) fn check(books: &Books, ledger: Option<&ProviderLedger>) -> Finding {
    let mut finding = Finding::new("money and bookings agree");
    let (mut confirmed, mut taken) = (0, HashMap::<&str, i64>::new());
    for (event, id, booking) in books.bookings() {
        if booking.is_confirmed() {
            confirmed += 1;
            *taken.entry(&booking.currency).or_default() += booking.total;
        }
        check_booking(&mut finding, event, id, booking);
    }
    finding.checked("confirmed bookings", confirmed);
    for (currency, amount) in taken {
        finding.checked(format!("minor units of {currency}"), amount.max(0) as usize);
    }
    match ledger {
        Some(ledger) => check_ledger(&mut finding, books, ledger),
        None => finding.note("the provider's ledger was not asked (--psp URL)"),
    }
    finding
}

fn check_booking(finding: &mut Finding, event: &str, id: &Uuid, booking: &BookingRow) {
    let captured: Vec<&PaymentRow> = booking.payments.iter().filter(|payment| payment.state == "captured").collect();
    if booking.sum() != booking.total {
        finding
            .breach(|| format!("{event}: booking {id} costs {}, its lines come to {}", booking.total, booking.sum()));
    }
    for payment in &captured {
        if payment.refunded < payment.refund_due {
            // Decided first, paid right after: a breach only when time does not settle it.
            finding.unsettled += 1;
            finding.breach(|| {
                let PaymentRow { reference, refunded, refund_due, .. } = payment;
                format!("{event}: {refunded} of {refund_due} went back of payment {reference} of booking {id}")
            });
        }
    }
    if !booking.is_confirmed() {
        let kept = captured.iter().filter(|payment| payment.kept(booking) == 0).count();
        if kept > 0 || captured.len() > 1 {
            finding.breach(|| format!("{event}: booking {id} is {} with captured money", booking.state));
        }
        if booking.payments.iter().any(|payment| OPEN.contains(&payment.state.as_str()) && payment.in_time) {
            finding.unsettled += 1;
        }
        return;
    }
    if booking.tickets != booking.entries() {
        finding.breach(|| {
            format!("{event}: confirmed booking {id} has {} tickets for {} places", booking.tickets, booking.entries())
        });
    }
    match captured.as_slice() {
        [] if booking.total == 0 => {}
        [] if booking.payments.iter().any(|payment| OPEN.contains(&payment.state.as_str())) => {
            // Sold first, captured right after: a breach only when time does not settle it.
            finding.unsettled += 1;
            finding.breach(|| format!("{event}: confirmed booking {id} is not captured yet"));
        }
        [] => finding.breach(|| format!("{event}: confirmed booking {id} was never paid")),
        [payment] if payment.amount != booking.total || payment.currency != booking.currency => {
            finding.breach(|| {
                format!(
                    "{event}: confirmed booking {id} costs {} {}, paid {} {}",
                    booking.total, booking.currency, payment.amount, payment.currency
                )
            });
        }
        [_] => {}
        several => finding.breach(|| format!("{event}: confirmed booking {id} was paid {} times", several.len())),
    }
}

fn check_ledger(finding: &mut Finding, books: &Books, ledger: &ProviderLedger) {
    let mut known: HashMap<&str, (&str, &Uuid, &BookingRow, &PaymentRow)> = HashMap::new();
    for (event, id, booking) in books.bookings() {
        for payment in &booking.payments {
            known.insert(&payment.reference, (event, id, booking, payment));
        }
    }
    let (mut lines, mut net) = (0, 0);
    for (reference, items) in &ledger.lines {
        lines += items.len();
        net += items.iter().map(LedgerLine::net).sum::<i64>();
        match known.get(reference.as_str()) {
            None => check_stranger(finding, reference, items),
            Some((event, id, booking, payment)) => check_line(finding, (event, id), booking, payment, items),
        }
    }
    for (reference, (event, id, _, payment)) in &known {
        if matches!(payment.state.as_str(), "captured" | "refunded") && !ledger.lines.contains_key(*reference) {
            finding.breach(|| {
                format!("{event}: payment {reference} of booking {id} is {}, the provider has none", payment.state)
            });
        }
    }
    finding.checked("payments at the provider", lines);
    finding.checked("minor units kept by the provider", net.max(0) as usize);
}

/// A payment of which the books know nothing must not have moved money.
fn check_stranger(finding: &mut Finding, reference: &str, items: &[LedgerLine]) {
    let net: i64 = items.iter().map(LedgerLine::net).sum();
    if net != 0 {
        finding.breach(|| format!("the provider kept {net} for {reference}, which no booking knows"));
    } else if items.iter().any(|line| line.status == "authorized") {
        finding.note(format!("authorised and forgotten: {reference}, which no booking knows"));
    }
}

fn check_line(
    finding: &mut Finding,
    (event, id): (&str, &Uuid),
    booking: &BookingRow,
    payment: &PaymentRow,
    items: &[LedgerLine],
) {
    let net: i64 = items.iter().map(LedgerLine::net).sum();
    let owed = payment.kept(booking);
    let open = OPEN.contains(&payment.state.as_str()) || payment.refunded < payment.refund_due;
    if net != owed {
        // Captured at the provider, not yet written down here: time settles it, or it is a breach.
        finding.unsettled += u64::from(open);
        finding.breach(|| {
            format!(
                "{event}: booking {id} ({}, payment {} {}): the provider kept {net}, owed are {owed}",
                booking.state, payment.reference, payment.state
            )
        });
    }
    if net != 0 && items.iter().any(|line| line.currency != booking.currency) {
        finding.breach(|| {
            format!("{event}: booking {id} is in {}, the provider took {}", booking.currency, items[0].currency)
        });
    }
    let authorised = items.iter().any(|line| line.status == "authorized");
    if authorised && !booking.is_confirmed() && !(open && payment.in_time) {
        finding.note(format!("authorised and forgotten: {} of booking {id}, {}", payment.reference, booking.state));
    }
}
