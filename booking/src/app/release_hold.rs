//! Letting a hold go before its time.

use booking_domain::{BookingState, EventId, HoldId, HoldState, Owner, SeatState};
use sqlx::{PgConnection, PgPool};

use crate::error::{Error, Refusal};
use crate::services::Services;
use crate::storage::areas::{self, Counted};
use crate::storage::history::{self, Change, Op};
use crate::storage::tx::in_tx;
use crate::storage::{bookings, holds, seats};

/// Releases a hold of one of the owners. Twice is once; what has expired is left to the sweeper.
///
/// # Errors
/// [`Refusal::NotFound`] also for another's hold; [`Refusal::Conflict`] while a payment runs and after the
/// sale; that the database cannot be had.
pub async fn release_hold(services: &Services, event: &EventId, hold: HoldId, owners: &[Owner]) -> Result<(), Error> {
    release_in(&services.db, event, hold, owners).await?;
    services.feeds.changed(event);
    Ok(())
}

/// See [`release_hold`].
pub(crate) async fn release_in(pool: &PgPool, event: &EventId, hold: HoldId, owners: &[Owner]) -> Result<(), Error> {
    let (event, owners) = (event.clone(), owners.to_vec());
    in_tx(pool, move |conn| {
        let (event, owners) = (event.clone(), owners.clone());
        Box::pin(async move { release(conn, &event, hold, &owners).await })
    })
    .await
}

async fn release(conn: &mut PgConnection, event: &EventId, id: HoldId, owners: &[Owner]) -> Result<(), Error> {
    let row = holds::lock(conn, event, id).await?;
    let row = row.filter(|row| owners.contains(&row.owner)).ok_or(Refusal::NotFound { what: "hold" })?;
    let before = row.current();
    let after =
        before.release().map_err(|step| Refusal::Conflict { detail: step.to_string(), state: before.state.name() })?;
    if before.state != HoldState::Active || after.state != HoldState::Released {
        return Ok(());
    }
    free_places(conn, event, id).await?;
    holds::set_state(conn, event, id, HoldState::Released).await?;
    if let Some(booking) = bookings::of_hold(conn, event, id).await? {
        // The only booking of an active hold is one that is held.
        bookings::set_state(conn, event, booking, BookingState::Held.cancel()?, None).await?;
    }
    Ok(())
}

/// Frees the places of an active hold whose row is locked.
pub(crate) async fn free_places(conn: &mut PgConnection, event: &EventId, id: HoldId) -> Result<(), Error> {
    let seats = seats::lock_of_hold(conn, event, id, SeatState::Held).await?;
    let areas = areas::move_hold(conn, event, id, Counted::Held, Counted::Free, None).await?;
    if !seats.is_empty() || !areas.is_empty() {
        let hold = id.get();
        let change = Change { event, op: Op::Release, hold, booking: None, seats: &seats, areas, until: None };
        history::apply(conn, change).await?;
    }
    Ok(())
}
