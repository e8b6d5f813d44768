//! `heard`: a gateway hears the origin.

use queue_token::SaleId;

use crate::{Clock, Line, LineError};

impl Line {
    /// Notes that this gateway hears the origin: for three seconds no other one stops the sale for its silence.
    ///
    /// # Errors
    /// [`LineError::UnknownSale`] when this Redis does not know the sale; otherwise when Redis does not answer.
    pub async fn heard(&self, sale: &SaleId, clock: Clock) -> Result<(), LineError> {
        let attempt = "heard";
        let (verdict,): (String,) = self.call(attempt, sale, &[clock.argument()]).await?;
        match verdict.as_str() {
            "ok" => Ok(()),
            "absent" => Err(LineError::UnknownSale),
            _ => Err(LineError::Corrupt { attempt, what: verdict }),
        }
    }
}
