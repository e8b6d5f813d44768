//! Rows of `booking`, `booking_seat` and `booking_area`.

use booking_domain::{BookingId, BookingState, Currency, EventId, HoldId, Money, Owner, RefundPolicy, Total};
use jiff::Timestamp;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::holds::{HeldArea, HeldSeat, Price};
use crate::error::Error;

/// Who pays and gets the tickets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buyer {
    /// Their name.
    pub name: String,
    /// Where the tickets go.
    pub email: String,
}

/// A booking as it is stored.
#[derive(Debug, Clone)]
pub struct BookingRow {
    /// The event.
    pub event: EventId,
    /// Its id.
    pub id: BookingId,
    /// The hold it was made of.
    pub hold: HoldId,
    /// Whose it is.
    pub owner: Owner,
    /// Its stage.
    pub state: BookingState,
    /// Who pays.
    pub buyer: Buyer,
    /// What it costs.
    pub total: Total,
    /// Whether late money may buy equal seats.
    pub accept_equal: bool,
    /// What comes back when it is cancelled, as the event had it on the day of booking; none of old bookings.
    pub refund_policy: Option<RefundPolicy>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The attempt that bought it.
    pub sold_attempt: Option<i32>,
    /// When it was paid for.
    pub confirmed_at: Option<Timestamp>,
    /// When its hold lapses.
    pub hold_expires_at: Timestamp,
    /// The database's clock when it was read.
    pub now: Timestamp,
}

impl BookingRow {
    /// Its stage at the time of reading: one whose hold has lapsed has expired, swept or not.
    #[must_use]
    pub fn current_state(&self) -> BookingState {
        match self.state {
            BookingState::Held if self.hold_expires_at <= self.now => BookingState::Expired,
            state => state,
        }
    }
}

struct Stored {
    event_id: String,
    booking_id: Uuid,
    hold_id: Uuid,
    owner: String,
    state: String,
    buyer_name: String,
    buyer_email: String,
    currency: String,
    fee: i64,
    tax: i64,
    total: i64,
    sold_attempt: Option<i32>,
    accept_equal: bool,
    refund_policy: Option<Json<RefundPolicy>>,
    created_at: jiff_sqlx::Timestamp,
    confirmed_at: Option<jiff_sqlx::Timestamp>,
    expires_at: jiff_sqlx::Timestamp,
    now: jiff_sqlx::Timestamp,
}

impl TryFrom<Stored> for BookingRow {
    type Error = Error;

    fn try_from(row: Stored) -> Result<Self, Error> {
        let currency = Currency::from_code(&row.currency)
            .ok_or_else(|| Error::defect(format!("booking.currency is {:?} in {}", row.currency, row.booking_id)))?;
        let money = |amount| Money::new(amount, currency);
        Ok(Self {
            event: row.event_id.parse()?,
            id: BookingId::new(row.booking_id),
            hold: HoldId::new(row.hold_id),
            owner: row.owner.parse()?,
            state: row.state.parse()?,
            buyer: Buyer { name: row.buyer_name, email: row.buyer_email },
            total: Total { fee: money(row.fee), tax: money(row.tax), price: money(row.total) },
            sold_attempt: row.sold_attempt,
            accept_equal: row.accept_equal,
            refund_policy: row.refund_policy.map(|policy| policy.0),
            created_at: row.created_at.to_jiff(),
            confirmed_at: row.confirmed_at.map(jiff_sqlx::Timestamp::to_jiff),
            hold_expires_at: row.expires_at.to_jiff(),
            now: row.now.to_jiff(),
        })
    }
}

/// A booking to be written.
#[derive(Debug, Clone)]
pub struct NewBooking<'a> {
    /// The event.
    pub event: &'a EventId,
    /// Its id.
    pub id: BookingId,
    /// The hold it is made of.
    pub hold: HoldId,
    /// Whose it is.
    pub owner: &'a Owner,
    /// Who pays.
    pub buyer: &'a Buyer,
    /// What it costs.
    pub total: Total,
    /// Whether late money may buy equal seats.
    pub accept_equal: bool,
    /// What comes back when it is cancelled.
    pub refund_policy: &'a RefundPolicy,
}

/// Writes a held booking with the places of its hold.
///
/// # Errors
/// When the database cannot be had.
pub async fn insert(conn: &mut PgConnection, new: &NewBooking<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into booking (event_id, booking_id, hold_id, owner, state, buyer_name, buyer_email,
                              currency, fee, tax, total, accept_equal, refund_policy)
         values ($1, $2, $3, $4, 'held', $5, $6, $7, $8, $9, $10, $11, $12)",
        new.event.as_str(),
        new.id.get(),
        new.hold.get(),
        new.owner.as_str(),
        new.buyer.name,
        new.buyer.email,
        new.total.price.currency().code(),
        new.total.fee.amount(),
        new.total.tax.amount(),
        new.total.price.amount(),
        new.accept_equal,
        Json(new.refund_policy) as _
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into booking_seat (event_id, booking_id, seat_no, fee, tax, price)
         select event_id, $2, seat_no, fee, tax, price from hold_seat where event_id = $1 and hold_id = $3",
        new.event.as_str(),
        new.id.get(),
        new.hold.get()
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into booking_area (event_id, booking_id, area, quantity, fee, tax, price)
         select event_id, $2, area, quantity, fee, tax, price from hold_area where event_id = $1 and hold_id = $3",
        new.event.as_str(),
        new.id.get(),
        new.hold.get()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Reads a booking.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn find(conn: &mut PgConnection, event: &EventId, id: BookingId) -> Result<Option<BookingRow>, Error> {
    let row = sqlx::query_as!(
        Stored,
        r#"select b.event_id, b.booking_id, b.hold_id, b.owner, b.state, b.buyer_name, b.buyer_email, b.currency,
                  b.fee, b.tax, b.total, b.sold_attempt, b.accept_equal,
                  b.refund_policy as "refund_policy: Json<RefundPolicy>",
                  b.created_at, b.confirmed_at, h.expires_at,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from booking b join hold h using (event_id, hold_id)
           where b.event_id = $1 and b.booking_id = $2"#,
        event.as_str(),
        id.get()
    );
    row.fetch_optional(conn).await?.map(BookingRow::try_from).transpose()
}

/// The booking made of a hold, if there is one.
///
/// # Errors
/// When the database cannot be had.
pub async fn of_hold(conn: &mut PgConnection, event: &EventId, hold: HoldId) -> Result<Option<BookingId>, Error> {
    let row = sqlx::query_scalar!(
        "select booking_id from booking where event_id = $1 and hold_id = $2",
        event.as_str(),
        hold.get()
    );
    Ok(row.fetch_optional(conn).await?.map(BookingId::new))
}

/// Locks a booking. Its hold must be locked before it.
///
/// # Errors
/// When the database cannot be had.
pub async fn lock(conn: &mut PgConnection, event: &EventId, id: BookingId) -> Result<(), Error> {
    sqlx::query!(
        "select booking_id from booking where event_id = $1 and booking_id = $2 for update",
        event.as_str(),
        id.get()
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

/// Writes a booking's new stage; `deadline_s` from now when a payment runs.
///
/// # Errors
/// When the database cannot be had.
pub async fn set_state(
    conn: &mut PgConnection,
    event: &EventId,
    id: BookingId,
    state: BookingState,
    deadline: Option<Timestamp>,
) -> Result<(), Error> {
    sqlx::query!(
        "update booking set state = $3, deadline = $4,
                confirmed_at = case when $3 = 'confirmed' then clock_timestamp() else confirmed_at end
         where event_id = $1 and booking_id = $2",
        event.as_str(),
        id.get(),
        state.name(),
        deadline.map(jiff_sqlx::ToSqlx::to_sqlx) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The seats of a booking, in order.
///
/// # Errors
/// When the database cannot be had.
pub async fn seats(conn: &mut PgConnection, event: &EventId, id: BookingId) -> Result<Vec<HeldSeat>, Error> {
    let rows = sqlx::query!(
        "select seat_no, fee, tax, price from booking_seat where event_id = $1 and booking_id = $2 order by seat_no",
        event.as_str(),
        id.get()
    );
    let rows = rows.fetch_all(conn).await?;
    let seat = |fee, tax, price, seat_no| HeldSeat { seat_no, price: Price { fee, tax, price } };
    Ok(rows.into_iter().map(|row| seat(row.fee, row.tax, row.price, row.seat_no)).collect())
}

/// The places of areas of a booking, in order.
///
/// # Errors
/// When the database cannot be had.
pub async fn areas(conn: &mut PgConnection, event: &EventId, id: BookingId) -> Result<Vec<HeldArea>, Error> {
    let rows = sqlx::query!(
        "select area, quantity, fee, tax, price from booking_area
         where event_id = $1 and booking_id = $2 order by area",
        event.as_str(),
        id.get()
    );
    let rows = rows.fetch_all(conn).await?;
    let areas = rows.into_iter().map(|row| HeldArea {
        area: row.area,
        quantity: row.quantity,
        price: Price { fee: row.fee, tax: row.tax, price: row.price },
    });
    Ok(areas.collect())
}

/// What a booking is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The numbers of its seats, in order.
    pub seats: Vec<i32>,
    /// How many places of areas.
    pub in_areas: i64,
}

/// Reads what a booking is for.
///
/// # Errors
/// When the database cannot be had.
pub async fn places(conn: &mut PgConnection, event: &EventId, id: BookingId) -> Result<Places, Error> {
    let places = sqlx::query_as!(
        Places,
        r#"select (select coalesce(array_agg(seat_no order by seat_no), '{}') from booking_seat
                   where event_id = $1 and booking_id = $2) as "seats!: Vec<i32>",
                  (select coalesce(sum(quantity), 0) from booking_area
                   where event_id = $1 and booking_id = $2) as "in_areas!: i64""#,
        event.as_str(),
        id.get()
    );
    Ok(places.fetch_one(conn).await?)
}

/// Where a page of bookings begins: after this one.
#[derive(Debug, Clone, Copy)]
pub struct After {
    /// When it was made.
    pub created_at: Timestamp,
    /// Its id.
    pub id: Uuid,
}

/// The bookings of any of the owners, newest first.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn of_owners(
    pool: &PgPool,
    owners: &[Owner],
    after: Option<After>,
    limit: i64,
) -> Result<Vec<BookingRow>, Error> {
    let owners: Vec<String> = owners.iter().map(|owner| owner.as_str().to_owned()).collect();
    let rows = sqlx::query_as!(
        Stored,
        r#"select b.event_id, b.booking_id, b.hold_id, b.owner, b.state, b.buyer_name, b.buyer_email, b.currency,
                  b.fee, b.tax, b.total, b.sold_attempt, b.accept_equal,
                  b.refund_policy as "refund_policy: Json<RefundPolicy>",
                  b.created_at, b.confirmed_at, h.expires_at,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from booking b join hold h using (event_id, hold_id)
           where b.owner = any($1)
             and ($2::timestamptz is null or (b.created_at, b.booking_id) < ($2, $3::uuid))
           order by b.created_at desc, b.booking_id desc limit $4"#,
        &owners,
        after.map(|after| jiff_sqlx::ToSqlx::to_sqlx(after.created_at)) as _,
        after.map(|after| after.id),
        limit
    );
    rows.fetch_all(pool).await?.into_iter().map(BookingRow::try_from).collect()
}

/// Notes whether late money may buy equal seats.
///
/// # Errors
/// When the database cannot be had.
pub async fn set_accept_equal(
    conn: &mut PgConnection,
    event: &EventId,
    id: BookingId,
    accept: bool,
) -> Result<(), Error> {
    sqlx::query!(
        "update booking set accept_equal = $3 where event_id = $1 and booking_id = $2",
        event.as_str(),
        id.get(),
        accept
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes that an attempt bought a booking.
///
/// # Errors
/// When the database cannot be had.
pub async fn set_sold(
    conn: &mut PgConnection,
    event: &EventId,
    id: BookingId,
    state: BookingState,
    attempt: i32,
) -> Result<(), Error> {
    sqlx::query!(
        "update booking set state = $3, sold_attempt = $4, deadline = null, confirmed_at = clock_timestamp()
         where event_id = $1 and booking_id = $2",
        event.as_str(),
        id.get(),
        state.name(),
        attempt
    )
    .execute(conn)
    .await?;
    Ok(())
}
