//! Ids of the line: one type each, parsed at the edge.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 1–63 characters of `a-z 0-9 -`, starting with a letter or digit.
    #[error("a sale id is 1 to 63 characters of a-z, 0-9 and '-', starting with a letter or digit")]
    Sale,
    /// Not 22 characters of base64url for 16 bytes.
    #[error("this id is 22 characters of base64url")]
    Random,
}

/// One on-sale. Safe in Redis keys, paths, cookies and metrics labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SaleId(String);

impl SaleId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SaleId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let ok = (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-');
        if ok { Ok(Self(text.to_owned())) } else { Err(IdError::Sale) }
    }
}

impl TryFrom<String> for SaleId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<SaleId> for String {
    fn from(id: SaleId) -> Self {
        id.0
    }
}

impl fmt::Display for SaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A type over 128 random bits whose text is 22 characters of base64url.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 16 random bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0u8; 16];
                if text.len() != 22 {
                    return Err(IdError::Random);
                }
                // The strict engine refuses stray low bits, so one id has exactly one text.
                match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
                    Ok(16) => Ok(Self(bytes)),
                    _ => Err(IdError::Random),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0u8; 22];
                let n = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&text[..n]).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

random_id! {
    /// One browser or app in a sale: 128 random bits.
    VisitorId
}

random_id! {
    /// One pass; the `jti` of its token.
    PassId
}

random_id! {
    /// Whoever takes a place to another device: made by that device, so that asking again is not taking twice.
    Taker
}

/// Which of a visitor's devices holds the place: counted from the one that joined, and raised whenever the place moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Device(u16);

impl Device {
    /// The one that joined.
    pub const FIRST: Self = Self(0);
    /// The last one: a place moves no further.
    pub const LAST: Self = Self(1023);

    /// From its number; `None` above [`Device::LAST`].
    pub const fn new(number: u16) -> Option<Self> {
        if number <= Self::LAST.0 { Some(Self(number)) } else { None }
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether it is the one that joined.
    pub const fn is_first(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A visitor's spot in the line: microseconds on the sale's hybrid logical clock. Unique within a sale,
/// arrival-ordered, and exact in a double, as Redis needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(u64);

impl Score {
    /// The largest score: integers above are not exact in a double.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// From microseconds; `None` above [`Score::MAX`].
    pub const fn new(micros: u64) -> Option<Self> {
        if micros <= Self::MAX.0 { Some(Self(micros)) } else { None }
    }

    /// Microseconds.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_has_one_text() {
        let id = VisitorId::from_bytes([0xff; 16]);
        let text = id.to_string();
        assert_eq!(text.len(), 22);
        assert_eq!(text.parse::<VisitorId>(), Ok(id));
        // The last character carries two bits; other low bits would be a second spelling.
        let twin = format!("{}x", &text[..21]);
        assert_eq!(twin.parse::<VisitorId>(), Err(IdError::Random));
    }

    #[test]
    fn sale_ids_are_safe_in_keys_and_paths() {
        for good in ["demo", "a", "0-9", "x".repeat(63).as_str()] {
            assert!(good.parse::<SaleId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "a/b", "a{b}", "é", "x".repeat(64).as_str()] {
            assert!(bad.parse::<SaleId>().is_err(), "{bad}");
        }
    }
}
