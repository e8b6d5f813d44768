//! What use cases show: holds and bookings with their places, prices and tickets.

use std::sync::Arc;

use booking_domain::best::Rung;
use booking_domain::{
    BookingId, BookingState, Currency, EventId, Hold, HoldId, Line, Money, Owner, PaymentState, Total,
};
use jiff::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::Error;
use crate::events::EventFacts;
use crate::storage::book_batch::PricedPlaces;
use crate::storage::bookings::{self, BookingRow, Buyer};
use crate::storage::holds::{self, HeldArea, HeldSeat, HoldRow};
use crate::storage::payments::{self, PaymentRow};
use crate::storage::tickets::{self, TicketRow};
use crate::storage::tx::in_snapshot;

/// A seat with its price.
#[derive(Debug, Clone)]
pub struct SeatLine {
    /// The plan's name of it.
    pub seat: String,
    /// Its number.
    pub seat_no: i32,
    /// Its section.
    pub section: String,
    /// Its row.
    pub row: String,
    /// Its number within the row.
    pub number: String,
    /// What it costs.
    pub price: Money,
}

/// Places of an area with the price of one.
#[derive(Debug, Clone)]
pub struct AreaLine {
    /// The area.
    pub area: String,
    /// How many.
    pub quantity: i32,
    /// What one costs.
    pub price: Money,
}

/// A hold as its holder sees it.
#[derive(Debug, Clone)]
pub struct HoldView {
    /// The event.
    pub event: EventId,
    /// Its id.
    pub id: HoldId,
    /// Whose it is.
    pub owner: Owner,
    /// Its stage at `now`, and when it lapses.
    pub hold: Hold,
    /// How its seats were chosen; none when they were named.
    pub rung: Option<Rung>,
    /// Its seats.
    pub seats: Vec<SeatLine>,
    /// Its places of areas.
    pub areas: Vec<AreaLine>,
    /// What all of it costs.
    pub total: Total,
    /// When it was made.
    pub created_at: Timestamp,
    /// The database's clock when it was read.
    pub now: Timestamp,
}

/// A ticket as its holder sees it.
#[derive(Debug, Clone)]
pub struct TicketLine {
    /// Its id.
    pub id: Uuid,
    /// The seat's name.
    pub seat: Option<String>,
    /// The area.
    pub area: Option<String>,
    /// Its signed code.
    pub code: String,
}

/// A booking as its buyer sees it.
#[derive(Debug, Clone)]
pub struct BookingView {
    /// What is stored of it; use [`BookingRow::current_state`].
    pub row: BookingRow,
    /// Its seats.
    pub seats: Vec<SeatLine>,
    /// Its places of areas.
    pub areas: Vec<AreaLine>,
    /// Its tickets that open the door.
    pub tickets: Vec<TicketLine>,
    /// The payment that bought it, else its last one.
    pub payment: Option<PaymentRow>,
    /// What comes back when it is cancelled: until when how many percent.
    pub refund_policy: Vec<(Option<Timestamp>, u8)>,
}

impl BookingView {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> BookingId {
        self.row.id
    }

    /// Its stage at the time of reading.
    #[must_use]
    pub fn state(&self) -> BookingState {
        self.row.current_state()
    }

    /// Who pays.
    #[must_use]
    pub const fn buyer(&self) -> &Buyer {
        &self.row.buyer
    }

    /// Why its last payment was declined.
    #[must_use]
    pub fn decline_reason(&self) -> Option<String> {
        let payment = self.payment.as_ref()?;
        if payment.state == PaymentState::Declined { payment.decline_reason.clone() } else { None }
    }
}

/// Adds up what places cost together.
///
/// # Errors
/// When a sum overflows.
pub fn total_of(currency: Currency, seats: &[HeldSeat], areas: &[HeldArea]) -> Result<Total, Error> {
    let line = |quantity, price: &holds::Price| Line { quantity, fee: price.fee, tax: price.tax, price: price.price };
    let seats = seats.iter().map(|seat| line(1, &seat.price));
    let areas = areas.iter().map(|area| line(u32::try_from(area.quantity).unwrap_or(0), &area.price));
    Ok(Total::of(currency, seats.chain(areas))?)
}

fn seat_lines(facts: &EventFacts, seats: impl Iterator<Item = (i32, i64)>) -> Result<Vec<SeatLine>, Error> {
    let line = |(seat_no, price): (i32, i64)| {
        let seat = facts
            .seat(seat_no)
            .ok_or_else(|| Error::defect(format!("the plan of {} has no seat {seat_no}", facts.event.id)))?;
        Ok(SeatLine {
            seat: seat.guid.clone(),
            seat_no,
            section: seat.section.clone(),
            row: seat.row.clone(),
            number: seat.number.clone(),
            price: Money::new(price, facts.event.currency),
        })
    };
    seats.map(line).collect()
}

fn area_lines<'a>(currency: Currency, areas: impl Iterator<Item = (&'a str, i32, i64)>) -> Vec<AreaLine> {
    let line = |(area, quantity, price): (&str, i32, i64)| AreaLine {
        area: area.to_owned(),
        quantity,
        price: Money::new(price, currency),
    };
    areas.map(line).collect()
}

fn of_seats(seats: &[HeldSeat]) -> impl Iterator<Item = (i32, i64)> {
    seats.iter().map(|held| (held.seat_no, held.price.price))
}

fn of_areas(areas: &[HeldArea]) -> impl Iterator<Item = (&str, i32, i64)> {
    areas.iter().map(|held| (held.area.as_str(), held.quantity, held.price.price))
}

/// A hold with the places it was given.
///
/// # Errors
/// When a sum overflows or a seat is not in the plan.
pub fn hold_view(facts: &EventFacts, row: &HoldRow, seats: &[HeldSeat], areas: &[HeldArea]) -> Result<HoldView, Error> {
    Ok(HoldView {
        event: facts.event.id.clone(),
        id: row.id,
        owner: row.owner.clone(),
        hold: row.current(),
        rung: row.rung,
        seats: seat_lines(facts, of_seats(seats))?,
        areas: area_lines(facts.event.currency, of_areas(areas)),
        total: total_of(facts.event.currency, seats, areas)?,
        created_at: row.created_at,
        now: row.now,
    })
}

/// A hold with its places, as of one moment.
///
/// # Errors
/// When the database cannot be had.
pub async fn hold_now(pool: &PgPool, facts: &Arc<EventFacts>, id: HoldId) -> Result<Option<HoldView>, Error> {
    let facts = Arc::clone(facts);
    in_snapshot(pool, move |conn| {
        let facts = Arc::clone(&facts);
        Box::pin(async move { read_hold(conn, &facts, id).await })
    })
    .await
}

/// A booking with everything that belongs to it, as of one moment.
///
/// # Errors
/// When the database cannot be had.
pub async fn booking_now(pool: &PgPool, facts: &Arc<EventFacts>, id: BookingId) -> Result<Option<BookingView>, Error> {
    let facts = Arc::clone(facts);
    in_snapshot(pool, move |conn| {
        let facts = Arc::clone(&facts);
        Box::pin(async move { read_booking(conn, &facts, id).await })
    })
    .await
}

/// Reads a hold with its places. A hold's places never change; its stage may, unless it is locked.
///
/// # Errors
/// When the database cannot be had.
pub async fn read_hold(conn: &mut PgConnection, facts: &EventFacts, id: HoldId) -> Result<Option<HoldView>, Error> {
    let event = &facts.event.id;
    let Some(row) = holds::find(conn, event, id).await? else { return Ok(None) };
    let seats = holds::seats(conn, event, id).await?;
    let areas = holds::areas(conn, event, id).await?;
    hold_view(facts, &row, &seats, &areas).map(Some)
}

/// Reads a booking with its places, tickets and last payment. They belong together when the booking is
/// locked or the transaction is a snapshot.
///
/// # Errors
/// When the database cannot be had.
pub async fn read_booking(
    conn: &mut PgConnection,
    facts: &EventFacts,
    id: BookingId,
) -> Result<Option<BookingView>, Error> {
    match bookings::find(conn, &facts.event.id, id).await? {
        Some(row) => complete_booking(conn, facts, row).await.map(Some),
        None => Ok(None),
    }
}

/// Reads what belongs to a booking.
///
/// # Errors
/// When the database cannot be had.
async fn complete_booking(conn: &mut PgConnection, facts: &EventFacts, row: BookingRow) -> Result<BookingView, Error> {
    let event = &facts.event.id;
    let seats = bookings::seats(conn, event, row.id).await?;
    let areas = bookings::areas(conn, event, row.id).await?;
    let tickets = tickets::of_booking(conn, event, row.id).await?;
    let payment = payments::foremost(conn, event, row.id).await?;
    let seats = of_seats(&seats).collect();
    let areas = of_areas(&areas).map(|(area, quantity, price)| (area.to_owned(), quantity, price)).collect();
    booking_view(facts, row, &PricedPlaces { seats, areas }, tickets, payment)
}

/// A booking with everything that belongs to it, as it was read or written at one moment.
///
/// # Errors
/// When a seat is not in the plan.
pub(super) fn booking_view(
    facts: &EventFacts,
    row: BookingRow,
    places: &PricedPlaces,
    tickets: Vec<TicketRow>,
    payment: Option<PaymentRow>,
) -> Result<BookingView, Error> {
    let areas = places.areas.iter().map(|(area, quantity, price)| (area.as_str(), *quantity, *price));
    let policy = row.refund_policy.as_ref().unwrap_or(&facts.event.refund_policy);
    let until = |s| facts.event.starts_at.checked_sub(jiff::SignedDuration::from_secs(s)).ok();
    Ok(BookingView {
        refund_policy: policy.tiers().iter().map(|tier| (until(tier.until_s), tier.percent)).collect(),
        seats: seat_lines(facts, places.seats.iter().copied())?,
        areas: area_lines(facts.event.currency, areas),
        tickets: tickets.into_iter().filter(|t| t.state == "valid").map(|t| ticket_line(facts, t)).collect(),
        payment,
        row,
    })
}

fn ticket_line(facts: &EventFacts, ticket: TicketRow) -> TicketLine {
    let seat = ticket.seat_no.and_then(|seat_no| facts.seat(seat_no)).map(|seat| seat.guid.clone());
    TicketLine { id: ticket.ticket_id, seat, area: ticket.area, code: ticket.code }
}
