//! The place: the signed record of a visitor's spot in a line.
//!
//! A place is the durable copy of the queue: Redis is an index that can be rebuilt from the places that
//! visitors bring back. So it holds everything that the line needs to take its visitor back in.

use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use crate::wire::{ISSUER, Kind};
use crate::{Device, SaleId, Score, TokenError, VisitorId};

/// A visitor's spot in the line of a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The sale whose line it is.
    pub sale: SaleId,
    /// Who holds it.
    pub visitor: VisitorId,
    /// The spot.
    pub score: Score,
    /// Which of the visitor's devices it was signed for; only the latest may use it.
    pub device: Device,
    /// When it was signed, in seconds of the Unix epoch.
    pub issued_at_s: u64,
    /// Until when it is taken, in seconds of the Unix epoch.
    pub expires_at_s: u64,
}

pub(crate) const PLACE: Kind = Kind { algorithm: Algorithm::HS256, typ: "usher-place+jwt", audience: "usher-gateway" };

/// The claims as they stand in the token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlaceClaims {
    iss: String,
    aud: String,
    sub: VisitorId,
    sale: SaleId,
    scr: Score,
    /// Absent for the first device, as in every place that was signed before places could move.
    #[serde(default, skip_serializing_if = "Device::is_first")]
    dev: Device,
    iat: u64,
    exp: u64,
}

impl From<&Place> for PlaceClaims {
    fn from(place: &Place) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            aud: PLACE.audience.to_owned(),
            sub: place.visitor,
            sale: place.sale.clone(),
            scr: place.score,
            dev: place.device,
            iat: place.issued_at_s,
            exp: place.expires_at_s,
        }
    }
}

impl TryFrom<PlaceClaims> for Place {
    type Error = TokenError;

    fn try_from(claims: PlaceClaims) -> Result<Self, TokenError> {
        if claims.scr > Score::MAX || claims.dev > Device::LAST {
            return Err(TokenError::Malformed("claims"));
        }
        Ok(Self {
            sale: claims.sale,
            visitor: claims.sub,
            score: claims.scr,
            device: claims.dev,
            issued_at_s: claims.iat,
            expires_at_s: claims.exp,
        })
    }
}
