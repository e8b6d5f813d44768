//! `offer`: a code is noted with which a place may be taken to another device.

use queue_token::SaleId;
use redis::Value;

use crate::seen::Shown;
use crate::{Clock, Code, Line, LineError};

/// What came of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// The code leads to the place. It is the visitor's earlier one while that has most of its life ahead.
    Code {
        /// The code.
        code: Code,
        /// The end of its life, in milliseconds of the Unix epoch.
        until_ms: u64,
    },
    /// The code leads to somebody else's place: come with another one.
    InUse,
    /// As many codes are live as may be.
    Full,
    /// The place has moved as often as a place may.
    Final,
    /// Another device holds the place already.
    Moved,
    /// Its turn has come.
    Called,
    /// It holds a live pass.
    Inside,
    /// It gave its place back.
    Left,
    /// Its pass was used up.
    Expired,
    /// The sale is not known to this Redis.
    Absent,
}

impl Line {
    /// Notes a code that leads to the place shown, for ten minutes. Asking again soon answers the earlier code.
    ///
    /// # Errors
    /// When Redis does not answer; repeating is safe.
    pub async fn offer(&self, sale: &SaleId, shown: Shown, code: Code, clock: Clock) -> Result<Offered, LineError> {
        let Shown { visitor, score, device } = shown;
        let arguments = [clock.argument(), visitor.to_string(), score.to_string(), device.to_string(), code.compact()];
        let reply: Value = self.call("offer", sale, &arguments).await?;
        let corrupt = || LineError::Corrupt { attempt: "offer", what: "an offer of another shape".to_owned() };
        let (what, code, until_ms): (String, String, u64) =
            redis::from_redis_value_ref(&reply).map_err(|_| corrupt())?;
        Ok(match what.as_str() {
            "offered" => Offered::Code { code: code.parse().map_err(|_| corrupt())?, until_ms },
            "in_use" => Offered::InUse,
            "full" => Offered::Full,
            "final" => Offered::Final,
            "moved" => Offered::Moved,
            "called" => Offered::Called,
            "inside" => Offered::Inside,
            "left" => Offered::Left,
            "expired" => Offered::Expired,
            "absent" => Offered::Absent,
            _ => return Err(corrupt()),
        })
    }
}
