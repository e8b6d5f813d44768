//! Reads the books: every table the audit needs, in one read-only snapshot, by plain queries.

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::types::Uuid;
use sqlx::{Connection, PgConnection, Row};

use super::books::{AreaRow, BookingRow, Books, EventBook, HoldRow, PaymentRow, SeatRow};
use super::replay::{AreaChange, Change};

/// Why the books cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The database does not answer as expected.
    #[error("cannot read {table}: {source}")]
    Query {
        /// What was read.
        table: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
    /// A row names something that no other row has.
    #[error("{table} of event {event} names {what}, which does not exist")]
    Dangling {
        /// Where it stands.
        table: &'static str,
        /// The event.
        event: String,
        /// What is missing.
        what: String,
    },
}

impl Books {
    /// Reads all events.
    pub(super) async fn read(connection: &mut PgConnection) -> Result<Self, BooksError> {
        let query = |source| BooksError::Query { table: "a snapshot", source };
        // One statement each would see one state each; this way all see the same.
        let mut snapshot = connection.begin().await.map_err(query)?;
        sqlx::query("set transaction isolation level repeatable read, read only")
            .execute(&mut *snapshot)
            .await
            .map_err(query)?;
        let mut books = Self::default();
        books.read_events(&mut snapshot).await?;
        books.read_seats(&mut snapshot).await?;
        books.read_holds(&mut snapshot).await?;
        books.read_bookings(&mut snapshot).await?;
        books.read_payments(&mut snapshot).await?;
        books.replay(&mut snapshot).await?;
        snapshot.rollback().await.map_err(query)?;
        Ok(books)
    }

    async fn read_events(&mut self, connection: &mut PgConnection) -> Result<(), BooksError> {
        const EVENTS: &str =
            "select e.event_id, coalesce(v.version, 0) from event e left join event_version v using (event_id)";
        each(connection, "event", EVENTS, |row| {
            let book = EventBook { version: row.try_get(1)?, ..EventBook::default() };
            self.events.insert(row.try_get(0)?, book);
            Ok(None)
        })
        .await?;
        const AREAS: &str =
            "select event_id, area, capacity::bigint, held::bigint, pending::bigint, sold::bigint from area";
        each(connection, "area", AREAS, |row| {
            let area = AreaRow {
                capacity: row.try_get(2)?,
                held: row.try_get(3)?,
                pending: row.try_get(4)?,
                sold: row.try_get(5)?,
            };
            let Some(book) = self.events.get_mut(row.try_get::<&str, _>(0)?) else { return missing(row, "its event") };
            book.areas.insert(row.try_get(1)?, area);
            Ok(None)
        })
        .await
    }

    async fn read_seats(&mut self, connection: &mut PgConnection) -> Result<(), BooksError> {
        const SEATS: &str = "select event_id, seat_no, state, hold_id, booking_id, version, blocked from seat";
        each(connection, "seat", SEATS, |row| {
            let seat = SeatRow {
                state: row.try_get(2)?,
                hold: row.try_get(3)?,
                booking: row.try_get(4)?,
                blocked: row.try_get(6)?,
                version: row.try_get(5)?,
            };
            let Some(book) = self.events.get_mut(row.try_get::<&str, _>(0)?) else { return missing(row, "its event") };
            book.seats.insert(row.try_get(1)?, seat);
            Ok(None)
        })
        .await
    }

    async fn read_holds(&mut self, connection: &mut PgConnection) -> Result<(), BooksError> {
        each(connection, "hold", "select event_id, hold_id, owner from hold", |row| {
            let hold = HoldRow { owner: row.try_get(2)?, ..HoldRow::default() };
            let Some(book) = self.events.get_mut(row.try_get::<&str, _>(0)?) else { return missing(row, "its event") };
            book.holds.insert(row.try_get(1)?, hold);
            Ok(None)
        })
        .await?;
        each(connection, "hold_seat", "select event_id, hold_id, seat_no from hold_seat", |row| {
            let Some(hold) = self.hold_of(row)? else { return missing(row, "its hold") };
            hold.seats.push(row.try_get(2)?);
            Ok(None)
        })
        .await?;
        const AREAS: &str = "select event_id, hold_id, area, quantity::bigint, state from hold_area";
        each(connection, "hold_area", AREAS, |row| {
            let Some(hold) = self.hold_of(row)? else { return missing(row, "its hold") };
            hold.areas.push((row.try_get(2)?, row.try_get(3)?, row.try_get(4)?));
            Ok(None)
        })
        .await
    }

    async fn read_bookings(&mut self, connection: &mut PgConnection) -> Result<(), BooksError> {
        const BOOKINGS: &str = "select event_id, booking_id, owner, state, total, currency from booking";
        each(connection, "booking", BOOKINGS, |row| {
            let booking = BookingRow {
                owner: row.try_get(2)?,
                state: row.try_get(3)?,
                total: row.try_get(4)?,
                currency: row.try_get(5)?,
                ..BookingRow::default()
            };
            let Some(book) = self.events.get_mut(row.try_get::<&str, _>(0)?) else { return missing(row, "its event") };
            book.bookings.insert(row.try_get(1)?, booking);
            Ok(None)
        })
        .await?;
        each(connection, "booking_seat", "select event_id, booking_id, seat_no, price from booking_seat", |row| {
            let Some(booking) = self.booking_of(row)? else { return missing(row, "its booking") };
            booking.seats.insert(row.try_get(2)?, row.try_get(3)?);
            Ok(None)
        })
        .await?;
        const AREAS: &str = "select event_id, booking_id, area, quantity::bigint, price from booking_area";
        each(connection, "booking_area", AREAS, |row| {
            let Some(booking) = self.booking_of(row)? else { return missing(row, "its booking") };
            booking.areas.push((row.try_get(2)?, row.try_get(3)?, row.try_get(4)?));
            Ok(None)
        })
        .await
    }

    async fn read_payments(&mut self, connection: &mut PgConnection) -> Result<(), BooksError> {
        const PAYMENTS: &str = "select event_id, booking_id, provider, reference, state, amount, currency, \
                                deadline > clock_timestamp(), refund_due, refunded, late_tried \
                                from payment order by event_id, booking_id, attempt";
        each(connection, "payment", PAYMENTS, |row| {
            let payment = PaymentRow {
                provider: row.try_get(2)?,
                reference: row.try_get(3)?,
                state: row.try_get(4)?,
                amount: row.try_get(5)?,
                currency: row.try_get(6)?,
                in_time: row.try_get(7)?,
                refund_due: row.try_get(8)?,
                refunded: row.try_get(9)?,
                late: row.try_get(10)?,
            };
            let Some(booking) = self.booking_of(row)? else { return missing(row, "its booking") };
            booking.payments.push(payment);
            Ok(None)
        })
        .await?;
        const TICKETS: &str =
            "select event_id, booking_id, count(*) from ticket where state = 'valid' group by event_id, booking_id";
        each(connection, "ticket", TICKETS, |row| {
            let Some(booking) = self.booking_of(row)? else { return missing(row, "its booking") };
            booking.tickets = row.try_get(2)?;
            Ok(None)
        })
        .await
    }

    async fn replay(&mut self, connection: &mut PgConnection) -> Result<(), BooksError> {
        const CHANGES: &str = "select event_id, version, op, state, seats, areas::text, hold_id, booking_id \
                               from seat_event order by event_id, version";
        each(connection, "seat_event", CHANGES, |row| {
            let areas: Vec<AreaChange> =
                serde_json::from_str(row.try_get(5)?).map_err(|error| sqlx::Error::Decode(error.into()))?;
            let change = Change {
                version: row.try_get(1)?,
                op: row.try_get(2)?,
                state: row.try_get(3)?,
                seats: row.try_get(4)?,
                areas,
                hold: row.try_get(6)?,
                booking: row.try_get(7)?,
            };
            let Some(book) = self.events.get_mut(row.try_get::<&str, _>(0)?) else { return missing(row, "its event") };
            book.replay.apply(&change);
            Ok(None)
        })
        .await?;
        for book in self.events.values_mut() {
            book.replay.finish(book.version, &book.seats, &book.areas);
        }
        Ok(())
    }

    fn hold_of(&mut self, row: &PgRow) -> sqlx::Result<Option<&mut HoldRow>> {
        let id: Uuid = row.try_get(1)?;
        Ok(self.events.get_mut(row.try_get::<&str, _>(0)?).and_then(|book| book.holds.get_mut(&id)))
    }

    fn booking_of(&mut self, row: &PgRow) -> sqlx::Result<Option<&mut BookingRow>> {
        let id: Uuid = row.try_get(1)?;
        Ok(self.events.get_mut(row.try_get::<&str, _>(0)?).and_then(|book| book.bookings.get_mut(&id)))
    }
}

/// What a row lacks: its event, and the missing thing.
type Lack = Option<(String, String)>;

/// Runs a query and takes its rows one by one, so that only what is kept stays in memory.
async fn each(
    connection: &mut PgConnection,
    table: &'static str,
    sql: &'static str,
    mut take: impl FnMut(&PgRow) -> sqlx::Result<Lack>,
) -> Result<(), BooksError> {
    let query = |source| BooksError::Query { table, source };
    let mut rows = sqlx::query(sql).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(query)? {
        if let Some((event, what)) = take(&row).map_err(query)? {
            return Err(BooksError::Dangling { table, event, what });
        }
    }
    Ok(())
}

fn missing(row: &PgRow, what: &str) -> sqlx::Result<Lack> {
    Ok(Some((row.try_get(0)?, what.to_owned())))
}
