//! The published language between a visitor, the gateway and any origin.
//!
//! Owns: the ids of a sale, a visitor and a pass; the two signed tokens; the keys that sign them.
//!
//! * A **place** ([`Place`]) proves a visitor's spot in a line. HMAC-SHA256, checked only by gateways.
//! * A **pass** ([`Pass`]) lets a visitor through to the origin. Ed25519, checked by anybody who
//!   holds the published key set ([`PassVerifier`]).
//!
//! Invariants:
//! * Each kind has one algorithm, one `typ` and one `aud`; a token of one kind is never taken for the other.
//! * The key is found by `kid` among known keys; nothing else in a token's header is believed.
//! * A token longer than [`MAX_TOKEN_BYTES`] is refused before it is parsed.
//!
//! Deliberately absent: clocks, randomness and I/O. Callers pass the time in seconds of the Unix epoch and
//! the random bytes.

mod error;
mod ids;
mod keyring;
mod pass;
mod place;
mod quick;
mod verifier;
mod wire;

pub use error::{KeyError, TokenError};
pub use ids::{Device, IdError, PassId, SaleId, Score, Taker, VisitorId};
pub use keyring::{Keyring, KeyringFile};
pub use pass::Pass;
pub use place::Place;
pub use verifier::PassVerifier;
pub use wire::MAX_TOKEN_BYTES;
