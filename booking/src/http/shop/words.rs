//! Amounts, counts, times and places in the words of a page.

use booking_domain::Money;
use booking_domain::plan::Attribute;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// An amount as people write it: `€45.00`, `¥4,500`.
pub(super) fn money(money: Money) -> String {
    let currency = money.currency();
    let digits = usize::from(currency.exponent().unwrap_or(0));
    let unit = 10_u64.pow(u32::try_from(digits).unwrap_or(0));
    let amount = money.amount().unsigned_abs();
    let sign = if money.amount() < 0 { "−" } else { "" };
    let whole = count(amount / unit);
    let symbol = currency.symbol().to_string();
    let symbol = if symbol.len() > 3 { format!("{} ", currency.code()) } else { symbol };
    match digits {
        0 => format!("{sign}{symbol}{whole}"),
        _ => format!("{sign}{symbol}{whole}.{:0digits$}", amount % unit),
    }
}

/// A number with its thousands set apart: `12,000`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut words = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

/// A moment on the venue's own clock: `Saturday 19 June 2027, 19:30`.
pub(super) fn moment(at: Timestamp, time_zone: &str) -> String {
    let zone = TimeZone::get(time_zone).unwrap_or(TimeZone::UTC);
    at.to_zoned(zone).strftime("%A %-d %B %Y, %H:%M").to_string()
}

/// What is left of a hold: `9 min 40 s`.
pub(super) fn time_left(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// A seat: `Section B, row 3, seat 7`.
pub(super) fn seat(section: &str, row: &str, number: &str) -> String {
    format!("Section {section}, row {row}, seat {number}")
}

/// What a buyer should know of a seat.
pub(super) fn attribute(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::Accessible => "space for a wheelchair",
        Attribute::Companion => "for the companion of a wheelchair user",
        Attribute::Aisle => "at the aisle",
        Attribute::RestrictedView => "restricted view",
        Attribute::LiftUpArmrest => "armrest lifts",
        Attribute::HearingLoop => "hearing loop",
        Attribute::FewSteps => "few or no steps",
        Attribute::SignLanguage => "sees the sign-language interpreter",
        Attribute::Wide => "wide seat",
    }
}

/// The small mark of an attribute that matters at a glance.
pub(super) fn mark(attribute: Attribute) -> Option<&'static str> {
    match attribute {
        Attribute::Accessible => Some("♿"),
        Attribute::Companion => Some("+"),
        Attribute::RestrictedView => Some("◐"),
        _ => None,
    }
}

/// Several names as a sentence has them: `A, B and C`.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// A text as the value of a query.
pub(super) fn in_query(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use booking_domain::{Currency, Money};

    #[test]
    fn amounts_follow_their_currency() {
        let table = [
            (4_500, Currency::EUR, "€45.00"),
            (1_234_567_890, Currency::USD, "$12,345,678.90"),
            (4_500, Currency::JPY, "¥4,500"),
            (5, Currency::GBP, "£0.05"),
            (-1_050, Currency::EUR, "−€10.50"),
            (1_500, Currency::KWD, "KWD 1.500"),
        ];
        for (amount, currency, words) in table {
            assert_eq!(super::money(Money::new(amount, currency)), words);
        }
    }

    #[test]
    fn counts_times_and_lists_read_as_written_by_people() {
        assert_eq!([0, 999, 1_000, 12_000, 1_234_567].map(super::count), ["0", "999", "1,000", "12,000", "1,234,567"]);
        let at = "2027-06-19T18:30:00Z".parse().expect("a time");
        assert_eq!(super::moment(at, "Europe/Lisbon"), "Saturday 19 June 2027, 19:30");
        assert_eq!(super::moment(at, "Nowhere/Atlantis"), "Saturday 19 June 2027, 18:30");
        assert_eq!((super::time_left(59), super::time_left(580)), ("59 s".into(), "9 min 40 s".into()));
        assert_eq!(super::in_query("Rang & Loge 1/ü"), "Rang%20%26%20Loge%201%2F%C3%BC");
        let names = ["A", "B", "C"].map(String::from);
        assert_eq!((super::listed(&names), super::listed(&names[..1])), ("A, B and C".into(), "A".into()));
    }
}
