//! `take`: the place that a code leads to moves to the device that asks.

use queue_token::{Device, SaleId, Score, Taker, VisitorId};
use redis::Value;

use crate::seen::Shown;
use crate::{Clock, Code, Line, LineError};

/// What came of taking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The place is this device's now, and is to be signed with these facts.
    Place(Shown),
    /// The code leads to no place: wrong, used, too old, or the place is over.
    Unknown,
    /// The sale is not known to this Redis.
    Absent,
}

impl Line {
    /// Takes the place that a code leads to. Exactly one taker gets it; the same one gets the same answer again while
    /// the code lives.
    ///
    /// # Errors
    /// When Redis does not answer; repeating with the same taker is safe.
    pub async fn take(&self, sale: &SaleId, code: Code, taker: Taker, clock: Clock) -> Result<Taken, LineError> {
        let reply: Value = self.call("take", sale, &[clock.argument(), code.compact(), taker.to_string()]).await?;
        let corrupt = || LineError::Corrupt { attempt: "take", what: "a place of another shape".to_owned() };
        let (what, visitor, score, device): (String, String, u64, u16) =
            redis::from_redis_value_ref(&reply).map_err(|_| corrupt())?;
        Ok(match what.as_str() {
            "taken" => {
                let visitor: VisitorId = visitor.parse().map_err(|_| corrupt())?;
                let score = Score::new(score).ok_or_else(corrupt)?;
                let device = Device::new(device).ok_or_else(corrupt)?;
                Taken::Place(Shown { visitor, score, device })
            }
            "unknown" => Taken::Unknown,
            "absent" => Taken::Absent,
            _ => return Err(corrupt()),
        })
    }
}
