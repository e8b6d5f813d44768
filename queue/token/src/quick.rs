//! Checking a place that looks exactly as we write it, with one look at each of its bytes.
//!
//! Every poll brings a place, and the JWT library reads header and claims twice each. Since a key writes one and the same
//! header every time, that is compared as text; then the signature is checked, and only then are the claims read, once and
//! as the text that we write: these members, in this order, without spaces.
//!
//! Invariant: a place is accepted here only if the library accepts it, too, and as the same. Everything else, good or bad, is left
//! to the library: nothing is refused here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::EncodingKey;
use sha2::Sha256;

use crate::place::PLACE;
use crate::wire::{ISSUER, MAX_TOKEN_BYTES, check_times};
use crate::{Device, Place, Score};

/// An HMAC-SHA256 in base64url.
const SIGNATURE_CHARACTERS: usize = 43;
/// Claims of ours are shorter: two ids, and four numbers of at most twenty digits.
const CLAIMS_MAX_BYTES: usize = 512;

/// A place key, ready to check what it has signed.
pub(crate) struct QuickKey {
    /// How each of its tokens begins: the encoded header with the dot behind it.
    opening: String,
    /// How the claims begin, up to the visitor.
    claims_opening: String,
    /// Has taken in the secret, and nothing else.
    mac: Hmac<Sha256>,
    retire_after_s: u64,
}

impl QuickKey {
    /// Prepares a key; `None` when the library cannot write its header.
    pub(crate) fn new(kid: &str, secret: &[u8; 32], retire_after_s: u64) -> Option<Self> {
        let token = jsonwebtoken::encode(&PLACE.header(kid), &(), &EncodingKey::from_secret(secret)).ok()?;
        let opening = token[..=token.find('.')?].to_owned();
        let claims_opening = format!(r#"{{"iss":"{ISSUER}","aud":"{}","sub":""#, PLACE.audience);
        Some(Self { opening, claims_opening, mac: Hmac::new_from_slice(secret).ok()?, retire_after_s })
    }

    /// The place of a token that this key has signed and that is good now; `None` says nothing about it.
    pub(crate) fn verify(&self, token: &str, now_s: u64) -> Option<Place> {
        if token.len() > MAX_TOKEN_BYTES || now_s > self.retire_after_s {
            return None;
        }
        let (signed, signature) = token.as_bytes().split_last_chunk::<SIGNATURE_CHARACTERS>()?;
        let signed = signed.strip_suffix(b".")?;
        let claims = signed.strip_prefix(self.opening.as_bytes())?;
        // One byte too many shows that more than a signature stands there.
        let mut bytes = [0; 33];
        let length = URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes).ok()?;
        let mut mac = self.mac.clone();
        mac.update(signed);
        mac.verify_slice(&bytes[..length]).ok()?;
        let mut decoded = [0; CLAIMS_MAX_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(claims, &mut decoded).ok()?;
        let place = self.place(&decoded[..length])?;
        check_times(0, place.expires_at_s, now_s).ok()?;
        Some(place)
    }

    /// What the claims say, if they are written as we write them. Ids hold nothing to escape, as their reading checks.
    fn place(&self, claims: &[u8]) -> Option<Place> {
        let mut rest = claims.strip_prefix(self.claims_opening.as_bytes())?;
        let visitor = text(&mut rest)?.parse().ok()?;
        rest = rest.strip_prefix(br#","sale":""#)?;
        let sale = text(&mut rest)?.parse().ok()?;
        rest = rest.strip_prefix(br#","scr":"#)?;
        let score = Score::new(number(&mut rest)?)?;
        let device = match rest.strip_prefix(br#","dev":"#) {
            Some(after) => {
                rest = after;
                Device::new(number(&mut rest)?.try_into().ok()?)?
            }
            None => Device::FIRST,
        };
        rest = rest.strip_prefix(br#","iat":"#)?;
        let issued_at_s = number(&mut rest)?;
        rest = rest.strip_prefix(br#","exp":"#)?;
        let expires_at_s = number(&mut rest)?;
        (rest == b"}").then_some(Place { sale, visitor, score, device, issued_at_s, expires_at_s })
    }
}

/// Takes a text off `rest`, up to the mark that ends it and with it.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = &rest[end + 1..];
    Some(text)
}

/// Takes a number off `rest`, as JSON writes one.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, after) = rest.split_at(digits);
    if number.is_empty() || (number[0] == b'0' && digits > 1) {
        return None;
    }
    *rest = after;
    let add = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    number.iter().try_fold(0, add)
}

#[cfg(test)]
#[path = "quick_tests.rs"]
mod tests;
