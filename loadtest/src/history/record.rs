//! The lines of a history.
//!
//! Invariant: members stand in alphabetical order, so that lines of two runs compare as text.

use serde::{Deserialize, Serialize};

use super::kind::{Kind, Verdict};

/// Places of one area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AreaLine {
    /// The area.
    pub area: String,
    /// How many places.
    pub quantity: u32,
}

/// One operation of one fan.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Places of areas held or booked, as answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<AreaLine>,
    /// 0 for the first attempt; further attempts carry the same key.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// The booking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booking: Option<String>,
    /// When the visitor was called, by the line's own clock (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_at: Option<String>,
    /// The visitor's number in the order of calling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_seq: Option<u64>,
    /// Currency of `total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// When the answer was complete or given up.
    pub end_us: u64,
    /// The event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// When the hold expires (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The fan's number.
    pub fan: u64,
    /// The hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// When the operation was due.
    pub intended_us: u64,
    /// The idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What was done.
    pub kind: Option<Kind>,
    /// Unique in the history.
    pub op_id: u64,
    /// State in the place document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place_state: Option<String>,
    /// Position in the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Why it failed: last part of the problem's type, or what happened to the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whether it took effect.
    pub result: Verdict,
    /// The sale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sale: Option<String>,
    /// The visitor's score: its place in the order of joining.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Seats held or booked, by number, as answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seats: Vec<u32>,
    /// When the request was sent.
    pub start_us: u64,
    /// State of the hold or booking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// HTTP status; none without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Which of the targets was asked.
    pub target: usize,
    /// Tickets of the booking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tickets: Option<u32>,
    /// After how long the fan was told to ask again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_s: Option<f64>,
    /// Amount in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// When the document was made, by the gateway's clock (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// The visitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitor: Option<String>,
}

/// The first line: what was run, against what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Bucket size that the scenario states.
    pub burst: Option<f64>,
    /// The event.
    pub event: String,
    /// Always [`Kind::Run`].
    pub kind: Kind,
    /// Rate that the scenario states.
    pub rate_per_min: Option<f64>,
    /// The sale.
    pub sale: Option<String>,
    /// The scenario's name.
    pub scenario: String,
    /// The seed of all draws.
    pub seed: u64,
    /// Wall clock at time zero (RFC 3339).
    pub started_at: String,
    /// Addresses asked; `target` of an operation counts in here.
    pub targets: Vec<String>,
    /// Version of this format.
    pub version: u32,
}

/// Settings of the line, read from the control API at this moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Wall clock of the reading (RFC 3339).
    pub at: String,
    /// Bucket size.
    pub burst: Option<f64>,
    /// Visitors called so far, over all.
    pub called_total: Option<u64>,
    /// Microseconds since the start of the run.
    pub end_us: u64,
    /// Always [`Kind::Settings`].
    pub kind: Kind,
    /// Visitors called per minute.
    pub rate_per_min: Option<f64>,
    /// State of the sale.
    pub state: Option<String>,
    /// Version of the settings.
    pub version: Option<u64>,
}

/// The last line; without it the history was cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Whether a signal ended the run.
    pub aborted: bool,
    /// When the run closed: from then on nobody waits any more.
    #[serde(default)]
    pub closed_us: u64,
    /// Microseconds since the start of the run.
    pub end_us: u64,
    /// Always [`Kind::End`].
    pub kind: Kind,
    /// Operations written before this line.
    pub operations: u64,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of(line: &str) -> Vec<String> {
        let value: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        // serde_json's map sorts, so the order is read from the text itself.
        let mut keys: Vec<(usize, String)> = value
            .as_object()
            .expect("an object")
            .keys()
            .map(|key| (line.find(&format!("\"{key}\":")).expect("key stands in the line"), key.clone()))
            .collect();
        keys.sort();
        keys.into_iter().map(|(_, key)| key).collect()
    }

    fn full() -> Record {
        let text = || Some("x".to_owned());
        Record {
            areas: vec![AreaLine { area: "floor".into(), quantity: 2 }],
            attempt: 1,
            booking: text(),
            called_at: text(),
            called_seq: Some(1),
            currency: text(),
            event: text(),
            expires_at: text(),
            hold: text(),
            key: text(),
            kind: Some(Kind::Hold),
            place_state: text(),
            position: Some(3),
            problem: text(),
            sale: text(),
            score: Some(1_763_000_000_000_001.0),
            seats: vec![7],
            state: text(),
            status: Some(201),
            tickets: Some(1),
            told_s: Some(2.0),
            total: Some(4500),
            updated_at: text(),
            visitor: text(),
            ..Record::default()
        }
    }

    #[test]
    fn members_are_sorted_and_survive_the_round_trip() {
        let line = serde_json::to_string(&full()).expect("serialises");
        let keys = keys_of(&line);
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(keys.len(), 31);
        assert_eq!(serde_json::from_str::<Record>(&line).expect("reads back"), full());
    }

    #[test]
    fn lines_about_the_run_are_sorted_too() {
        let opening = Opening {
            burst: None,
            event: "e".into(),
            kind: Kind::Run,
            rate_per_min: Some(600.0),
            sale: None,
            scenario: "s".into(),
            seed: 1,
            started_at: "t".into(),
            targets: vec![],
            version: 1,
        };
        assert!(keys_of(&serde_json::to_string(&opening).expect("serialises")).is_sorted());
        let end = End { aborted: false, closed_us: 1, end_us: 1, kind: Kind::End, operations: 0 };
        assert!(keys_of(&serde_json::to_string(&end).expect("serialises")).is_sorted());
    }
}
