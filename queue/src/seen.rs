//! `seen`: presence of visitors near the front, and the way back into the line.

use queue_token::{Device, Place, SaleId, Score, VisitorId};
use redis::Value;

use crate::{Clock, Line, LineError, Standing};

/// Most visitors in one call.
pub const BATCH_MAX: usize = 512;

/// What a place says of the visitor who shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Who shows it.
    pub visitor: VisitorId,
    /// The spot it was signed with.
    pub score: Score,
    /// The device it was signed for.
    pub device: Device,
}

/// A place on the device that joined.
impl From<(VisitorId, Score)> for Shown {
    fn from((visitor, score): (VisitorId, Score)) -> Self {
        Self { visitor, score, device: Device::FIRST }
    }
}

impl From<&Place> for Shown {
    fn from(place: &Place) -> Self {
        Self { visitor: place.visitor, score: place.score, device: place.device }
    }
}

impl Line {
    /// Notes that each visitor is present, and puts back those who were set aside or lost, at the score their place
    /// was signed with. A device that its place has moved on from is told so and is no presence. Replies stand in the order of the visitors.
    ///
    /// # Errors
    /// When Redis does not answer; repeating is safe.
    pub async fn seen<S: Copy + Into<Shown>>(
        &self,
        sale: &SaleId,
        visitors: &[S],
        clock: Clock,
    ) -> Result<Vec<Standing>, LineError> {
        let mut arguments = Vec::with_capacity(visitors.len() * 3 + 1);
        arguments.push(clock.argument());
        for &shown in visitors {
            let Shown { visitor, score, device } = shown.into();
            arguments.push(visitor.to_string());
            arguments.push(score.to_string());
            arguments.push(device.to_string());
        }
        let replies: Vec<Value> = self.call("seen", sale, &arguments).await?;
        Standing::from_replies("seen", &replies, visitors.len())
    }
}
