//! Checking a place that looks exactly as we write it, with one look at each of its bytes.
//!
//! Every poll brings a place, and the JWT library reads header and claims twice each. Since a key writes one and the same
//! header every time, that is compared as text; then the signature is checked, and only then are the claims read, once.
//!
//! Invariant: a place is accepted here only if the library accepts it, too, and as the same. Everything else, good or bad, is left
//! to the library: nothing is refused here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::EncodingKey;
use serde::Deserialize;
use sha2::Sha256;

use crate::place::PLACE;
use crate::wire::{ISSUER, MAX_TOKEN_BYTES, check_times};
use crate::{Device, Place, Score};

/// A place key, ready to check what it has signed.
pub(crate) struct QuickKey {
    /// How each of its tokens begins: the encoded header with the dot behind it.
    opening: String,
    /// Has taken in the secret, and nothing else.
    mac: Hmac<Sha256>,
    retire_after_s: u64,
}

/// The claims as we write them: other claims, and texts with escapes, are not ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    sale: &'a str,
    scr: Score,
    #[serde(default)]
    dev: Device,
    iat: u64,
    exp: u64,
}

impl QuickKey {
    /// Prepares a key; `None` when the library cannot write its header.
    pub(crate) fn new(kid: &str, secret: &[u8; 32], retire_after_s: u64) -> Option<Self> {
        let token = jsonwebtoken::encode(&PLACE.header(kid), &(), &EncodingKey::from_secret(secret)).ok()?;
        let opening = token[..=token.find('.')?].to_owned();
        Some(Self { opening, mac: Hmac::new_from_slice(secret).ok()?, retire_after_s })
    }

    /// The place of a token that this key has signed and that is good now; `None` says nothing about it.
    pub(crate) fn verify(&self, token: &str, now_s: u64) -> Option<Place> {
        if token.len() > MAX_TOKEN_BYTES || now_s > self.retire_after_s {
            return None;
        }
        let (claims, signature) = token.strip_prefix(self.opening.as_str())?.split_once('.')?;
        // One byte too many shows that more than a signature stands there.
        let mut bytes = [0; 33];
        let length = URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes).ok()?;
        let signed = &token.as_bytes()[..self.opening.len() + claims.len()];
        let mut mac = self.mac.clone();
        mac.update(signed);
        mac.verify_slice(&bytes[..length]).ok()?;
        let mut text = [0; MAX_TOKEN_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(claims, &mut text).ok()?;
        let place = serde_json::from_slice::<Claims<'_>>(&text[..length]).ok()?.place()?;
        check_times(0, place.expires_at_s, now_s).ok()?;
        Some(place)
    }
}

impl Claims<'_> {
    fn place(&self) -> Option<Place> {
        let ours = self.iss == ISSUER && self.aud == PLACE.audience;
        if !ours || self.scr > Score::MAX || self.dev > Device::LAST {
            return None;
        }
        Some(Place {
            sale: self.sale.parse().ok()?,
            visitor: self.sub.parse().ok()?,
            score: self.scr,
            device: self.dev,
            issued_at_s: self.iat,
            expires_at_s: self.exp,
        })
    }
}

#[cfg(test)]
#[path = "quick_tests.rs"]
mod tests;
