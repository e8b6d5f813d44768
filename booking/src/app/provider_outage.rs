//! What a confirmation does while the provider does not answer.

use std::sync::Arc;

use booking_domain::{BookingState, HoldState};
use jiff::SignedDuration;
use sqlx::PgConnection;

use super::confirm_booking::{ConfirmRequest, answer_of};
use super::extend_hold::prolong_places;
use super::once::{self, Done, Entry, Once, SavedAnswer};
use super::views::{self, BookingView};
use crate::error::{Error, Refusal};
use crate::services::Services;
use crate::storage::payments::PaymentKey;
use crate::storage::tx::in_tx;
use crate::storage::{bookings, holds, late, limits};

/// What a confirmation finds while the provider is down.
enum Found {
    Replayed(SavedAnswer),
    Paying(PaymentKey),
    Settled(Box<BookingView>),
    Waiting,
}

/// The provider is down: nothing is begun, and the hold is prolonged within its cap, so that the buyer can wait. What
/// is settled already is told all the same.
pub(super) async fn wait(
    services: &Services,
    request: &ConfirmRequest,
    repeat: Option<Once<BookingView>>,
) -> Result<Done<BookingView>, Error> {
    let (shared, once) = (Arc::new(request.clone()), repeat.clone());
    let (retry_s, cap_s) = (services.config.checkout.retry_s, services.config.holds.max_life_s);
    let found = in_tx(&services.db, move |conn| {
        let (request, once) = (Arc::clone(&shared), once.clone());
        Box::pin(async move {
            if let Some(once) = once {
                match once::enter(conn, &once.claim).await? {
                    Entry::Go => {}
                    Entry::Replayed(answer) => return Ok(Found::Replayed(answer)),
                    Entry::Paying(payment) => return Ok(Found::Paying(payment)),
                    // Requests for holds have their own way; no other request has such a key.
                    Entry::Held(_) => return Err(Refusal::KeyReused.into()),
                }
            }
            prolong(conn, &request, retry_s, cap_s).await
        })
    })
    .await?;
    match found {
        Found::Replayed(answer) => Ok(Done::Replayed(answer)),
        Found::Paying(key) => answer_of(services, request, &key, repeat).await,
        Found::Settled(view) => match view.state() {
            BookingState::Confirmed | BookingState::PaymentPending => Ok(Done::Fresh(*view)),
            BookingState::Expired => Err(Refusal::HoldExpired { state: HoldState::Expired }.into()),
            state => Err(Refusal::Conflict { detail: format!("the booking is {state}"), state: state.name() }.into()),
        },
        Found::Waiting => {
            services.feeds.changed(&request.event.event.id);
            Err(is_down())
        }
    }
}

/// Nothing was begun, or it was taken back: the same request may be sent again.
pub(super) fn is_down() -> Error {
    let source = "it has not answered for a while".into();
    Error::Unavailable { what: "the payment provider", source, retry: false }
}

/// Each prolonging is a change that everybody who looks at the event is told of: who asks again and again gets one only
/// when it is much longer than what they have.
fn is_worth_it(gain: SignedDuration, retry_s: u32) -> bool {
    gain > SignedDuration::ZERO && gain >= SignedDuration::from_secs(i64::from(retry_s / 4))
}

async fn prolong(conn: &mut PgConnection, request: &ConfirmRequest, retry_s: u32, cap_s: u32) -> Result<Found, Error> {
    let event = &request.event.event.id;
    let found = bookings::find(conn, event, request.booking).await?;
    let found = found.filter(|row| request.owners.contains(&row.owner));
    let found = found.ok_or(Refusal::NotFound { what: "booking" })?;
    // As for any hold that gets more time.
    limits::lock(conn, event, &found.owner).await?;
    let hold = holds::lock(conn, event, found.hold).await?;
    let view = views::read_booking(conn, &request.event, request.booking).await?;
    let view = view.ok_or(Refusal::NotFound { what: "booking" })?;
    if view.state() != BookingState::Held {
        return Ok(Found::Settled(Box::new(view)));
    }
    if let Some(hold) = hold.filter(|hold| hold.current().state == HoldState::Active) {
        let longer = hold.hold.prolonged(hold.now, hold.created_at, retry_s, cap_s);
        let gain = longer.expires_at.duration_since(hold.hold.expires_at);
        if is_worth_it(gain, retry_s) {
            late::prolong(conn, event, hold.id, longer.expires_at).await?;
            prolong_places(conn, event, hold.id, longer.expires_at).await?;
        }
    }
    Ok(Found::Waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_prolonged_when_it_gains_much() {
        let worth = |gain_s, retry_s| is_worth_it(SignedDuration::from_secs(gain_s), retry_s);
        assert_eq!([0, 1, 29, 30, 120].map(|gain_s| worth(gain_s, 120)), [false, false, false, true, true]);
        assert!(!worth(0, 0) && worth(1, 3), "never for nothing");
    }
}
