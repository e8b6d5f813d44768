//! The keys of a fleet of gateways, with rotation by overlap.
//!
//! A key file lists keys of both kinds with the time from which each may sign and the time after which it is
//! forgotten. To rotate: add a key whose `not_before_s` lies one reload ahead, let every gateway read the file,
//! and set `retire_after_s` of the old key to its last signature plus the longest token life.
//!
//! Invariants: the newest key that may sign does; a key not yet signing already verifies and is already
//! published, so that no verifier meets a token before its key; a retired key does neither.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use serde::{Deserialize, Serialize};

use crate::pass::{PASS, PassClaims};
use crate::place::{PLACE, PlaceClaims};
use crate::quick::QuickKey;
use crate::verifier::{KeySet, PassVerifier, PublicKey};
use crate::wire::{check_times, claims};
use crate::{KeyError, Pass, Place, TokenError};

/// The key file as it stands on disk. Holds secrets: its `Debug` prints none.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringFile {
    place: Vec<KeyEntry>,
    pass: Vec<KeyEntry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    kid: String,
    /// 32 bytes in base64url: an HMAC secret, or an Ed25519 seed.
    secret: String,
    #[serde(default)]
    not_before_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retire_after_s: Option<u64>,
}

impl KeyringFile {
    /// A new file with one key of each kind, made from 64 random bytes and named after the time.
    pub fn generate(now_s: u64, entropy: &[u8; 64]) -> Self {
        let entry = |kind: &str, secret: &[u8]| KeyEntry {
            kid: format!("{kind}-{now_s}"),
            secret: URL_SAFE_NO_PAD.encode(secret),
            not_before_s: 0,
            retire_after_s: None,
        };
        Self { place: vec![entry("place", &entropy[..32])], pass: vec![entry("pass", &entropy[32..])] }
    }

    /// Adds a key of each kind that signs from `not_before_s` on, and retires the present ones at `retire_after_s`.
    #[must_use]
    pub fn rotated(mut self, not_before_s: u64, retire_after_s: u64, entropy: &[u8; 64]) -> Self {
        let fresh = Self::generate(not_before_s, entropy);
        for (keys, new) in [(&mut self.place, fresh.place), (&mut self.pass, fresh.pass)] {
            for key in keys.iter_mut() {
                key.retire_after_s.get_or_insert(retire_after_s);
            }
            keys.extend(new.into_iter().map(|key| KeyEntry { not_before_s, ..key }));
        }
        self
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is not the expected JSON.
    pub fn from_json(text: &str) -> Result<Self, KeyError> {
        Ok(serde_json::from_str(text)?)
    }

    /// The file's text.
    ///
    /// # Errors
    /// Never in practice; the signature follows the JSON library.
    pub fn to_json(&self) -> Result<String, KeyError> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

impl fmt::Debug for KeyringFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids = |keys: &[KeyEntry]| keys.iter().map(|k| k.kid.clone()).collect::<Vec<_>>();
        f.debug_struct("KeyringFile").field("place", &kids(&self.place)).field("pass", &kids(&self.pass)).finish()
    }
}

/// Keys ready for use.
pub struct Keyring {
    place: Keys,
    /// The place keys once more, for tokens as we write them; the last of the file first.
    quick: Vec<QuickKey>,
    pass: Keys,
    place_validation: Validation,
    pass_validation: Validation,
}

struct Keys {
    kind: &'static str,
    /// Sorted by `not_before_s`, so that the newest that may sign is the last one that fits.
    signing: Vec<SigningKey>,
    verifying: HashMap<String, VerifyingKey>,
}

struct SigningKey {
    kid: String,
    not_before_s: u64,
    retire_after_s: u64,
    key: EncodingKey,
    public: Option<[u8; 32]>,
}

struct VerifyingKey {
    retire_after_s: u64,
    key: DecodingKey,
}

impl Keyring {
    /// Prepares the keys of a file.
    ///
    /// # Errors
    /// When a key is not 32 bytes, an id repeats, or no key may sign at `now_s`.
    pub fn new(file: &KeyringFile, now_s: u64) -> Result<Self, KeyError> {
        let place = Keys::new("place", &file.place, |secret| {
            Ok((EncodingKey::from_secret(secret), DecodingKey::from_secret(secret), None))
        })?;
        let quick = file.place.iter().rev().filter_map(|entry| {
            let retire_after_s = entry.retire_after_s.unwrap_or(u64::MAX);
            QuickKey::new(&entry.kid, &secret(entry).ok()?, retire_after_s)
        });
        let ring = Self {
            place,
            quick: quick.collect(),
            pass: Keys::new("pass", &file.pass, ed25519)?,
            place_validation: PLACE.validation(),
            pass_validation: PASS.validation(),
        };
        ring.place.signer(now_s)?;
        ring.pass.signer(now_s)?;
        Ok(ring)
    }

    /// Signs a place at `now_s`.
    ///
    /// # Errors
    /// When no key may sign now.
    pub fn sign_place(&self, place: &Place, now_s: u64) -> Result<String, KeyError> {
        let signer = self.place.signer(now_s)?;
        jsonwebtoken::encode(&PLACE.header(&signer.kid), &PlaceClaims::from(place), &signer.key)
            .map_err(KeyError::Signing)
    }

    /// Checks a place at `now_s`. Which sale it must be for is the caller's to compare.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify_place(&self, token: &str, now_s: u64) -> Result<Place, TokenError> {
        match self.quick.iter().find_map(|key| key.verify(token, now_s)) {
            Some(place) => Ok(place),
            // Whatever is unusual about it, the library judges it and says what is wrong.
            None => self.verify_unusual_place(token, now_s),
        }
    }

    pub(crate) fn verify_unusual_place(&self, token: &str, now_s: u64) -> Result<Place, TokenError> {
        let kid = PLACE.key_id(token)?;
        let key = self.place.verifier(&kid, now_s)?;
        let place = Place::try_from(claims::<PlaceClaims>(token, key, &self.place_validation)?)?;
        // A gateway whose clock is ahead signs places that are early here; they are good all the same.
        check_times(0, place.expires_at_s, now_s)?;
        Ok(place)
    }

    /// Signs a pass at `now_s`.
    ///
    /// # Errors
    /// When no key may sign now.
    pub fn sign_pass(&self, pass: &Pass, now_s: u64) -> Result<String, KeyError> {
        let signer = self.pass.signer(now_s)?;
        jsonwebtoken::encode(&PASS.header(&signer.kid), &PassClaims::from(pass), &signer.key).map_err(KeyError::Signing)
    }

    /// Checks a pass at `now_s`. Which sale it must be for is the caller's to compare.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify_pass(&self, token: &str, now_s: u64) -> Result<Pass, TokenError> {
        let kid = PASS.key_id(token)?;
        let key = self.pass.verifier(&kid, now_s)?;
        let pass = Pass::from(claims::<PassClaims>(token, key, &self.pass_validation)?);
        check_times(pass.issued_at_s, pass.expires_at_s, now_s)?;
        Ok(pass)
    }

    /// The published key set: every pass key that is not retired at `now_s`.
    pub fn jwks_json(&self, now_s: u64) -> String {
        let live = self.pass.signing.iter().filter(|key| now_s <= key.retire_after_s);
        let keys = live
            .filter_map(|key| {
                Some(PublicKey {
                    kty: "OKP".to_owned(),
                    crv: "Ed25519".to_owned(),
                    usage: "sig".to_owned(),
                    alg: "EdDSA".to_owned(),
                    kid: key.kid.clone(),
                    x: URL_SAFE_NO_PAD.encode(key.public?),
                })
            })
            .collect();
        serde_json::to_string(&KeySet { keys }).expect("a key set holds only strings")
    }

    /// A verifier of the published keys, as another origin would have it.
    ///
    /// # Errors
    /// See [`PassVerifier::from_jwks_json`].
    pub fn pass_verifier(&self, now_s: u64) -> Result<PassVerifier, KeyError> {
        PassVerifier::from_jwks_json(&self.jwks_json(now_s))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids = |keys: &Keys| keys.verifying.keys().cloned().collect::<Vec<_>>();
        f.debug_struct("Keyring")
            .field("place", &kids(&self.place))
            .field("pass", &kids(&self.pass))
            .finish_non_exhaustive()
    }
}

type Pair = (EncodingKey, DecodingKey, Option<[u8; 32]>);

impl Keys {
    fn new(
        kind: &'static str,
        entries: &[KeyEntry],
        pair: impl Fn(&[u8; 32]) -> Result<Pair, KeyError>,
    ) -> Result<Self, KeyError> {
        let mut keys = Self { kind, signing: Vec::new(), verifying: HashMap::new() };
        for entry in entries {
            let secret = secret(entry)?;
            let (signing, verifying, public) = pair(&secret)?;
            let retire_after_s = entry.retire_after_s.unwrap_or(u64::MAX);
            let known = keys.verifying.insert(entry.kid.clone(), VerifyingKey { retire_after_s, key: verifying });
            if known.is_some() {
                return Err(KeyError::DuplicateKid { kid: entry.kid.clone() });
            }
            keys.signing.push(SigningKey {
                kid: entry.kid.clone(),
                not_before_s: entry.not_before_s,
                retire_after_s,
                key: signing,
                public,
            });
        }
        keys.signing.sort_by_key(|key| key.not_before_s);
        Ok(keys)
    }

    fn signer(&self, now_s: u64) -> Result<&SigningKey, KeyError> {
        self.signing
            .iter()
            .rev()
            .find(|key| key.not_before_s <= now_s && now_s <= key.retire_after_s)
            .ok_or(KeyError::NoSigningKey { kind: self.kind, now_s })
    }

    fn verifier(&self, kid: &str, now_s: u64) -> Result<&DecodingKey, TokenError> {
        match self.verifying.get(kid) {
            Some(key) if now_s <= key.retire_after_s => Ok(&key.key),
            _ => Err(TokenError::UnknownKey),
        }
    }
}

fn secret(entry: &KeyEntry) -> Result<[u8; 32], KeyError> {
    let bytes = URL_SAFE_NO_PAD.decode(&entry.secret).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| KeyError::BadKey { kid: entry.kid.clone() })
}

/// An Ed25519 key pair from its seed.
fn ed25519(seed: &[u8; 32]) -> Result<Pair, KeyError> {
    let signing = EncodingKey::from_ed_der(&pkcs8(seed));
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&signing, Algorithm::EdDSA).map_err(KeyError::Signing)?;
    let jsonwebtoken::jwk::AlgorithmParameters::OctetKeyPair(parameters) = jwk.algorithm else {
        return Err(KeyError::BadKey { kid: String::new() });
    };
    let public = URL_SAFE_NO_PAD.decode(&parameters.x).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
    let public = public.ok_or_else(|| KeyError::BadKey { kid: String::new() })?;
    Ok((signing, DecodingKey::from_ed_der(&public), Some(public)))
}

/// The seed as PKCS#8 version 1 (RFC 8410 §7): the only form in which the signing library can tell the public key.
fn pkcs8(seed: &[u8; 32]) -> [u8; 48] {
    const PREFIX: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let mut der = [0u8; 48];
    der[..16].copy_from_slice(&PREFIX);
    der[16..].copy_from_slice(seed);
    der
}
