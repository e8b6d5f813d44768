//! Selling what was authorised: sale, tickets and announcement.

use booking_domain::{EventId, HoldId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Left;
use super::lane::{Outcome, Step};
use crate::app::payment_steps::CAPTURE_CHECK_S;
use crate::error::Error;
use crate::storage::idempotency::Claim;
use crate::storage::payments::PaymentRow;
use crate::storage::sell_batch::{self, SellOrder, Sold};
use crate::storage::tickets::NewTicket;

/// An authorised payment whose places are to be sold.
pub(in crate::app) struct SellAsk {
    pub(in crate::app) payment: PaymentRow,
    pub(in crate::app) hold: HoldId,
    pub(in crate::app) provider_payment: String,
    /// One for each place.
    pub(in crate::app) tickets: Vec<NewTicket>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sell;

impl Step for Sell {
    const NAME: &'static str = "sell";
    type Ask = SellAsk;
    type Done = Sold;

    fn subject(ask: &SellAsk) -> Uuid {
        ask.payment.key.booking.get()
    }

    fn key(_: &SellAsk) -> Option<&Claim> {
        None
    }

    async fn commit(
        &self,
        conn: &mut PgConnection,
        event: &EventId,
        asks: &[&SellAsk],
    ) -> Result<Vec<Outcome<Sold>>, Error> {
        let orders: Vec<SellOrder<'_>> = asks
            .iter()
            .map(|ask| SellOrder {
                payment: &ask.payment,
                hold: ask.hold,
                provider_payment: &ask.provider_payment,
                tickets: &ask.tickets,
            })
            .collect();
        let sold = sell_batch::sell(conn, event, CAPTURE_CHECK_S, &orders).await?;
        Ok(sold.into_iter().map(|sold| sold.ok_or(Left)).collect())
    }
}
