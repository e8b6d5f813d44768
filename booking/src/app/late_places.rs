//! The places that late money buys: those of the hold wherever they can still be had, for seats that are gone equal ones
//! if the buyer allowed that; all or none.
//!
//! Seats and areas are locked in the order of all. So when a seat is gone, all seats are let go again before others are
//! chosen for it: none is locked while a lower one is waited for. What a lapsed hold still has is free, swept or not.

use std::collections::BTreeMap;

use booking_domain::plan::Attribute;
use booking_domain::{EventId, HoldId, SeatState};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::error::Error;
use crate::events::EventFacts;
use crate::storage::areas::{self, Counted};
use crate::storage::history::{self, AreaChange, Change, Op};
use crate::storage::late::{self, LapsedPlaces};
use crate::storage::locks::Locked;
use crate::storage::seats::{self, LockedSeat};

/// How often seats are chosen anew when others are faster.
const CHOICES: usize = 3;
/// Until when places are held that are sold in the same transaction.
const MOMENT_S: i64 = 60;

/// Places under lock, with what has to happen to them first.
pub(super) struct Found {
    seats: Vec<i32>,
    /// Those that are not the hold's any more.
    free: Vec<i32>,
    /// Seats of holds that have lapsed unswept.
    lapsed: BTreeMap<Uuid, Vec<i32>>,
    /// Places of areas that such holds still have.
    lapsed_places: Vec<LapsedPlaces>,
}

/// Seats that were sold, and what their areas count now.
pub(super) type Places = (Vec<i32>, Vec<AreaChange>);

/// Locks all places of a booking, `own` seats among them; none when not all can be had. What was locked or exchanged by
/// then is for the caller to roll back.
pub(super) async fn find(
    conn: &mut PgConnection,
    facts: &EventFacts,
    locked: &Locked,
    own: &[i32],
) -> Result<Option<Found>, Error> {
    let Some(mut found) = find_seats(conn, facts, locked, own).await? else { return Ok(None) };
    match find_area_places(conn, &locked.payment.key.event, locked.hold.id).await? {
        Some(lapsed) => found.lapsed_places = lapsed,
        None => return Ok(None),
    }
    Ok(Some(found))
}

/// The hold's own seats, with equal ones for those that are gone.
async fn find_seats(
    conn: &mut PgConnection,
    facts: &EventFacts,
    locked: &Locked,
    own: &[i32],
) -> Result<Option<Found>, Error> {
    let (event, hold) = (&locked.payment.key.event, locked.hold.id);
    if own.is_empty() {
        return Ok(Some(sorted(hold, &[])));
    }
    let mut wanted: Vec<(i32, i32)> = own.iter().map(|seat| (*seat, *seat)).collect();
    for _ in 0..CHOICES {
        let mut numbers: Vec<i32> = wanted.iter().map(|(_, new)| *new).collect();
        numbers.sort_unstable();
        let mut attempt = conn.begin().await?;
        let rows = seats::lock(&mut attempt, event, &numbers).await?;
        let gone: Vec<i32> = rows.iter().filter(|row| !can_be_had(row, hold)).map(|row| row.seat_no).collect();
        if gone.is_empty() {
            attempt.commit().await?;
            let pairs: Vec<(i32, i32)> = wanted.iter().copied().filter(|(old, new)| old != new).collect();
            if !pairs.is_empty() {
                late::exchange_seats(conn, event, hold, locked.booking.id, &pairs).await?;
            }
            return Ok(Some(sorted(hold, &rows)));
        }
        attempt.rollback().await?;
        if !locked.booking.accept_equal {
            return Ok(None);
        }
        let free = seats::free(conn, event).await?;
        let Some(equal) = equal_seats(facts, free, &wanted, &gone) else { return Ok(None) };
        wanted = equal;
    }
    Ok(None)
}

fn can_be_had(row: &LockedSeat, hold: HoldId) -> bool {
    row.state == SeatState::Free || row.lapsed || (row.state == SeatState::Held && row.hold == Some(hold.get()))
}

fn sorted(hold: HoldId, rows: &[LockedSeat]) -> Found {
    let mut found = Found { seats: Vec::new(), free: Vec::new(), lapsed: BTreeMap::new(), lapsed_places: Vec::new() };
    for row in rows {
        found.seats.push(row.seat_no);
        let own = row.state == SeatState::Held && row.hold == Some(hold.get());
        if !own {
            found.free.push(row.seat_no);
        }
        if let (SeatState::Held, Some(other), false) = (row.state, row.hold, own) {
            found.lapsed.entry(other).or_default().push(row.seat_no);
        }
    }
    found
}

/// For each seat that is gone another one of its category and price that suits whoever chose it, see
/// [`Attribute::suits`]. Who chose a special seat comes first, and nobody gets a special one without need.
fn equal_seats(facts: &EventFacts, mut free: Vec<i32>, wanted: &[(i32, i32)], gone: &[i32]) -> Option<Vec<(i32, i32)>> {
    free.retain(|seat_no| !wanted.iter().any(|(old, new)| old == seat_no || new == seat_no));
    let (mut equal, mut lost) = (Vec::with_capacity(wanted.len()), Vec::new());
    for (old, new) in wanted {
        if gone.contains(new) { lost.push(*old) } else { equal.push((*old, *new)) }
    }
    lost.sort_by_key(|old| std::cmp::Reverse(attributes(facts, *old).len()));
    for old in lost {
        let chosen = attributes(facts, old);
        let suits = |new: i32| {
            facts.category_of(new) == facts.category_of(old) && Attribute::suits(attributes(facts, new), chosen)
        };
        let suiting = free.iter().enumerate().filter(|(_, new)| suits(**new));
        // Of equally plain ones the first in the plan.
        let (at, _) = suiting.min_by_key(|(_, new)| attributes(facts, **new).len())?;
        equal.push((old, free.remove(at)));
    }
    Some(equal)
}

fn attributes(facts: &EventFacts, seat_no: i32) -> &[Attribute] {
    let all = facts.seated.as_ref().zip(u32::try_from(seat_no).ok());
    all.map_or(&[], |(seated, seat_no)| seated.attributes_of(seat_no))
}

/// What has to be taken back from lapsed holds, so that a hold's places of areas can be had; none when they cannot.
async fn find_area_places(
    conn: &mut PgConnection,
    event: &EventId,
    hold: HoldId,
) -> Result<Option<Vec<LapsedPlaces>>, Error> {
    let mut back = Vec::new();
    let names: Vec<String> = late::area_places(conn, event, hold).await?.into_iter().map(|own| own.area).collect();
    if names.is_empty() {
        return Ok(Some(back));
    }
    let counts = areas::lock(conn, event, &names).await?;
    // Once more under lock: until then others may have taken them back from this hold.
    for own in late::area_places(conn, event, hold).await?.into_iter().filter(|own| own.state == 0) {
        let now = counts.iter().find(|now| now.area == own.area);
        let now = now.ok_or_else(|| Error::defect(format!("{event} has no area {}", own.area)))?;
        let short = own.quantity - now.free();
        if short > 0 {
            let lapsed = late::lapsed_places(conn, event, &own.area, short, hold).await?;
            if lapsed.iter().map(|places| places.quantity).sum::<i32>() < short {
                return Ok(None);
            }
            back.extend(lapsed);
        }
    }
    Ok(Some(back))
}

/// Holds, pends and sells what was found, all but the last word of the sale, so that the history of each place goes by
/// the same steps as ever.
pub(super) async fn take(
    conn: &mut PgConnection,
    event: &EventId,
    locked: &Locked,
    found: Found,
) -> Result<Places, Error> {
    let (hold, id) = (locked.hold.id, locked.hold.id.get());
    let booking = Some(locked.booking.id.get());
    let moment = locked.hold.now.checked_add(jiff::SignedDuration::from_secs(MOMENT_S));
    let until = Some(moment.map_err(|e| Error::internal("the end of time", e))?);
    let change = |op, hold, booking, seats, areas, until| Change { event, op, hold, booking, seats, areas, until };
    for (other, seats) in &found.lapsed {
        history::apply(conn, change(Op::Expire, *other, None, seats, Vec::new(), None)).await?;
    }
    for places in &found.lapsed_places {
        let back = late::take_back(conn, event, places).await?;
        history::apply(conn, change(Op::Expire, places.hold.get(), None, &[], vec![back], None)).await?;
    }
    let areas = areas::move_hold(conn, event, hold, Counted::Free, Counted::Held, until).await?;
    if !found.free.is_empty() || !areas.is_empty() {
        history::apply(conn, change(Op::Hold, id, None, &found.free, areas, until)).await?;
    }
    let areas = areas::move_hold(conn, event, hold, Counted::Held, Counted::Pending, until).await?;
    history::apply(conn, change(Op::Pend, id, booking, &found.seats, areas, until)).await?;
    let areas = areas::move_hold(conn, event, hold, Counted::Pending, Counted::Sold, None).await?;
    Ok((found.seats, areas))
}
