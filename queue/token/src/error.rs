//! Why a token or a key was refused.

/// Why a token was refused. None of the variants tells a stranger more than that it is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`crate::MAX_TOKEN_BYTES`].
    #[error("token is too long")]
    TooLong,
    /// Not a token of the expected kind: shape, algorithm, type, audience or claims are wrong.
    #[error("token is malformed: {0}")]
    Malformed(&'static str),
    /// Signed with a key that is not (or no longer) known; a key set may have to be fetched again.
    #[error("token names an unknown key")]
    UnknownKey,
    /// The signature does not fit.
    #[error("token signature is invalid")]
    BadSignature,
    /// The token was valid once.
    #[error("token has expired")]
    Expired,
    /// Issued later than now, beyond the accepted clock difference.
    #[error("token is from the future")]
    NotYetValid,
}

/// Why a key file or key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not the expected JSON.
    #[error("key file is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A key's bytes are not base64url of 32 bytes.
    #[error("key {kid:?} must be 32 bytes in base64url")]
    BadKey {
        /// The key's id.
        kid: String,
    },
    /// Two keys share an id.
    #[error("key id {kid:?} is used twice")]
    DuplicateKid {
        /// The repeated id.
        kid: String,
    },
    /// No key may sign at this time.
    #[error("no {kind} key is valid at second {now_s}")]
    NoSigningKey {
        /// `place` or `pass`.
        kind: &'static str,
        /// The time asked for.
        now_s: u64,
    },
    /// The signing library refused.
    #[error("signing failed: {0}")]
    Signing(#[source] jsonwebtoken::errors::Error),
}
