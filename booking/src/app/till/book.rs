//! Booking live holds; the answers are kept in the same transaction.

use std::sync::Arc;

use booking_domain::{BookingId, EventId};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::Left;
use super::lane::{Outcome, Step};
use crate::app::once::Once;
use crate::app::start_booking::BookingRequest;
use crate::app::views::{self, BookingView};
use crate::error::Error;
use crate::storage::book_batch::{self, BookOrder};
use crate::storage::idempotency::Claim;

/// A hold to be booked.
pub(super) struct BookAsk {
    /// The id that the booking will have.
    pub(super) id: BookingId,
    pub(super) request: Arc<BookingRequest>,
    pub(super) repeat: Option<Once<BookingView>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Book;

impl Step for Book {
    const NAME: &'static str = "book";
    type Ask = BookAsk;
    type Done = BookingView;

    fn subject(ask: &BookAsk) -> Uuid {
        ask.request.hold.get()
    }

    fn key(ask: &BookAsk) -> Option<&Claim> {
        ask.repeat.as_ref().map(|once| &once.claim)
    }

    async fn commit(
        &self,
        conn: &mut PgConnection,
        event: &EventId,
        asks: &[&BookAsk],
    ) -> Result<Vec<Outcome<BookingView>>, Error> {
        let mut outcomes: Vec<Outcome<BookingView>> = asks.iter().map(|_| Err(Left)).collect();
        let Some(first) = asks.first() else { return Ok(outcomes) };
        let currency = first.request.event.event.currency;
        let orders: Vec<BookOrder<'_>> = asks
            .iter()
            .map(|ask| BookOrder {
                id: ask.id,
                hold: ask.request.hold,
                owners: &ask.request.owners,
                buyer: &ask.request.buyer,
                accept_equal: ask.request.accept_equal,
                refund_policy: &ask.request.event.event.refund_policy,
                claim: Self::key(ask),
            })
            .collect();
        let mut tx = conn.begin().await?;
        let mut answers = Vec::new();
        for booked in book_batch::book(&mut tx, event, currency, &orders).await? {
            let (Some(ask), Some(outcome)) = (asks.get(booked.request), outcomes.get_mut(booked.request)) else {
                return Err(Error::defect("a booking that nobody asked for"));
            };
            let view = views::booking_view(&ask.request.event, booked.row, &booked.places, Vec::new(), None)?;
            if let Some(once) = &ask.repeat {
                answers.push((&once.claim, (once.render)(Ok(&view))));
            }
            *outcome = Ok(view);
        }
        book_batch::keep(&mut tx, &answers).await?;
        tx.commit().await?;
        Ok(outcomes)
    }
}
