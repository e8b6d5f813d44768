//! Rows of `ticket`.

use booking_domain::{BookingId, EventId, TicketId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// A ticket to be issued: a seat, or one place of an area.
#[derive(Debug, Clone)]
pub struct NewTicket {
    /// Its id.
    pub id: TicketId,
    /// The seat.
    pub seat_no: Option<i32>,
    /// The area.
    pub area: Option<String>,
    /// Its signed code.
    pub code: String,
}

/// A ticket as it is stored.
#[derive(Debug, Clone)]
pub struct TicketRow {
    /// The booking it belongs to.
    pub booking_id: Uuid,
    /// Its id.
    pub ticket_id: Uuid,
    /// The seat.
    pub seat_no: Option<i32>,
    /// The area.
    pub area: Option<String>,
    /// Its signed code.
    pub code: String,
    /// Whether it opens the door.
    pub state: String,
}

/// Issues tickets.
///
/// # Errors
/// When the database cannot be had; a defect when a seat has a valid ticket already.
pub async fn insert(
    conn: &mut PgConnection,
    event: &EventId,
    booking: BookingId,
    tickets: &[NewTicket],
) -> Result<(), Error> {
    let seats: Vec<Option<i32>> = tickets.iter().map(|ticket| ticket.seat_no).collect();
    let areas: Vec<Option<String>> = tickets.iter().map(|ticket| ticket.area.clone()).collect();
    sqlx::query!(
        "insert into ticket (event_id, booking_id, ticket_id, seat_no, area, code)
         select $1, $2, t.id, t.seat_no, t.area, t.code
         from unnest($3::uuid[], $4::int[], $5::text[], $6::text[]) as t (id, seat_no, area, code)",
        event.as_str(),
        booking.get(),
        &tickets.iter().map(|ticket| ticket.id.get()).collect::<Vec<Uuid>>(),
        &seats as &[Option<i32>],
        &areas as &[Option<String>],
        &tickets.iter().map(|ticket| ticket.code.clone()).collect::<Vec<String>>()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the tickets of a booking out of use.
///
/// # Errors
/// When the database cannot be had.
pub async fn void(conn: &mut PgConnection, event: &EventId, booking: BookingId) -> Result<(), Error> {
    sqlx::query!(
        "update ticket set state = 'void' where event_id = $1 and booking_id = $2",
        event.as_str(),
        booking.get()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The tickets of bookings, by seat, then by area.
///
/// # Errors
/// When the database cannot be had.
pub async fn of_booking(conn: &mut PgConnection, event: &EventId, booking: BookingId) -> Result<Vec<TicketRow>, Error> {
    let rows = sqlx::query_as!(
        TicketRow,
        "select booking_id, ticket_id, seat_no, area, code, state from ticket
         where event_id = $1 and booking_id = $2 order by seat_no, area, ticket_id",
        event.as_str(),
        booking.get()
    );
    Ok(rows.fetch_all(conn).await?)
}
