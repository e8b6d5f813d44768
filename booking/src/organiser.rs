//! Who may change the stock: whoever has the organisers' token.
//!
//! Records name the hand by a fingerprint of the token, so that a token that was changed is told from the one before.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The organisers' token, as a digest.
#[derive(Clone)]
pub struct OrganiserToken {
    digest: [u8; 32],
}

impl std::fmt::Debug for OrganiserToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OrganiserToken")
    }
}

impl OrganiserToken {
    /// The token as the file has it.
    #[must_use]
    pub fn new(token: &SecretString) -> Self {
        Self { digest: Sha256::digest(token.expose_secret()).into() }
    }

    /// Whether this is the token; takes the same time whatever differs.
    #[must_use]
    pub fn is(&self, token: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(token).into();
        bool::from(self.digest.ct_eq(&given))
    }

    /// How records name its bearer: nothing can be learnt of the token from it.
    #[must_use]
    pub fn actor(&self) -> String {
        let mark = Sha256::digest(self.digest);
        format!("organiser:{:02x}{:02x}{:02x}{:02x}", mark[0], mark[1], mark[2], mark[3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let token = OrganiserToken::new(&"s3cret".into());
        assert!(token.is("s3cret"));
        for other in ["", "s3cre", "s3cret ", "S3CRET"] {
            assert!(!token.is(other), "{other:?}");
        }
        assert_ne!(token.actor(), OrganiserToken::new(&"other".into()).actor());
        assert!(!format!("{token:?}{}", token.actor()).contains("s3cret"));
    }
}
