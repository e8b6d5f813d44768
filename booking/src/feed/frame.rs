//! What followers are sent: server-sent events, written once and shared by all.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::stock::AreaStock;
use crate::storage::changes::Entry;

/// One server-sent event, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The version that a follower knows after it.
    pub version: i64,
    /// What it is.
    pub kind: Kind,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What changed up to its version.
    Change,
    /// That the snapshot must be loaded anew.
    Reset,
    /// That the stream lives.
    Alive,
}

impl Frame {
    /// That the snapshot must be loaded anew.
    #[must_use]
    pub fn reset(version: i64) -> Self {
        let bytes = format!("event: reset\nid: {version}\ndata: {{\"version\":{version}}}\n\n");
        Self { version, kind: Kind::Reset, bytes: bytes.into() }
    }

    /// A comment, so that nothing between the two ends takes the stream for dead.
    #[must_use]
    pub fn alive(version: i64) -> Self {
        Self { version, kind: Kind::Alive, bytes: Bytes::from_static(b": alive\n\n") }
    }
}

/// Changes laid over each other: of each seat and area only the last state counts.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    seats: BTreeMap<i32, u8>,
    areas: BTreeMap<String, AreaStock>,
    /// Whether prices changed.
    terms: bool,
    /// The version after the last of them.
    last: Option<i64>,
}

#[derive(Serialize)]
struct Document {
    version: i64,
    seats: Vec<(i32, u8)>,
    areas: Vec<AreaStock>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prices_changed: bool,
}

impl Gathered {
    pub(super) const fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        self.seats.extend(entry.seats.iter().map(|seat_no| (*seat_no, entry.state.code())));
        self.areas.extend(entry.areas.iter().map(|area| (area.area.clone(), area.clone().into())));
        self.terms |= entry.terms;
        self.last = Some(entry.version);
    }

    /// Writes them down, and begins anew.
    pub(super) fn take(&mut self) -> Option<Frame> {
        let Self { seats, areas, terms, last } = std::mem::take(self);
        let version = last?;
        let (seats, areas) = (seats.into_iter().collect(), areas.into_values().collect());
        let document = Document { version, seats, areas, prices_changed: terms };
        let json = serde_json::to_string(&document).expect("numbers and text always serialise");
        let bytes = format!("event: change\nid: {version}\ndata: {json}\n\n");
        Some(Frame { version, kind: Kind::Change, bytes: bytes.into() })
    }
}

#[cfg(test)]
mod tests {
    use booking_domain::SeatState;

    use super::*;
    use crate::storage::history::Mark;

    #[test]
    fn of_each_seat_only_the_last_state_is_sent() {
        let mut gathered = Gathered::default();
        assert_eq!(gathered.take(), None);
        for (version, state, seats) in
            [(4, SeatState::Held, vec![2, 1]), (5, SeatState::Free, vec![1]), (6, SeatState::Held, vec![3])]
        {
            gathered.add(&Entry { version, mark: Mark::default(), state, seats, areas: Vec::new(), terms: false });
        }
        let frame = gathered.take().unwrap();
        let text = "event: change\nid: 6\ndata: {\"version\":6,\"seats\":[[1,0],[2,1],[3,1]],\"areas\":[]}\n\n";
        assert_eq!((frame.version, &frame.bytes[..]), (6, text.as_bytes()));
        assert!(gathered.is_empty());
    }
}
