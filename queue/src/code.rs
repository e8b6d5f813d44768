//! The short code that leads a place to another device: 40 random bits that a person can read out and type.
//!
//! Eight characters of Crockford's base 32, which leaves out I, L, O and U. Read kindly: case, blanks and dashes do not
//! matter, and the letters that are left out count as the digits they look like.

use std::fmt;
use std::str::FromStr;

/// The characters, by value.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a code.
const LENGTH: usize = 8;
/// Bits of a code.
const BITS: u32 = 40;

/// A code. Its text is shown in two groups, `ABCD-2345`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u64);

/// Why a text is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code is eight letters and digits")]
pub struct CodeError;

impl Code {
    /// From random bits; those above the fortieth are dropped.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << BITS) - 1))
    }

    /// The text without its dash, as Redis holds it.
    pub(crate) fn compact(self) -> String {
        (0..LENGTH).rev().map(|i| char::from(ALPHABET[(self.0 >> (5 * i) & 31) as usize])).collect()
    }
}

impl FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let (mut bits, mut count) = (0, 0);
        for byte in text.bytes().filter(|byte| !matches!(byte, b'-' | b' ' | b'\t' | b'\r' | b'\n')) {
            let byte = match byte.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let value = ALPHABET.iter().position(|&known| known == byte).ok_or(CodeError)?;
            (bits, count) = (bits << 5 | value as u64, count + 1);
            if count > LENGTH {
                return Err(CodeError);
            }
        }
        if count == LENGTH { Ok(Self(bits)) } else { Err(CodeError) }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.compact();
        write!(f, "{}-{}", &text[..LENGTH / 2], &text[LENGTH / 2..])
    }
}

/// A code leads to a place for as long as it lives, so it is not for logs.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({}…)", &self.compact()[..2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = Code::from_bits(0x12_3456_789a);
        let text = code.to_string();
        assert_eq!(text.len(), 9);
        let spellings =
            [text.clone(), text.to_lowercase(), text.replace('-', ""), format!("  {} ", text.replace('-', " "))];
        assert!(spellings.iter().all(|spelling| spelling.parse() == Ok(code)), "{spellings:?}");
        assert_eq!("oil0-oil0".parse::<Code>(), "0110-0110".parse());
        for bad in ["", "ABCD-234", "ABCD-23456", "ABCD-234U", "ABCD-234é", "ABCD_2345", &"A".repeat(100_000)] {
            assert_eq!(bad.parse::<Code>(), Err(CodeError), "{:?}", bad.get(..12));
        }
    }

    #[test]
    fn bits_have_one_code_and_codes_one_text() {
        assert_eq!(Code::from_bits(u64::MAX).to_string(), "ZZZZ-ZZZZ");
        assert_eq!(Code::from_bits(0).to_string(), "0000-0000");
        assert_eq!(Code::from_bits(1 << 40), Code::from_bits(0));
    }
}
