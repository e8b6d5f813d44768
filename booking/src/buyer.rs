//! Buyer tokens and ticket codes: what this core signs itself.
//!
//! A buyer token opens the holds and bookings of one owner for 30 days, also after the pass that made them
//! is gone. It is a JWT of its own kind (`typ`, `aud`), signed with HMAC-SHA256, so it is never taken for a
//! place or a pass. A ticket code is the ticket's id and a signature over event and ticket: a door that has
//! the key can check it without asking anybody.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use booking_domain::{EventId, Owner, TicketId};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How long a buyer token is taken.
pub const LIFE_S: u64 = 30 * 24 * 3600;
const TYPE: &str = "usher-buyer+jwt";
const AUDIENCE: &str = "usher-booking";
const MAX_TOKEN_BYTES: usize = 1024;
/// Accepted difference between the clocks of nodes.
const LEEWAY_S: u64 = 2;
/// Bytes of signature in a ticket code: 96 bits.
const TICKET_SIGNATURE: usize = 12;

/// The key file is not 32 bytes in hexadecimal.
#[derive(Debug, thiserror::Error)]
#[error("the buyer key must be 64 hexadecimal digits (32 random bytes)")]
pub struct KeyError;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    aud: String,
    sub: Owner,
    iat: u64,
    exp: u64,
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Whose holds and bookings it opens.
    pub owner: Owner,
    /// When it was made, by the clock of its maker.
    pub issued_at_s: u64,
}

/// The keys, ready for use.
pub struct BuyerKeys {
    /// The first part of every token, with its dot.
    head: String,
    signing: Hmac<Sha256>,
    verifying: DecodingKey,
    validation: Validation,
    tickets: Hmac<Sha256>,
}

impl std::fmt::Debug for BuyerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BuyerKeys")
    }
}

impl BuyerKeys {
    /// From the text of the key file.
    ///
    /// # Errors
    /// When it is not 32 bytes in hexadecimal.
    pub fn from_hex(text: &SecretString) -> Result<Self, KeyError> {
        let secret = decode_hex(text.expose_secret().trim()).ok_or(KeyError)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["aud", "sub"]);
        let ticket_key = keyed(&secret).chain_update(b"usher ticket code v1").finalize().into_bytes();
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        let header = serde_json::to_vec(&header).expect("a header is text");
        Ok(Self {
            head: format!("{}.", URL_SAFE_NO_PAD.encode(header)),
            signing: keyed(&secret),
            verifying: DecodingKey::from_secret(&secret),
            validation,
            tickets: keyed(&ticket_key),
        })
    }

    /// Signs a token for an owner. Each hold has one: the header is always the same, and the key is prepared once.
    #[must_use]
    pub fn sign(&self, owner: &Owner, now_s: u64) -> String {
        let claims = Claims { aud: AUDIENCE.to_owned(), sub: owner.clone(), iat: now_s, exp: now_s + LIFE_S };
        let claims = serde_json::to_vec(&claims).expect("the claims are text and numbers");
        let mut token = String::with_capacity(self.head.len() + 4 * claims.len() / 3 + 48);
        token.push_str(&self.head);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.signing.clone().chain_update(&token).finalize().into_bytes();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// The owner that a token opens; none when it is no valid token of ours.
    #[must_use]
    pub fn verify(&self, token: &str, now_s: u64) -> Option<Opened> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TYPE) || header.alg != Algorithm::HS256 || header.crit.is_some() {
            return None;
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation).ok()?.claims;
        // When it was made is by the database's clock or another node's: it orders tokens and judges nothing.
        let fresh = now_s < claims.exp.saturating_add(LEEWAY_S);
        fresh.then_some(Opened { owner: claims.sub, issued_at_s: claims.iat })
    }

    /// The code of a ticket.
    #[must_use]
    pub fn ticket_code(&self, event: &EventId, ticket: TicketId) -> String {
        let mut mac = self.tickets.clone();
        mac.update(ticket.get().as_bytes());
        mac.update(event.as_str().as_bytes());
        let mut code = ticket.get().as_bytes().to_vec();
        code.extend_from_slice(&mac.finalize().into_bytes()[..TICKET_SIGNATURE]);
        URL_SAFE_NO_PAD.encode(code)
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_what_the_library_would_sign() {
        let keys = BuyerKeys::from_hex(&SecretString::from("cd".repeat(32))).unwrap();
        let owner = Owner::buyer("AAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        let claims = Claims { aud: AUDIENCE.to_owned(), sub: owner.clone(), iat: 7, exp: 7 + LIFE_S };
        let theirs = jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(&[0xcd; 32]));
        assert_eq!(keys.sign(&owner, 7), theirs.unwrap());
    }

    fn keys(fill: char) -> BuyerKeys {
        BuyerKeys::from_hex(&fill.to_string().repeat(64).into()).unwrap()
    }

    #[test]
    fn a_token_opens_its_owner_for_thirty_days() {
        let owner = Owner::buyer("abcdefghijklmnopqrst-_").unwrap();
        let token = keys('a').sign(&owner, 1_000);
        let opened = Some(Opened { owner, issued_at_s: 1_000 });
        assert_eq!(keys('a').verify(&token, 1_000), opened);
        assert_eq!(keys('a').verify(&token, 1_000 + LIFE_S), opened);
        assert_eq!(keys('a').verify(&token, 1_000 + LIFE_S + 2), None, "expired");
        assert_eq!(keys('a').verify(&token, 900), opened, "made by a clock that is ahead of ours");
        assert_eq!(keys('b').verify(&token, 1_000), None, "another key");
        assert_eq!(keys('a').sign(&keys('a').verify(&token, 1_000).unwrap().owner, 1_000), token, "deterministic");
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let token = keys('a').sign(&Owner::buyer("abcdefghijklmnopqrst-_").unwrap(), 1_000);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of a part may carry bits that decoding ignores or refuses; never another owner.
            let opened = keys('a').verify(&changed, 1_000);
            assert!(opened.is_none() || opened == keys('a').verify(&token, 1_000), "{at}");
        }
        for text in ["", "x", "a.b.c", &"x".repeat(5000)] {
            assert_eq!(keys('a').verify(text, 1_000), None);
        }
    }

    #[test]
    fn ticket_codes_depend_on_key_event_and_ticket() {
        let (one, two): (EventId, EventId) = ("one".parse().unwrap(), "two".parse().unwrap());
        let ticket = TicketId::new(uuid::Uuid::from_u128(7));
        let code = keys('a').ticket_code(&one, ticket);
        assert_eq!((code.len(), &code), (38, &keys('a').ticket_code(&one, ticket)));
        assert_ne!(code, keys('a').ticket_code(&two, ticket));
        assert_ne!(code, keys('b').ticket_code(&one, ticket));
    }

    #[test]
    fn the_key_is_thirty_two_bytes() {
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(66), &"é".repeat(32)] {
            assert!(BuyerKeys::from_hex(&bad.to_owned().into()).is_err(), "{bad}");
        }
    }
}
