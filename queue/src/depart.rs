//! `depart`: a visitor gives up its place or its pass.

use queue_token::{Device, SaleId, VisitorId};
use redis::Value;

use crate::{Clock, Line, LineError, Standing};

impl Line {
    /// Frees the visitor's place or slot at once and answers where it stood before. Asking again changes nothing.
    /// `device` is the one that its place was signed for, which must be the latest; `None` when it shows a pass.
    ///
    /// # Errors
    /// When Redis does not answer; repeating is safe.
    pub async fn depart(
        &self,
        sale: &SaleId,
        visitor: VisitorId,
        device: Option<Device>,
        clock: Clock,
    ) -> Result<Standing, LineError> {
        let device = device.map(|device| device.to_string()).unwrap_or_default();
        let reply: Value = self.call("depart", sale, &[clock.argument(), visitor.to_string(), device]).await?;
        Standing::from_reply("depart", &reply)
    }
}
