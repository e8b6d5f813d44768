//! `claim`: a called visitor goes inside.

use queue_token::{Device, SaleId, VisitorId};
use redis::Value;

use crate::{Clock, Line, LineError, Standing};

impl Line {
    /// Moves a called visitor inside and answers where it stands. Asking again changes nothing. `device` is the one that
    /// its place was signed for: only the latest claims.
    ///
    /// # Errors
    /// When Redis does not answer; repeating is safe.
    pub async fn claim(
        &self,
        sale: &SaleId,
        visitor: VisitorId,
        device: Device,
        clock: Clock,
    ) -> Result<Standing, LineError> {
        let arguments = [clock.argument(), visitor.to_string(), device.to_string()];
        let reply: Value = self.call("claim", sale, &arguments).await?;
        Standing::from_reply("claim", &reply)
    }
}
