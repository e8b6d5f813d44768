//! Ids of the booking core: one type each, parsed at the edge.
//!
//! Inside the core only valid ids travel. Randomness is the caller's: an id is made from a UUID that
//! the caller drew.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a slug of the allowed length.
    #[error("an id is 1 to {max} characters of a-z, 0-9 and '-', starting with a letter or digit")]
    Slug {
        /// Longest allowed.
        max: usize,
    },
    /// Not a UUID.
    #[error("an id is a UUID")]
    Uuid,
    /// Not a seat's identifier.
    #[error("a seat is 1 to 100 printable characters")]
    Seat,
    /// Not an owner.
    #[error("an owner is 'visitor:' or 'buyer:' and 22 characters of base64url")]
    Owner,
}

fn is_slug(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// A type over a short text that is safe in paths and logs.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err($error) }
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// Longest event id.
const EVENT_MAX: usize = 63;
/// Longest area id.
const AREA_MAX: usize = 40;

text_id! {
    /// An event.
    EventId, |text| is_slug(text, EVENT_MAX), IdError::Slug { max: EVENT_MAX }
}

text_id! {
    /// A general-admission area of an event.
    AreaId, |text| is_slug(text, AREA_MAX), IdError::Slug { max: AREA_MAX }
}

text_id! {
    /// A seat as people and files name it: the plan's `seat_guid`.
    SeatGuid,
    |text| !text.trim().is_empty() && text.chars().count() <= 100 && !text.chars().any(char::is_control),
    IdError::Seat
}

text_id! {
    /// Who holds or books: `visitor:` of a pass, or `buyer:` of a buyer token.
    Owner,
    |text| {
        let rest = text.strip_prefix("visitor:").or_else(|| text.strip_prefix("buyer:"));
        rest.is_some_and(|id| id.len() == 22 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
    },
    IdError::Owner
}

impl Owner {
    /// Whether it is a visitor of a line rather than a buyer by their own name.
    #[must_use]
    pub fn is_visitor(&self) -> bool {
        self.as_str().starts_with("visitor:")
    }

    /// The owner for a visitor's 22-character id.
    ///
    /// # Errors
    /// When it is not such an id.
    pub fn visitor(id: &str) -> Result<Self, IdError> {
        format!("visitor:{id}").try_into()
    }

    /// The owner for a buyer's 22-character id.
    ///
    /// # Errors
    /// When it is not such an id.
    pub fn buyer(id: &str) -> Result<Self, IdError> {
        format!("buyer:{id}").try_into()
    }
}

/// A type over a UUID.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// From a UUID.
            #[must_use]
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID.
            #[must_use]
            pub const fn get(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// Only the hyphenated lower-case form: one id has one text.
            fn from_str(text: &str) -> Result<Self, IdError> {
                let id = Uuid::parse_str(text).map_err(|_| IdError::Uuid)?;
                if id.hyphenated().to_string() == text { Ok(Self(id)) } else { Err(IdError::Uuid) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }
    };
}

uuid_id! {
    /// A hold.
    HoldId
}
uuid_id! {
    /// A booking.
    BookingId
}
uuid_id! {
    /// A ticket.
    TicketId
}

/// A seat's position in the plan, counted from 0 in document order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeatNo(u32);

impl SeatNo {
    /// From a position.
    #[must_use]
    pub const fn new(position: u32) -> Self {
        Self(position)
    }

    /// The position.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_parsed_at_the_edge() {
        let long = "x".repeat(64);
        for (text, good) in
            [("demo-arena", true), ("0", true), ("", false), ("-a", false), ("A", false), (&long, false)]
        {
            assert_eq!(text.parse::<EventId>().is_ok(), good, "{text}");
        }
        for (text, good) in [("L-1 12", true), (" ", false), ("a\nb", false), ("\u{1F3AD}", true)] {
            assert_eq!(text.parse::<SeatGuid>().is_ok(), good, "{text}");
        }
        let id = "abcdefghijklmnopqrst-_";
        assert_eq!(Owner::visitor(id).unwrap().as_str(), format!("visitor:{id}"));
        for text in ["visitor:short", "buyer:", "someone:abcdefghijklmnopqrst-_", "visitor:abcdefghijklmnopqrst'x"] {
            assert_eq!(text.parse::<Owner>(), Err(IdError::Owner), "{text}");
        }
    }

    #[test]
    fn a_uuid_has_one_text() {
        let text = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(text.parse::<HoldId>().unwrap().to_string(), text);
        for twin in [&text.to_uppercase(), &text.replace('-', ""), &format!("{{{text}}}")] {
            assert_eq!(twin.parse::<HoldId>(), Err(IdError::Uuid));
        }
    }
}
