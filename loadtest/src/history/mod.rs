//! The history: what the crowd did and saw, one JSON line per operation, written during the run.
//!
//! The audit judges from these lines alone what was promised to whom. Keys are sorted, times are
//! microseconds since the start of the run; `README.md` of this crate documents every member.
//! No token is ever written: a visitor is known by its id.

mod kind;
mod record;
mod writer;

pub use kind::{Kind, Verdict};
pub use record::{AreaLine, End, Opening, Record, Settings};
pub use writer::{History, HistoryWriter};
