//! Prolonging a hold: once, and never beyond a cap that counts from its making.

use std::sync::Arc;

use booking_domain::{EventId, HoldId, HoldState, Owner, SeatState};
use jiff::Timestamp;
use sqlx::PgConnection;

use super::once::{Done, Once, once};
use super::views::{self, HoldView};
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;
use crate::storage::history::{self, Change, Op};
use crate::storage::{areas, holds, limits, seats};

/// Gives an active hold of one of the owners its whole time again, counted from now, but no more than the cap allows.
/// At most once per key, and once per hold.
///
/// # Errors
/// [`Refusal::NotFound`] also for another's hold; [`Refusal::HoldExpired`]; [`Refusal::Conflict`] when it was
/// extended before, while a payment runs and after the sale; that the database cannot be had.
pub async fn extend_hold(
    services: &Services,
    facts: &Arc<EventFacts>,
    hold: HoldId,
    owners: &[Owner],
    repeat: Option<Once<HoldView>>,
) -> Result<Done<HoldView>, Error> {
    let (facts, owners) = (Arc::clone(facts), owners.to_vec());
    let holds = &services.config.holds;
    let (ttl_s, cap_s) = (holds.ttl_s, holds.max_life_s);
    let event = facts.event.id.clone();
    let done = once(&services.db, repeat, move |conn| {
        let (facts, owners) = (Arc::clone(&facts), owners.clone());
        Box::pin(async move { extend(conn, &facts, hold, &owners, ttl_s, cap_s).await })
    });
    let done = done.await?;
    services.feeds.changed(&event);
    Ok(done)
}

async fn extend(
    conn: &mut PgConnection,
    facts: &EventFacts,
    id: HoldId,
    owners: &[Owner],
    ttl_s: u32,
    cap_s: u32,
) -> Result<HoldView, Error> {
    let event: &EventId = &facts.event.id;
    let found = holds::find(conn, event, id).await?.filter(|row| owners.contains(&row.owner));
    let owner = found.ok_or(Refusal::NotFound { what: "hold" })?.owner;
    // A hold at the end of its time that gets more is counted by nobody in between: no other count may run.
    limits::lock(conn, event, &owner).await?;
    let row = holds::lock(conn, event, id).await?.ok_or(Refusal::NotFound { what: "hold" })?;
    let current = row.current();
    let conflict = |detail: &str| Refusal::Conflict { detail: detail.to_owned(), state: current.state.name() };
    match current.state {
        HoldState::Active => {}
        HoldState::Expired | HoldState::Released => return Err(Refusal::HoldExpired { state: current.state }.into()),
        HoldState::Pending | HoldState::Consumed => return Err(conflict("the hold is being paid for or sold").into()),
    }
    if row.first_expires_at.is_some() {
        return Err(conflict("the hold was extended before").into());
    }
    let until = holds::extend(conn, event, id, ttl_s, cap_s).await?;
    prolong_places(conn, event, id, until).await?;
    let view = views::read_hold(conn, facts, id).await?;
    view.ok_or_else(|| Error::defect(format!("the hold {id} was extended and is not there")))
}

/// Lets the places of an active hold whose row is locked lapse later. The history tells it, so that whoever follows does
/// not take them for free at their former end.
///
/// # Errors
/// [`Refusal::HoldExpired`] when some of them are another's by now; that the database cannot be had.
pub(super) async fn prolong_places(
    conn: &mut PgConnection,
    event: &EventId,
    id: HoldId,
    until: Timestamp,
) -> Result<(), Error> {
    let taken = seats::lock_of_hold(conn, event, id, SeatState::Held).await?;
    let prolonged = areas::prolong(conn, event, id, until).await?;
    let (seats, areas) = (holds::seats(conn, event, id).await?.len(), holds::areas(conn, event, id).await?.len());
    if taken.len() != seats || prolonged != areas {
        // Its time ran out between the look at the clock and the lock, and somebody was faster.
        return Err(Refusal::HoldExpired { state: HoldState::Expired }.into());
    }
    let change = Change {
        event,
        op: Op::Extend,
        hold: id.get(),
        booking: None,
        seats: &taken,
        areas: Vec::new(),
        until: Some(until),
    };
    history::apply(conn, change).await?;
    Ok(())
}
