//! `admit`: the tick that calls the first present visitors.

use queue_token::SaleId;

use crate::{Clock, Line, LineError};

/// Most visitors that one tick calls: a tick that called so many may have more to call. As `lua/library.lua` has it.
pub const CALL_MAX: u64 = 500;

/// What one tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tick {
    /// Visitors called.
    pub called: u64,
    /// Silent visitors at the front, set aside.
    pub set_aside: u64,
    /// Visitors who were called and did not claim in time, set aside.
    pub unclaimed: u64,
    /// Passes that expired.
    pub over: u64,
    /// Visitors still in the line.
    pub waiting: u64,
}

impl Line {
    /// Ticks. Any gateway may do so at any time.
    ///
    /// # Errors
    /// [`LineError::UnknownSale`] when this Redis does not know the sale; otherwise when Redis does not answer.
    pub async fn admit(&self, sale: &SaleId, clock: Clock) -> Result<Tick, LineError> {
        let (called, set_aside, unclaimed, over, waiting): (i64, i64, i64, i64, i64) =
            self.call("admit", sale, &[clock.argument()]).await?;
        if called < 0 {
            return Err(LineError::UnknownSale);
        }
        let count =
            |n: i64| u64::try_from(n).map_err(|_| LineError::Corrupt { attempt: "admit", what: format!("count {n}") });
        Ok(Tick {
            called: count(called)?,
            set_aside: count(set_aside)?,
            unclaimed: count(unclaimed)?,
            over: count(over)?,
            waiting: count(waiting)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_function_says_the_same() {
        let said = format!("\nlocal CALL_MAX = {}\n", super::CALL_MAX);
        assert!(include_str!("../lua/library.lua").contains(&said));
    }
}
