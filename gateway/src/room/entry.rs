//! From a called visitor to a signed pass.
//!
//! The id of a pass follows from the place alone, so that asking twice — also of another gateway, also after Redis
//! has lost everything — yields the same pass.

use std::sync::Arc;

use queue::{LineError, Standing};
use queue_token::{KeyError, Pass, PassId, Place};
use sha2::{Digest, Sha256};

use crate::credentials::HeldPass;
use crate::line::room::SaleRoom;
use crate::room::document::State;
use crate::room::{Gate, HeldPlace};

/// Why no pass could be issued.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The line did not answer.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The pass could not be signed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Where the visitor stands after its claim, with the pass when it is inside.
pub async fn claim(
    gate: &Gate,
    room: &SaleRoom,
    held: &HeldPlace,
    now_s: u64,
) -> Result<(State, Option<Arc<HeldPass>>), EntryError> {
    let standing = room.claim(held.place.visitor, held.place.device).await?;
    match standing {
        Standing::Inside { turn, expires_ms } => {
            let pass = issue(gate, &held.place, expires_ms, now_s)?;
            Ok((State::Inside { turn, expires_ms }, Some(pass)))
        }
        Standing::Called { turn, deadline_ms } => Ok((State::Called { turn, deadline_ms }, None)),
        Standing::Waiting { ahead, .. } => Ok((State::Waiting { ahead: Some(ahead) }, None)),
        Standing::Left => Ok((State::Left, None)),
        Standing::Expired => Ok((State::Expired, None)),
        Standing::Moved => Ok((State::Moved, None)),
        Standing::Away { .. } | Standing::Unknown | Standing::Closed | Standing::Absent => {
            Ok((State::Waiting { ahead: None }, None))
        }
    }
}

/// Signs the pass of a place until the given time.
///
/// # Errors
/// When no key may sign.
pub fn issue(gate: &Gate, place: &Place, expires_ms: u64, now_s: u64) -> Result<Arc<HeldPass>, KeyError> {
    let pass = Pass {
        sale: place.sale.clone(),
        visitor: place.visitor,
        id: pass_id(place),
        issued_at_s: now_s,
        expires_at_s: expires_ms / 1000,
    };
    let token = gate.keys.ring().sign_pass(&pass, now_s)?;
    Ok(Arc::new(HeldPass::new(pass, &token)))
}

/// Signs a pass anew until a later time.
///
/// # Errors
/// When no key may sign.
pub fn prolong(gate: &Gate, pass: &Pass, expires_ms: u64, now_s: u64) -> Result<Arc<HeldPass>, KeyError> {
    let pass = Pass { issued_at_s: now_s, expires_at_s: expires_ms / 1000, ..pass.clone() };
    let token = gate.keys.ring().sign_pass(&pass, now_s)?;
    Ok(Arc::new(HeldPass::new(pass, &token)))
}

fn pass_id(place: &Place) -> PassId {
    let mut hash = Sha256::new();
    hash.update(b"usher pass\0");
    hash.update(place.sale.as_str().as_bytes());
    hash.update([0]);
    hash.update(place.visitor.as_bytes());
    hash.update(place.score.get().to_be_bytes());
    let digest = hash.finalize();
    let mut id = [0u8; 16];
    id.copy_from_slice(&digest[..16]);
    PassId::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use queue_token::{Device, Score, VisitorId};

    #[test]
    fn a_place_has_one_pass_id() {
        let place = |sale: &str, score| Place {
            sale: sale.parse().unwrap(),
            visitor: VisitorId::from_bytes([1; 16]),
            score: Score::new(score).unwrap(),
            device: Device::FIRST,
            issued_at_s: 0,
            expires_at_s: 1,
        };
        assert_eq!(pass_id(&place("demo", 5)), pass_id(&place("demo", 5)));
        assert_ne!(pass_id(&place("demo", 5)), pass_id(&place("demo", 6)), "a new place is a new pass");
        assert_ne!(pass_id(&place("demo", 5)), pass_id(&place("demo2", 5)));
    }
}
