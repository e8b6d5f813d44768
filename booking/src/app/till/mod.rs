//! The till: the ordinary way from a hold to a paid booking, for many buyers by one commit.
//!
//! Owns: per event and node one queue and one task for each of four steps ([`book`], [`begin`], [`sell`], [`finish`]), and the
//! task itself ([`lane`]). Each step is one call of a function of the database that does what is exactly as the ordinary
//! case needs it and leaves the rest untouched.
//!
//! Invariants:
//! * It decides nothing: what the rules in `booking/domain` decide is handed over, and done when the facts under lock are
//!   the same. Whatever is not done here goes the general way, which decides anew: [`Left`] is never an answer to a buyer.
//! * A success is only what Postgres committed. After a lost answer nobody guesses: the request fails as it does the general
//!   way, or whoever settles the payment looks again.
//! * Queues, batches, tries and waits are bounded.

mod begin;
mod book;
mod finish;
mod lane;
mod sell;

use std::sync::Arc;

use booking_domain::BookingId;
use sqlx::PgPool;

use self::begin::Begin;
pub(super) use self::begin::BeginAsk;
use self::book::{Book, BookAsk};
use self::finish::Finish;
pub(super) use self::finish::FinishAsk;
use self::lane::Lanes;
use self::sell::Sell;
pub(super) use self::sell::SellAsk;
use super::once::Once;
use super::start_booking::BookingRequest;
use super::views::BookingView;
use crate::config::Config;
use crate::error::Error;
use crate::storage::begin_batch::Begun;
use crate::storage::sell_batch::Sold;

/// Most requests that one commit serves.
pub const BATCH: usize = lane::MAX_REQUESTS;

/// A request that did not go this way: nothing was written for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left;

/// The tills of this node.
#[derive(Debug)]
pub struct Tills {
    open: bool,
    book: Lanes<Book>,
    begin: Lanes<Begin>,
    sell: Lanes<Sell>,
    finish: Lanes<Finish>,
}

impl Tills {
    /// Tills with connections of their own; nobody works at them yet.
    #[must_use]
    pub fn new(pool: &PgPool, config: &Config, provider: &'static str) -> Self {
        let pending_s = config.payments.pending_s;
        Self {
            open: config.checkout.till,
            book: Lanes::new(pool.clone(), Book),
            begin: Lanes::new(pool.clone(), Begin { provider, pending_s }),
            sell: Lanes::new(pool.clone(), Sell),
            finish: Lanes::new(pool.clone(), Finish),
        }
    }

    /// Makes a booking of a hold and keeps the answer.
    pub(super) async fn book(
        &self,
        request: &Arc<BookingRequest>,
        id: BookingId,
        repeat: Option<&Once<BookingView>>,
    ) -> Result<Result<BookingView, Left>, Error> {
        if !self.open || repeat.is_some_and(|once| once.also.is_some()) {
            return Ok(Err(Left));
        }
        let ask = BookAsk { id, request: Arc::clone(request), repeat: repeat.cloned() };
        self.book.ask(&request.event.event.id, ask).await
    }

    /// Begins the first payment of a booking and notes the key.
    pub(super) async fn begin(&self, ask: BeginAsk) -> Result<Result<Begun, Left>, Error> {
        if !self.open {
            return Ok(Err(Left));
        }
        let event = ask.request.event.event.id.clone();
        self.begin.ask(&event, ask).await
    }

    /// Sells the places of a payment that was authorised.
    pub(super) async fn sell(&self, ask: SellAsk) -> Result<Result<Sold, Left>, Error> {
        if !self.open {
            return Ok(Err(Left));
        }
        let event = ask.payment.key.event.clone();
        self.sell.ask(&event, ask).await
    }

    /// Notes that the money of a sale was taken, and keeps the answer.
    pub(super) async fn finish(&self, ask: FinishAsk) -> Result<Result<(), Left>, Error> {
        let event = ask.payment.key.event.clone();
        self.finish.ask(&event, ask).await
    }

    /// How many requests went this way, step by step: booked, begun, sold, finished.
    #[must_use]
    pub fn done(&self) -> [u64; 4] {
        [self.book.done(), self.begin.done(), self.sell.done(), self.finish.done()]
    }
}
