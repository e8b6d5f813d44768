//! A payment that goes well, from its beginning to the kept answer, by the [`super::till`].
//!
//! Each step asks the rules what is next, by the facts as they were written last, and hands these facts over: the till does
//! the step when it finds them unchanged under lock. Whatever is otherwise, a failure and a lost answer too, is left to
//! [`super::settle_payment`], which looks at the tables and goes on from what is true. The order is the same: authorise →
//! sale, tickets and announcement in one transaction → capture.

use booking_domain::BookingState;
use booking_domain::checkout::{Act, Told, next};

use super::confirm_booking::ConfirmRequest;
use super::once::Once;
use super::payment_calls::Called;
use super::settle_payment::{self, Asked};
use super::till::{BeginAsk, FinishAsk, Left, SellAsk};
use super::views::{self, BookingView};
use super::{payment_calls, payment_steps};
use crate::crash;
use crate::error::Error;
use crate::events::EventFacts;
use crate::passes::chain;
use crate::services::Services;
use crate::storage::begin_batch::Begun;
use crate::storage::payments::PaymentKey;
use crate::storage::tickets::{NewTicket, TicketRow};

/// How far a payment came.
pub(super) enum Went {
    /// Sold, taken, and answered.
    Paid(Box<BookingView>),
    /// The general way goes on by this answer of the provider.
    On(Box<Asked>),
    /// Nothing can be done before the next look.
    Waits,
}

/// Begins the first payment of a booking; `None` when it is not an ordinary one, and nothing was written.
///
/// # Errors
/// When the database cannot be had.
pub(super) async fn begin(
    services: &Services,
    request: &ConfirmRequest,
    repeat: Option<&Once<BookingView>>,
) -> Result<Option<Begun>, Error> {
    let claim = repeat.map(|once| once.claim.clone());
    let begun = services.tills.begin(BeginAsk { request: request.clone(), claim }).await?;
    Ok(begun.ok())
}

/// Sells what was authorised, takes the money and keeps the answer.
///
/// # Errors
/// When the database cannot be had.
pub(super) async fn pay(
    services: &Services,
    facts: &EventFacts,
    begun: Begun,
    asked: Asked,
    repeat: Option<&Once<BookingView>>,
) -> Result<Went, Error> {
    let Begun { mut payment, hold, seats, areas } = begun;
    let ordinary = asked.told == Told::Authorized && repeat.is_none_or(|once| once.also.is_none());
    let Some(provider_payment) = asked.known.as_ref().map(|known| known.id.clone()).filter(|_| ordinary) else {
        return Ok(Went::On(Box::new(asked)));
    };
    if next(&asked.facts(BookingState::PaymentPending, &payment)) != Act::Sell {
        return Ok(Went::On(Box::new(asked)));
    }
    let places = areas.iter().map(|(area, quantity)| (area.as_str(), *quantity));
    let tickets = payment_steps::issue(services, &payment.key, &seats, places);
    let mut shown: Vec<TicketRow> = tickets.iter().map(|ticket| shown(&payment.key, ticket)).collect();
    let ask = SellAsk { payment: payment.clone(), hold, provider_payment: provider_payment.clone(), tickets };
    let Some(sold) = done("sell", &payment.key, services.tills.sell(ask).await) else {
        return Ok(Went::On(Box::new(asked)));
    };
    services.feeds.changed(&payment.key.event);
    crash::point("sold");

    payment.state = payment.state.authorize()?;
    payment.provider_payment = Some(provider_payment);
    payment.now = sold.at;
    if next(&asked.facts(BookingState::Confirmed, &payment)) != Act::Capture {
        return Ok(Went::On(Box::new(asked)));
    }
    let taken = match payment_calls::call(services, &payment, Act::Capture, &asked).await? {
        Called::Answered(taken) => *taken,
        called => {
            if let Called::Failed(why) = called {
                tracing::warn!(reference = payment.key.reference(), why, "the money will be settled later");
            }
            settle_payment::later(services, &payment).await?;
            return Ok(Went::Waits);
        }
    };
    if taken.told != Told::Captured || next(&taken.facts(BookingState::Confirmed, &payment)) != Act::NoteCaptured {
        return Ok(Went::On(Box::new(taken)));
    }
    payment.state = payment.state.capture()?;
    if let Some(known) = &taken.known {
        payment.provider_payment = Some(known.id.clone());
    }
    // As they are read: seats, then areas in the database's order.
    shown.sort_by_key(|ticket| sold.places.areas.iter().position(|(area, ..)| Some(area) == ticket.area.as_ref()));
    let view = views::booking_view(facts, sold.row, &sold.places, shown, Some(payment.clone()))?;
    let answer = repeat.map(|once| (once.claim.clone(), (once.render)(Ok(&view))));
    let key = payment.key.clone();
    match done("finish", &key, services.tills.finish(FinishAsk { payment, answer }).await) {
        Some(()) => {
            crash::point("capture_noted");
            crash::point("answered");
            Ok(Went::Paid(Box::new(view)))
        }
        None => Ok(Went::On(Box::new(taken))),
    }
}

/// What a step of the till did. Whatever went wrong with it, nobody knows better than the tables.
fn done<T>(step: &'static str, key: &PaymentKey, outcome: Result<Result<T, Left>, Error>) -> Option<T> {
    match outcome {
        Ok(outcome) => outcome.ok(),
        Err(error) => {
            tracing::warn!(reference = key.reference(), step, error = %chain(&error), "the payment goes the general way");
            None
        }
    }
}

fn shown(key: &PaymentKey, ticket: &NewTicket) -> TicketRow {
    TicketRow {
        booking_id: key.booking.get(),
        ticket_id: ticket.id.get(),
        seat_no: ticket.seat_no,
        area: ticket.area.clone(),
        code: ticket.code.clone(),
        state: "valid".to_owned(),
    }
}
