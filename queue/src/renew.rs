//! `renew`: visitors who are active inside keep their slot.

use queue_token::{SaleId, VisitorId};

use crate::{Clock, Line, LineError};

/// Most visitors in one call.
pub const BATCH_MAX: usize = 512;

impl Line {
    /// Prolongs the slot of each visitor who showed a live pass that expires at the given time (ms). Answers the new
    /// expiry (ms), or `None` for a visitor whose pass no longer counts.
    ///
    /// # Errors
    /// When Redis does not answer; repeating is safe.
    pub async fn renew(
        &self,
        sale: &SaleId,
        visitors: &[(VisitorId, u64)],
        clock: Clock,
    ) -> Result<Vec<Option<u64>>, LineError> {
        let mut arguments = Vec::with_capacity(visitors.len() * 2 + 1);
        arguments.push(clock.argument());
        for (visitor, expires_ms) in visitors {
            arguments.push(visitor.to_string());
            arguments.push(expires_ms.to_string());
        }
        let replies: Vec<u64> = self.call("renew", sale, &arguments).await?;
        if replies.len() != visitors.len() {
            let what = format!("{} answers for {} visitors", replies.len(), visitors.len());
            return Err(LineError::Corrupt { attempt: "renew", what });
        }
        Ok(replies.into_iter().map(|until_ms| (until_ms > 0).then_some(until_ms)).collect())
    }
}
