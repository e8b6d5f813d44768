//! Writing down that money was taken, with the answer to whoever paid it.

use booking_domain::EventId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Left;
use super::lane::{Outcome, Step};
use crate::app::once::{Claim, SavedAnswer};
use crate::error::Error;
use crate::storage::payments::PaymentRow;
use crate::storage::sell_batch::{self, FinishOrder};

/// A sale whose money was taken.
pub(in crate::app) struct FinishAsk {
    /// As it was sold.
    pub(in crate::app) payment: PaymentRow,
    /// The key of the request that paid, and the answer to it.
    pub(in crate::app) answer: Option<(Claim, SavedAnswer)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Finish;

impl Step for Finish {
    const NAME: &'static str = "finish";
    type Ask = FinishAsk;
    type Done = ();

    fn subject(ask: &FinishAsk) -> Uuid {
        ask.payment.key.booking.get()
    }

    fn key(ask: &FinishAsk) -> Option<&Claim> {
        ask.answer.as_ref().map(|(claim, _)| claim)
    }

    async fn commit(
        &self,
        conn: &mut PgConnection,
        event: &EventId,
        asks: &[&FinishAsk],
    ) -> Result<Vec<Outcome<()>>, Error> {
        let orders: Vec<FinishOrder<'_>> = asks
            .iter()
            .map(|ask| FinishOrder {
                payment: &ask.payment,
                answer: ask.answer.as_ref().map(|(claim, answer)| (claim, answer)),
            })
            .collect();
        let finished = sell_batch::finish(conn, event, &orders).await?;
        Ok(finished.into_iter().map(|done| if done { Ok(()) } else { Err(Left) }).collect())
    }
}
