//! What both tokens share on the wire: the bounds, the header checks and the mapping of errors.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::de::DeserializeOwned;

use crate::TokenError;

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 2048;

/// Every token of ours says this.
pub(crate) const ISSUER: &str = "usher";

/// Accepted difference between the clocks of issuer and verifier, in seconds.
pub(crate) const LEEWAY_S: u64 = 2;

/// What distinguishes one kind of token from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) algorithm: Algorithm,
    pub(crate) typ: &'static str,
    pub(crate) audience: &'static str,
}

impl Kind {
    /// The header of a token of this kind.
    pub(crate) fn header(self, kid: &str) -> Header {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(self.typ.to_owned());
        header.kid = Some(kid.to_owned());
        header
    }

    /// The library's checks. Times are ours to check, since the library would read the wall clock.
    pub(crate) fn validation(self) -> Validation {
        let mut validation = Validation::new(self.algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.leeway = 0;
        validation.set_audience(&[self.audience]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["aud", "iss", "sub"]);
        validation
    }

    /// Reads the key id after checking that the header is of this kind and carries nothing we would have to obey.
    pub(crate) fn key_id(self, token: &str) -> Result<String, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|e| refused(e.kind()))?;
        if header.alg != self.algorithm {
            return Err(TokenError::Malformed("algorithm"));
        }
        if header.typ.as_deref() != Some(self.typ) {
            return Err(TokenError::Malformed("type"));
        }
        if header.crit.is_some() {
            return Err(TokenError::Malformed("critical extension"));
        }
        header.kid.ok_or(TokenError::Malformed("key id"))
    }
}

/// Checks signature, issuer and audience and returns the claims.
pub(crate) fn claims<T: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    validation: &Validation,
) -> Result<T, TokenError> {
    jsonwebtoken::decode::<T>(token, key, validation).map(|data| data.claims).map_err(|e| refused(e.kind()))
}

/// Checks the times of a token that is otherwise valid.
pub(crate) fn check_times(issued_at_s: u64, expires_at_s: u64, now_s: u64) -> Result<(), TokenError> {
    if now_s >= expires_at_s.saturating_add(LEEWAY_S) {
        return Err(TokenError::Expired);
    }
    if issued_at_s > now_s.saturating_add(LEEWAY_S) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

fn refused(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::BadSignature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => TokenError::Malformed("algorithm"),
        ErrorKind::InvalidAudience => TokenError::Malformed("audience"),
        ErrorKind::InvalidIssuer => TokenError::Malformed("issuer"),
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => TokenError::Malformed("claims"),
        _ => TokenError::Malformed("shape"),
    }
}
