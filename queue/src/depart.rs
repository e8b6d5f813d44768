//! `depart`: a visitor gives up its place or its pass.

use queue_token::{SaleId, VisitorId};
use redis::Value;

use crate::{Clock, Line, LineError, Standing};

impl Line {
    /// Frees the visitor's place or slot at once and answers where it stood before. Asking again changes nothing.
    ///
    /// # Errors
    /// When Redis does not answer; repeating is safe.
    pub async fn depart(&self, sale: &SaleId, visitor: VisitorId, clock: Clock) -> Result<Standing, LineError> {
        let reply: Value = self.call("depart", sale, &[clock.argument(), visitor.to_string()]).await?;
        Standing::from_reply("depart", &reply)
    }
}
