//! `seen`: presence of visitors near the front, and the way back into the line.

use queue_token::{SaleId, Score, VisitorId};
use redis::Value;

use crate::{Clock, Line, LineError, Standing};

/// Most visitors in one call.
pub const BATCH_MAX: usize = 512;

impl Line {
    /// Notes that each visitor is present, and puts back those who were set aside or lost, at the score their place
    /// was signed with. Replies stand in the order of the visitors.
    ///
    /// # Errors
    /// When Redis does not answer; repeating is safe.
    pub async fn seen(
        &self,
        sale: &SaleId,
        visitors: &[(VisitorId, Score)],
        clock: Clock,
    ) -> Result<Vec<Standing>, LineError> {
        let mut arguments = Vec::with_capacity(visitors.len() * 2 + 1);
        arguments.push(clock.argument());
        for (visitor, score) in visitors {
            arguments.push(visitor.to_string());
            arguments.push(score.to_string());
        }
        let replies: Vec<Value> = self.call("seen", sale, &arguments).await?;
        Standing::from_replies("seen", &replies, visitors.len())
    }
}
