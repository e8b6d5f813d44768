//! Checking passes with nothing but the published key set.
//!
//! This is all that an origin needs; it is also what the gateway itself uses.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, Validation};
use serde::{Deserialize, Serialize};

use crate::pass::{PASS, PassClaims};
use crate::wire::{check_times, claims};
use crate::{KeyError, Pass, TokenError};

/// The key set as RFC 7517 and RFC 8037 write it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeySet {
    pub(crate) keys: Vec<PublicKey>,
}

/// One Ed25519 public key of a [`KeySet`]. Members we do not know are ignored, as RFC 7517 asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PublicKey {
    pub(crate) kty: String,
    #[serde(default)]
    pub(crate) crv: String,
    #[serde(default, rename = "use")]
    pub(crate) usage: String,
    #[serde(default)]
    pub(crate) alg: String,
    #[serde(default)]
    pub(crate) kid: String,
    #[serde(default)]
    pub(crate) x: String,
}

/// Verifies passes against a fixed set of public keys.
pub struct PassVerifier {
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
}

impl PassVerifier {
    /// Reads a JWKS document. Keys of other kinds are skipped.
    ///
    /// # Errors
    /// When the text is no key set, or an Ed25519 key in it is not 32 bytes or repeats an id.
    pub fn from_jwks_json(text: &str) -> Result<Self, KeyError> {
        let set: KeySet = serde_json::from_str(text)?;
        let mut keys = HashMap::new();
        for key in set.keys.into_iter().filter(|k| k.kty == "OKP" && k.crv == "Ed25519") {
            let bytes = URL_SAFE_NO_PAD.decode(&key.x).ok().filter(|b| b.len() == 32);
            let Some(bytes) = bytes else { return Err(KeyError::BadKey { kid: key.kid }) };
            if keys.insert(key.kid.clone(), DecodingKey::from_ed_der(&bytes)).is_some() {
                return Err(KeyError::DuplicateKid { kid: key.kid });
            }
        }
        Ok(Self { keys, validation: PASS.validation() })
    }

    /// Whether a key of this id is in the set.
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// Checks a pass at `now_s` seconds of the Unix epoch. Which sale it must be for is the caller's to compare.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`] tells that the key set may be out of date; all others are final.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Pass, TokenError> {
        let kid = PASS.key_id(token)?;
        let key = self.keys.get(&kid).ok_or(TokenError::UnknownKey)?;
        let pass = Pass::from(claims::<PassClaims>(token, key, &self.validation)?);
        check_times(pass.issued_at_s, pass.expires_at_s, now_s)?;
        Ok(pass)
    }
}

impl std::fmt::Debug for PassVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PassVerifier").field("kids", &self.keys.keys()).finish_non_exhaustive()
    }
}
