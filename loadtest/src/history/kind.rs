//! What an operation is, and what became of it.

use serde::{Deserialize, Serialize};

/// What a line is about: an operation of a fan, or the run itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The fan asks to join the line.
    Join,
    /// The fan asks for its place.
    Poll,
    /// The fan leaves the line, or its slot inside.
    Leave,
    /// The fan looks at the shop page.
    Page,
    /// The fan looks at the event.
    Event,
    /// The fan looks at the seats.
    Seats,
    /// The fan asks for a hold.
    Hold,
    /// The fan gives a hold back.
    Release,
    /// The fan makes a booking of its hold.
    Book,
    /// The fan pays.
    Confirm,
    /// The fan looks at its booking.
    Booking,
    /// The first line: what was run.
    Run,
    /// The settings of the line, as the control API told them.
    Settings,
    /// The last line.
    End,
}

impl Kind {
    /// The operations of fans, in the order of a visit.
    pub const OPERATIONS: [Self; 11] = [
        Self::Join,
        Self::Poll,
        Self::Leave,
        Self::Page,
        Self::Event,
        Self::Seats,
        Self::Hold,
        Self::Release,
        Self::Book,
        Self::Confirm,
        Self::Booking,
    ];

    /// Its name in histories, metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Poll => "poll",
            Self::Leave => "leave",
            Self::Page => "page",
            Self::Event => "event",
            Self::Seats => "seats",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Book => "book",
            Self::Confirm => "confirm",
            Self::Booking => "booking",
            Self::Run => "run",
            Self::Settings => "settings",
            Self::End => "end",
        }
    }
}

/// What became of an operation, as far as the fan can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It took effect.
    #[default]
    Ok,
    /// It took no effect.
    Fail,
    /// It may have taken effect: time-out, broken connection, 5xx.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_name_on_the_line() {
        for kind in Kind::OPERATIONS {
            assert_eq!(serde_json::to_string(&kind).expect("serialises"), format!("\"{}\"", kind.name()));
        }
    }
}
