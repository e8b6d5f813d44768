//! Beginning payments: places go from held to pending.

use booking_domain::EventId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Left;
use super::lane::{Outcome, Step};
use crate::app::confirm_booking::ConfirmRequest;
use crate::error::Error;
use crate::storage::begin_batch::{self, BeginOrder, Begun};
use crate::storage::idempotency::Claim;

/// A payment to be begun.
pub(in crate::app) struct BeginAsk {
    pub(in crate::app) request: ConfirmRequest,
    pub(in crate::app) claim: Option<Claim>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) provider: &'static str,
    pub(super) pending_s: u32,
}

impl Step for Begin {
    const NAME: &'static str = "begin";
    type Ask = BeginAsk;
    type Done = Begun;

    fn subject(ask: &BeginAsk) -> Uuid {
        ask.request.booking.get()
    }

    fn key(ask: &BeginAsk) -> Option<&Claim> {
        ask.claim.as_ref()
    }

    async fn commit(
        &self,
        conn: &mut PgConnection,
        event: &EventId,
        asks: &[&BeginAsk],
    ) -> Result<Vec<Outcome<Begun>>, Error> {
        let orders: Vec<BeginOrder<'_>> = asks
            .iter()
            .map(|ask| BeginOrder {
                booking: ask.request.booking,
                owners: &ask.request.owners,
                accept_equal: ask.request.accept_equal,
                claim: ask.claim.as_ref(),
            })
            .collect();
        let begun = begin_batch::begin(conn, event, self.provider, self.pending_s, &orders).await?;
        Ok(begun.into_iter().map(|begun| begun.ok_or(Left)).collect())
    }
}
