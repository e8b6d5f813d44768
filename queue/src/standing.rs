//! Where a visitor stands: the reply that most functions share.

use queue_token::Score;
use redis::Value;

use crate::LineError;

/// The facts of a visitor whose turn came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The spot it was called from.
    pub score: Score,
    /// When it was called, in microseconds of the Redis server's clock. 0 when Redis has forgotten.
    pub called_us: u64,
    /// How many were called before it in this sale, plus one. 0 when Redis has forgotten.
    pub seq: u64,
}

/// Where a visitor stands in a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In the line.
    Waiting {
        /// Its spot.
        score: Score,
        /// How many are before it now.
        ahead: u64,
    },
    /// Its turn has come.
    Called {
        /// Facts of the turn.
        turn: Turn,
        /// Until when it may claim, in milliseconds of the Unix epoch.
        deadline_ms: u64,
    },
    /// It holds a live pass.
    Inside {
        /// Facts of the turn.
        turn: Turn,
        /// Until when the pass is live, in milliseconds of the Unix epoch.
        expires_ms: u64,
    },
    /// Set aside with its spot kept, until it is seen again.
    Away {
        /// Its spot.
        score: Score,
    },
    /// It gave its place back.
    Left,
    /// Its pass was used up.
    Expired,
    /// Another device of the visitor holds the place; only an answer to whoever says which device it is.
    Moved,
    /// The line does not know it.
    Unknown,
    /// The sale takes nobody any more; only an answer to `join`.
    Closed,
    /// The sale is not known to this Redis.
    Absent,
}

impl Standing {
    /// Reads `{ state, score, until_ms, called_us, seq, ahead }`.
    pub(crate) fn from_reply(attempt: &'static str, reply: &Value) -> Result<Self, LineError> {
        let corrupt = || LineError::Corrupt { attempt, what: format!("standing {reply:?}") };
        let (state, score, until_ms, called_us, seq, ahead): (String, u64, u64, u64, u64, u64) =
            redis::from_redis_value_ref(reply).map_err(|_| corrupt())?;
        let score = Score::new(score).ok_or_else(corrupt)?;
        let turn = Turn { score, called_us, seq };
        Ok(match state.as_str() {
            "waiting" => Self::Waiting { score, ahead },
            "called" => Self::Called { turn, deadline_ms: until_ms },
            "inside" => Self::Inside { turn, expires_ms: until_ms },
            "away" => Self::Away { score },
            "left" => Self::Left,
            "expired" => Self::Expired,
            "moved" => Self::Moved,
            "unknown" => Self::Unknown,
            "closed" => Self::Closed,
            "absent" => Self::Absent,
            _ => return Err(corrupt()),
        })
    }

    pub(crate) fn from_replies(
        attempt: &'static str,
        replies: &[Value],
        expected: usize,
    ) -> Result<Vec<Self>, LineError> {
        if replies.len() != expected {
            let what = format!("{} standings for {expected} visitors", replies.len());
            return Err(LineError::Corrupt { attempt, what });
        }
        replies.iter().map(|reply| Self::from_reply(attempt, reply)).collect()
    }
}
