//! `claim`: a called visitor goes inside.

use queue_token::{SaleId, VisitorId};
use redis::Value;

use crate::{Clock, Line, LineError, Standing};

impl Line {
    /// Moves a called visitor inside and answers where it stands. Asking again changes nothing.
    ///
    /// # Errors
    /// When Redis does not answer; repeating is safe.
    pub async fn claim(&self, sale: &SaleId, visitor: VisitorId, clock: Clock) -> Result<Standing, LineError> {
        let reply: Value = self.call("claim", sale, &[clock.argument(), visitor.to_string()]).await?;
        Standing::from_reply("claim", &reply)
    }
}
