//! `join`: places visitors once, in the order given.

use queue_token::{SaleId, Score, VisitorId};
use redis::Value;

use crate::{Clock, Line, LineError, Standing};

/// Most visitors in one call.
pub const BATCH_MAX: usize = 256;

impl Line {
    /// Places each visitor once. `floor` is the highest score that the calling gateway ever signed or saw, so that
    /// scores still rise after Redis has lost everything. Replies stand in the order of the visitors.
    ///
    /// # Errors
    /// When Redis does not answer; repeating is safe, since a visitor is placed once.
    pub async fn join(
        &self,
        sale: &SaleId,
        floor: Score,
        visitors: &[VisitorId],
        clock: Clock,
    ) -> Result<Vec<Standing>, LineError> {
        let mut arguments = Vec::with_capacity(visitors.len() + 2);
        arguments.push(clock.argument());
        arguments.push(floor.to_string());
        arguments.extend(visitors.iter().map(ToString::to_string));
        let replies: Vec<Value> = self.call("join", sale, &arguments).await?;
        Standing::from_replies("join", &replies, visitors.len())
    }
}
