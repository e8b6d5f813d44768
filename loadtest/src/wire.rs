//! The documents of the contract, as far as a fan reads them.
//!
//! Reading is lenient: members that a fan does not need may be absent or new. What a fan acts upon
//! is checked where it acts.

use serde::Deserialize;

/// The place document, also found inside the problem document of a waiting answer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PlaceDoc {
    /// The visitor.
    pub visitor: Option<String>,
    /// State of the visitor: `pre`, `waiting`, `called`, `inside`, `left`, `expired`.
    pub state: Option<String>,
    /// State of the sale.
    pub sale_state: Option<String>,
    /// How many stand before this visitor, and one.
    pub position: Option<u64>,
    /// When to ask again.
    pub poll_s: Option<f64>,
    /// The signed place.
    pub place: Option<String>,
    /// The pass, when inside.
    pub pass: Option<String>,
    /// When the visitor was called.
    pub called_at: Option<String>,
    /// The visitor's number in the order of calling.
    pub called_seq: Option<u64>,
    /// The visitor's score in the line.
    pub score: Option<f64>,
    /// When this document was made.
    pub updated_at: Option<String>,
}

/// An amount, as an object or (leniently) as a bare number of minor units.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Money {
    /// As the contract has it.
    Full {
        /// Minor units.
        amount: i64,
        /// ISO 4217 code.
        currency: String,
    },
    /// A bare amount.
    Bare(i64),
}

impl Money {
    /// Minor units.
    pub fn amount(&self) -> i64 {
        match self {
            Self::Full { amount, .. } | Self::Bare(amount) => *amount,
        }
    }

    /// The currency, where it is said.
    pub fn currency(&self) -> Option<&str> {
        match self {
            Self::Full { currency, .. } => Some(currency),
            Self::Bare(_) => None,
        }
    }
}

/// One seat of a hold or booking.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SeatLine {
    /// The seat's number in the plan.
    pub seat_no: u32,
}

/// Places of one area in a hold or booking.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PlacesLine {
    /// The area.
    pub area: String,
    /// How many.
    pub quantity: u32,
}

/// A hold or a booking: the two documents share what a fan reads.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct OrderDoc {
    /// The hold.
    pub hold: Option<String>,
    /// The booking.
    pub booking: Option<String>,
    /// Its state.
    pub state: Option<String>,
    /// The seats.
    pub seats: Vec<SeatLine>,
    /// The places.
    pub areas: Vec<PlacesLine>,
    /// The sum.
    pub total: Option<Money>,
    /// When a hold expires.
    pub expires_at: Option<String>,
    /// How long until then.
    pub expires_in_s: Option<f64>,
    /// The token that opens the buyer's holds and bookings. A booking repeats the buyer's name
    /// under the same key as an object, so anything but a string is passed over.
    #[serde(deserialize_with = "string_or_nothing")]
    pub buyer: Option<String>,
    /// The tickets of a confirmed booking.
    pub tickets: Option<Vec<serde_json::Value>>,
}

/// A problem document.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Its type; the last part names it.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Problem {
    /// The name of the problem in a body: the last part of its type.
    pub fn name_in(body: &[u8]) -> Option<String> {
        let problem: Self = serde_json::from_slice(body).ok()?;
        let name = problem.kind.rsplit(['/', ':', '#']).next()?;
        (!name.is_empty() && name != "blank").then(|| name.to_owned())
    }
}

/// The state of an area in the snapshot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AreaState {
    /// The area.
    pub area: String,
    /// Places in all.
    pub capacity: u32,
    /// Places held or pending.
    #[serde(default)]
    pub held: u32,
    /// Places sold.
    #[serde(default)]
    pub sold: u32,
}

/// The seats snapshot.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SnapshotDoc {
    /// Two bits per seat, base64.
    pub seats: String,
    /// The areas.
    pub areas: Vec<AreaState>,
}

/// The place in an answer: the document itself, or the one inside a problem document.
pub fn place_in(body: &[u8]) -> Option<PlaceDoc> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let inner = match value.get("place") {
        Some(inner @ serde_json::Value::Object(_)) => inner.clone(),
        _ => value,
    };
    serde_json::from_value(inner).ok()
}

fn string_or_nothing<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_flat_or_nested() {
        let flat =
            br#"{"sale":"demo","visitor":"v","state":"waiting","position":7,"poll_s":2,"place":"T","pass":null}"#;
        let nested =
            br#"{"type":"/problems/waiting","status":429,"place":{"visitor":"v","state":"waiting","place":"T"}}"#;
        for body in [flat.as_slice(), nested] {
            let place = place_in(body).expect("a place");
            assert_eq!((place.visitor.as_deref(), place.place.as_deref()), (Some("v"), Some("T")));
        }
        assert_eq!(place_in(b"<html>"), None);
    }

    #[test]
    fn hold_and_booking_are_read() {
        let hold: OrderDoc = serde_json::from_str(
            r#"{"hold":"h","event":"e","seats":[{"seat":"A-1","seat_no":4,"price":{"amount":4500,"currency":"EUR"}}],
                "areas":[],"total":{"amount":4500,"currency":"EUR"},"expires_in_s":600,"state":"active","buyer":"TOKEN"}"#,
        )
        .expect("a hold");
        assert_eq!(hold.seats[0].seat_no, 4);
        assert_eq!(hold.total.as_ref().map(Money::amount), Some(4500));
        assert_eq!(hold.buyer.as_deref(), Some("TOKEN"));
        let booking: OrderDoc =
            serde_json::from_str(r#"{"booking":"b","buyer":{"name":"N"},"total":12,"tickets":[{}]}"#)
                .expect("a booking");
        assert_eq!((booking.buyer, booking.total.map(|m| m.amount())), (None, Some(12)));
    }

    #[test]
    fn problems_have_names() {
        assert_eq!(Problem::name_in(br#"{"type":"https://x/problems/seats-taken"}"#).as_deref(), Some("seats-taken"));
        assert_eq!(Problem::name_in(br#"{"type":"about:blank"}"#), None);
        assert_eq!(Problem::name_in(b"oops"), None);
    }
}
