//! Paying for a booking.
//!
//! The seats go to *pending* with their own deadline first, so that no sweeper frees them while the provider
//! is asked. All of it runs in one task of its own: a caller who goes away or a provider that is slow changes
//! nothing about its outcome, and a node that stops in order waits for it. What a crash interrupts, the
//! reconciler finishes.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use booking_domain::{BookingId, BookingState, HoldState, Owner, PaymentState, SeatState};
use sqlx::{Connection, PgConnection};
use tracing::Instrument;

use super::once::{self, Done, Entry, Once};
use super::pay_at_once::{self, Went};
use super::payment_outcome::{self, Settled, conclude};
use super::payment_steps;
use super::provider_outage;
use super::settle_payment::{Asked, settle};
use super::views::{self, BookingView};
use crate::crash;
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::payments::Authorise;
use crate::services::Services;
use crate::storage::areas::{self, Counted};
use crate::storage::history::{self, Change, Op};
use crate::storage::idempotency::Known;
use crate::storage::payments::{self, PaymentKey, Step};
use crate::storage::tx::{in_snapshot, in_tx};
use crate::storage::{begin_batch, bookings, cancellations, holds, idempotency, limits, locks, seats};

/// The provider's name of payments of nothing: they are made without asking anybody.
const FREE: &str = "free";
/// Most attempts to pay for one booking.
const MOST_ATTEMPTS: i32 = 20;

/// A request to pay.
#[derive(Debug, Clone)]
pub struct ConfirmRequest {
    /// The event.
    pub event: Arc<EventFacts>,
    /// The booking.
    pub booking: BookingId,
    /// Who asks.
    pub owners: Vec<Owner>,
    /// What the buyer's browser got from the provider.
    pub token: String,
    /// Whether late money may buy equal seats; `None` leaves it as it was said with the booking.
    pub accept_equal: Option<bool>,
}

/// Pays for a booking, at most once per key. The booking that comes back is confirmed, or its payment is
/// still pending.
///
/// # Errors
/// [`Refusal::NotFound`] also for another's booking; [`Refusal::HoldExpired`]; [`Refusal::PaymentDeclined`];
/// [`Refusal::Conflict`] when it has ended; that the database cannot be had.
pub async fn confirm_booking(
    services: &Services,
    request: ConfirmRequest,
    repeat: Option<Once<BookingView>>,
) -> Result<Done<BookingView>, Error> {
    let turn = services.provider_breaker.enter(Instant::now());
    if turn.is_none() && !costs_nothing(services, &request).await? {
        return provider_outage::wait(services, &request, repeat).await;
    }
    let attempt = Arc::new(OnceLock::new());
    let all = begin_and_pay(services.clone(), request.clone(), repeat, Arc::clone(&attempt));
    let all = async move {
        let done = all.await;
        drop(turn);
        done
    };
    let task = services.tasks.spawn(all.in_current_span());
    match tokio::time::timeout(services.config.payments.answer_within(), task).await {
        Ok(Ok(done)) => return done,
        // The seats are pending: whatever went wrong, the reconciler finishes it.
        Ok(Err(panic)) => tracing::error!(error = %panic, "a payment panicked"),
        // The task goes on; the booking says what becomes of it.
        Err(_) => {}
    }
    match attempt.get() {
        Some(key) => told_now(services, &request, key).await,
        None => another_pays(services, &request).await,
    }
}

/// Whether there is nothing to ask the provider for.
async fn costs_nothing(services: &Services, request: &ConfirmRequest) -> Result<bool, Error> {
    let mut conn = services.db.acquire().await?;
    let found = bookings::find(&mut conn, &request.event.event.id, request.booking).await?;
    let found = found.filter(|row| request.owners.contains(&row.owner));
    Ok(found.is_some_and(|row| row.total.price.amount() == 0))
}

/// It has waited for others all the while: what they have made of the booking, if they pay for it.
async fn another_pays(services: &Services, request: &ConfirmRequest) -> Result<Done<BookingView>, Error> {
    let view = views::booking_now(&services.db, &request.event, request.booking).await?;
    let view = view.filter(|view| request.owners.contains(&view.row.owner));
    let settled = |view: &BookingView| matches!(view.state(), BookingState::Confirmed | BookingState::PaymentPending);
    view.filter(settled).map(Done::Fresh).ok_or_else(|| Refusal::InFlight.into())
}

/// The whole of a confirmation; says by `attempt` when its payment has begun.
async fn begin_and_pay(
    services: Services,
    request: ConfirmRequest,
    repeat: Option<Once<BookingView>>,
    attempt: Arc<OnceLock<PaymentKey>>,
) -> Result<Done<BookingView>, Error> {
    let begun = match pay_at_once::begin(&services, &request, repeat.as_ref()).await? {
        Some(begun) => begun,
        // What is not ordinary is looked at by itself.
        None => match begin(&services, &request, repeat.clone()).await? {
            Done::Fresh(Begun::Already(view)) => {
                // What costs nothing was sold just now.
                services.feeds.changed(&view.row.event);
                return Ok(Done::Fresh(*view));
            }
            Done::Fresh(Begun::Pay(begun)) => *begun,
            Done::Replayed(answer) => return Ok(Done::Replayed(answer)),
            Done::Paying(key) => return answer_of(&services, &request, &key, repeat).await,
        },
    };
    let key = begun.payment.key.clone();
    services.feeds.changed(&key.event);
    attempt.get_or_init(|| key.clone());
    crash::point("payment_begun");
    match pay(&services, begun, &request, repeat).await {
        Ok(Settled::Sold(view)) => return Ok(Done::Fresh(*view)),
        Ok(Settled::NotPaid(refusal)) => return Err(refusal.into()),
        Ok(Settled::NotBegun) => return Err(provider_outage::is_down()),
        Ok(Settled::Open) => {}
        Err(error) => tracing::error!(error = %crate::passes::chain(&error), "a payment was interrupted"),
    }
    told_now(&services, &request, &key).await
}

async fn pay(
    services: &Services,
    begun: begin_batch::Begun,
    request: &ConfirmRequest,
    repeat: Option<Once<BookingView>>,
) -> Result<Settled, Error> {
    let (key, token) = (begun.payment.key.clone(), request.token.clone());
    let money = Authorise { reference: key.reference(), amount: begun.payment.amount, token };
    let answer = services.provider.authorise(&money).await;
    crash::point("authorised");
    let asked = Asked::of_authorisation(&begun.payment, &services.config, answer);
    match pay_at_once::pay(services, &request.event, begun, asked, repeat.as_ref()).await? {
        Went::Paid(view) => return Ok(Settled::Sold(view)),
        Went::On(asked) => {
            if let Some(settled) = settle(services, *asked, repeat.clone()).await? {
                return Ok(settled);
            }
        }
        Went::Waits => {}
    }
    let settled = conclude(services, &key, repeat).await;
    crash::point("answered");
    settled
}

/// What there is to say of a payment at this moment: the booking that it sold or that is still pending, or that
/// it did not pay.
async fn told_now(services: &Services, request: &ConfirmRequest, key: &PaymentKey) -> Result<Done<BookingView>, Error> {
    let (facts, key) = (Arc::clone(&request.event), key.clone());
    let (payment, view) = in_snapshot(&services.db, move |conn| {
        let (facts, key) = (Arc::clone(&facts), key.clone());
        Box::pin(async move {
            let payment = payments::find(conn, &key).await?.ok_or(Refusal::NotFound { what: "booking" })?;
            let view = views::read_booking(conn, &facts, key.booking).await?;
            Ok((payment, view.ok_or(Refusal::NotFound { what: "booking" })?))
        })
    })
    .await?;
    match payment_outcome::outcome(&payment, view.clone()) {
        Settled::Sold(view) => Ok(Done::Fresh(*view)),
        Settled::NotPaid(refusal) => Err(refusal.into()),
        Settled::Open => Ok(Done::Fresh(view)),
        Settled::NotBegun => Err(provider_outage::is_down()),
    }
}

/// The answer to a repeated request whose first answer was not kept: what became of its payment. It is kept
/// now, so that all further repetitions get the same.
pub(super) async fn answer_of(
    services: &Services,
    request: &ConfirmRequest,
    key: &PaymentKey,
    repeat: Option<Once<BookingView>>,
) -> Result<Done<BookingView>, Error> {
    let Some(once) = repeat else { return Err(Error::defect("a repeated request without its key")) };
    let (request, key) = (request.clone(), key.clone());
    in_tx(&services.db, move |conn| {
        let (request, key, once) = (request.clone(), key.clone(), once.clone());
        Box::pin(async move {
            if let Entry::Replayed(answer) = once::enter(conn, &once.claim).await? {
                return Ok(Done::Replayed(answer));
            }
            // Under the locks of whoever settles it; an answer that was kept meanwhile is seen.
            let told = payment_outcome::read(conn, &request.event, &key).await?;
            match idempotency::look_up(conn, &once.claim).await? {
                Known::Answered(answer) => return Ok(Done::Replayed(answer)),
                // It was taken back meanwhile: the next repetition begins anew.
                Known::New => return Err(Refusal::InFlight.into()),
                _ => {}
            }
            let outcome = match &told.settled {
                Settled::Sold(view) if told.is_final => Ok(&**view),
                Settled::NotPaid(refusal) => Err(refusal),
                Settled::Sold(_) | Settled::Open | Settled::NotBegun => return Err(Refusal::InFlight.into()),
            };
            once.keep(conn, outcome).await?;
            Ok(Done::Replayed((once.render)(outcome)))
        })
    })
    .await
}

enum Begun {
    /// Nothing to pay: confirmed already, or a payment runs.
    Already(Box<BookingView>),
    /// Seats are pending; this payment is to be made.
    Pay(Box<begin_batch::Begun>),
}

async fn begin(
    services: &Services,
    request: &ConfirmRequest,
    repeat: Option<Once<BookingView>>,
) -> Result<Done<Begun>, Error> {
    let (shared, request) = (services.clone(), Arc::new(request.clone()));
    let done = in_tx(&services.db, move |conn| {
        let (services, request, repeat) = (shared.clone(), Arc::clone(&request), repeat.clone());
        Box::pin(async move {
            let Some(once) = repeat else {
                return begin_in(conn, &services, &request).await.map(|begun| Ok(Done::Fresh(begun)));
            };
            match once::enter(conn, &once.claim).await? {
                Entry::Go => {}
                Entry::Replayed(answer) => return Ok(Ok(Done::Replayed(answer))),
                Entry::Paying(payment) => return Ok(Ok(Done::Paying(payment))),
                Entry::Held(_) => return Ok(Err(Refusal::KeyReused)),
            }
            let mut attempt = conn.begin().await?;
            match begin_in(&mut attempt, &services, &request).await {
                Ok(begun) => {
                    attempt.commit().await?;
                    match &begun {
                        Begun::Pay(begun) => {
                            idempotency::note_payment(conn, &once.claim, &begun.payment.key).await?;
                        }
                        Begun::Already(view) if view.state() == BookingState::Confirmed => {
                            once.keep(conn, Ok(view)).await?;
                        }
                        Begun::Already(_) => {}
                    }
                    Ok(Ok(Done::Fresh(begun)))
                }
                Err(Error::Refused(refusal)) => {
                    attempt.rollback().await?;
                    once.keep(conn, Err(&refusal)).await?;
                    Ok(Err(refusal))
                }
                Err(failure) => Err(failure),
            }
        })
    });
    Ok(done.await??)
}

async fn begin_in(conn: &mut PgConnection, services: &Services, request: &ConfirmRequest) -> Result<Begun, Error> {
    let facts = &*request.event;
    let (event, id) = (&facts.event.id, request.booking);
    let found = bookings::find(conn, event, id).await?.filter(|row| request.owners.contains(&row.owner));
    let found = found.ok_or(Refusal::NotFound { what: "booking" })?;
    // A hold that lapses while it turns to pending is counted by nobody in between: no other count may run.
    limits::lock(conn, event, &found.owner).await?;
    let hold_id = found.hold;
    let hold = holds::lock(conn, event, hold_id).await?;
    bookings::lock(conn, event, id).await?;
    let view = views::read_booking(conn, facts, id).await?;
    let lost = || Error::defect(format!("the booking {id} or its hold is lost"));
    let (hold, view) = (hold.ok_or_else(lost)?, view.ok_or_else(lost)?);
    match view.state() {
        BookingState::Confirmed | BookingState::PaymentPending => return Ok(Begun::Already(Box::new(view))),
        BookingState::Held => {}
        BookingState::Expired => return Err(Refusal::HoldExpired { state: HoldState::Expired }.into()),
        ended @ (BookingState::Failed | BookingState::Cancelled | BookingState::Refunded) => {
            return Err(Refusal::Conflict { detail: format!("the booking is {ended}"), state: ended.name() }.into());
        }
    }
    let current = hold.current();
    if current.state != HoldState::Active {
        return Err(Refusal::HoldExpired { state: current.state }.into());
    }
    if cancellations::is_cancelled(conn, event).await? {
        return Err(Refusal::event_cancelled().into());
    }
    if let Some(accept) = request.accept_equal.filter(|accept| *accept != view.row.accept_equal) {
        bookings::set_accept_equal(conn, event, id, accept).await?;
    }
    let amount = view.row.total.price;
    let provider = if amount.amount() == 0 { FREE } else { services.provider.name() };
    let pending_s = services.config.payments.pending_s;
    let payment = payments::insert(conn, event, id, provider, amount, pending_s).await?;
    if payment.key.attempt > MOST_ATTEMPTS {
        return Err(Refusal::PaymentDeclined { reason: Some("too_many_attempts".to_owned()) }.into());
    }
    let deadline = Some(payment.deadline);
    bookings::set_state(conn, event, id, view.row.state.start_payment()?, deadline).await?;
    holds::set_state(conn, event, hold_id, current.start_payment()?.state).await?;
    let seats = seats::lock_of_hold(conn, event, hold_id, SeatState::Held).await?;
    let areas = areas::move_hold(conn, event, hold_id, Counted::Held, Counted::Pending, deadline).await?;
    if seats.len() != view.seats.len() || areas.len() != view.areas.len() {
        // Its time ran out between the look at the clock and the lock, and somebody was faster.
        return Err(Refusal::HoldExpired { state: HoldState::Expired }.into());
    }
    let pending = areas.iter().map(|area| (area.area.clone(), area.quantity)).collect();
    let (hold, booking) = (hold_id.get(), Some(id.get()));
    let change = Change { event, op: Op::Pend, hold, booking, seats: &seats, areas, until: deadline };
    history::apply(conn, change).await?;
    if provider == FREE {
        return sell_for_free(conn, services, facts, &payment.key).await;
    }
    Ok(Begun::Pay(Box::new(begin_batch::Begun { payment, hold: hold_id, seats, areas: pending })))
}

async fn sell_for_free(
    conn: &mut PgConnection,
    services: &Services,
    facts: &EventFacts,
    key: &PaymentKey,
) -> Result<Begun, Error> {
    let locked = locks::payment_with_booking(conn, key).await?;
    payment_steps::sell(conn, services, &locked, None).await?;
    payments::set_state(conn, key, PaymentState::Authorized.capture()?, &Step::default()).await?;
    let view = views::read_booking(conn, facts, key.booking).await?;
    let view = view.ok_or_else(|| Error::defect(format!("the booking {} is lost", key.booking)))?;
    Ok(Begun::Already(Box::new(view)))
}
