//! The pass: the signed token that lets a visitor through to the origin.

use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use crate::wire::{ISSUER, Kind};
use crate::{PassId, SaleId, VisitorId};

/// The right to use what a sale guards, bound to one visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The sale it opens.
    pub sale: SaleId,
    /// Whom it lets through.
    pub visitor: VisitorId,
    /// Its id; asking twice for the same admission yields the same id.
    pub id: PassId,
    /// When it was signed, in seconds of the Unix epoch.
    pub issued_at_s: u64,
    /// Until when it is valid, in seconds of the Unix epoch.
    pub expires_at_s: u64,
}

pub(crate) const PASS: Kind = Kind { algorithm: Algorithm::EdDSA, typ: "usher-pass+jwt", audience: "usher-origin" };

/// The claims as they stand in the token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassClaims {
    iss: String,
    aud: String,
    sub: VisitorId,
    sale: SaleId,
    jti: PassId,
    iat: u64,
    exp: u64,
}

impl From<&Pass> for PassClaims {
    fn from(pass: &Pass) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            aud: PASS.audience.to_owned(),
            sub: pass.visitor,
            sale: pass.sale.clone(),
            jti: pass.id,
            iat: pass.issued_at_s,
            exp: pass.expires_at_s,
        }
    }
}

impl From<PassClaims> for Pass {
    fn from(claims: PassClaims) -> Self {
        Self {
            sale: claims.sale,
            visitor: claims.sub,
            id: claims.jti,
            issued_at_s: claims.iat,
            expires_at_s: claims.exp,
        }
    }
}
