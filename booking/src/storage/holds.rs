//! Rows of `hold`, `hold_seat` and `hold_area`.

use booking_domain::best::Rung;
use booking_domain::{EventId, Hold, HoldId, HoldState, Owner};
use jiff::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::Error;

/// A place of a hold with what it costs.
#[derive(Debug, Clone, Copy)]
pub struct Price {
    /// Fee contained.
    pub fee: i64,
    /// Tax contained.
    pub tax: i64,
    /// What is paid.
    pub price: i64,
}

/// A seat of a hold.
#[derive(Debug, Clone, Copy)]
pub struct HeldSeat {
    /// Its number.
    pub seat_no: i32,
    /// Its price.
    pub price: Price,
}

/// Places of an area in a hold.
#[derive(Debug, Clone)]
pub struct HeldArea {
    /// The area.
    pub area: String,
    /// How many.
    pub quantity: i32,
    /// The price of one.
    pub price: Price,
}

/// A hold as it is stored, with the time of reading.
#[derive(Debug, Clone)]
pub struct HoldRow {
    /// Its id.
    pub id: HoldId,
    /// Whose it is.
    pub owner: Owner,
    /// Its stage and expiry, as stored.
    pub hold: Hold,
    /// When it lapsed before it was extended; none when it was not.
    pub first_expires_at: Option<Timestamp>,
    /// When it was to lapse at its making; none when it is as it was.
    pub made_until: Option<Timestamp>,
    /// How its seats were chosen; none when they were named.
    pub rung: Option<Rung>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The database's clock when it was read.
    pub now: Timestamp,
}

impl HoldRow {
    /// Its stage and expiry at the time of reading.
    #[must_use]
    pub fn current(&self) -> Hold {
        self.hold.at(self.now)
    }

    /// The hold as it was when it was made.
    #[must_use]
    pub fn as_made(self) -> Self {
        let expires_at = self.made_until.unwrap_or(self.hold.expires_at);
        let hold = Hold { state: HoldState::Active, expires_at };
        Self { hold, first_expires_at: None, made_until: None, now: self.created_at, ..self }
    }
}

struct Stored {
    hold_id: Uuid,
    owner: String,
    state: String,
    expires_at: jiff_sqlx::Timestamp,
    first_expires_at: Option<jiff_sqlx::Timestamp>,
    made_until: Option<jiff_sqlx::Timestamp>,
    chosen: Option<String>,
    created_at: jiff_sqlx::Timestamp,
    now: jiff_sqlx::Timestamp,
}

impl TryFrom<Stored> for HoldRow {
    type Error = Error;

    fn try_from(row: Stored) -> Result<Self, Error> {
        Ok(Self {
            id: HoldId::new(row.hold_id),
            owner: row.owner.parse()?,
            hold: Hold { state: row.state.parse()?, expires_at: row.expires_at.to_jiff() },
            rung: row.chosen.as_deref().and_then(Rung::from_name),
            first_expires_at: row.first_expires_at.map(jiff_sqlx::Timestamp::to_jiff),
            made_until: row.made_until.map(jiff_sqlx::Timestamp::to_jiff),
            created_at: row.created_at.to_jiff(),
            now: row.now.to_jiff(),
        })
    }
}

/// Reads a hold.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn find(conn: &mut PgConnection, event: &EventId, id: HoldId) -> Result<Option<HoldRow>, Error> {
    let row = sqlx::query_as!(
        Stored,
        r#"select hold_id, owner, state, expires_at, first_expires_at, made_until, chosen, created_at,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from hold where event_id = $1 and hold_id = $2"#,
        event.as_str(),
        id.get()
    );
    row.fetch_optional(conn).await?.map(HoldRow::try_from).transpose()
}

/// Locks a hold and reads it, with the time after the lock was had.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn lock(conn: &mut PgConnection, event: &EventId, id: HoldId) -> Result<Option<HoldRow>, Error> {
    let locked = sqlx::query_scalar!(
        "select hold_id from hold where event_id = $1 and hold_id = $2 for update",
        event.as_str(),
        id.get()
    );
    if locked.fetch_optional(&mut *conn).await?.is_none() {
        return Ok(None);
    }
    find(conn, event, id).await
}

/// Writes a hold's new stage.
///
/// # Errors
/// When the database cannot be had.
pub async fn set_state(conn: &mut PgConnection, event: &EventId, id: HoldId, state: HoldState) -> Result<(), Error> {
    sqlx::query!(
        "update hold set state = $3 where event_id = $1 and hold_id = $2",
        event.as_str(),
        id.get(),
        state.name()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives a hold whose row is locked its time again, within the cap since its making; never less than it had.
/// Returns when it lapses.
///
/// # Errors
/// When the database cannot be had.
pub async fn extend(
    conn: &mut PgConnection,
    event: &EventId,
    id: HoldId,
    ttl_s: u32,
    cap_s: u32,
) -> Result<Timestamp, Error> {
    let until = sqlx::query_scalar!(
        "update hold set first_expires_at = expires_at, made_until = coalesce(made_until, expires_at),
             expires_at = greatest(expires_at, least(clock_timestamp() + make_interval(secs => $3),
                                                     created_at + make_interval(secs => $4)))
         where event_id = $1 and hold_id = $2 returning expires_at",
        event.as_str(),
        id.get(),
        f64::from(ttl_s),
        f64::from(cap_s)
    );
    Ok(until.fetch_one(conn).await?.to_jiff())
}

/// The seats of a hold, in order.
///
/// # Errors
/// When the database cannot be had.
pub async fn seats(conn: &mut PgConnection, event: &EventId, id: HoldId) -> Result<Vec<HeldSeat>, Error> {
    let rows = sqlx::query!(
        "select seat_no, fee, tax, price from hold_seat where event_id = $1 and hold_id = $2 order by seat_no",
        event.as_str(),
        id.get()
    );
    let rows = rows.fetch_all(conn).await?;
    let seat = |fee, tax, price, seat_no| HeldSeat { seat_no, price: Price { fee, tax, price } };
    Ok(rows.into_iter().map(|row| seat(row.fee, row.tax, row.price, row.seat_no)).collect())
}

/// The seats that a hold had when it was made, in order: late money may have bought others for them.
///
/// # Errors
/// When the database cannot be had.
pub async fn seats_as_made(conn: &mut PgConnection, event: &EventId, id: HoldId) -> Result<Vec<HeldSeat>, Error> {
    let rows = sqlx::query!(
        r#"select coalesce(made_seat_no, seat_no) as "seat_no!", fee, tax, price from hold_seat
           where event_id = $1 and hold_id = $2 order by 1"#,
        event.as_str(),
        id.get()
    );
    let rows = rows.fetch_all(conn).await?;
    let seat = |fee, tax, price, seat_no| HeldSeat { seat_no, price: Price { fee, tax, price } };
    Ok(rows.into_iter().map(|row| seat(row.fee, row.tax, row.price, row.seat_no)).collect())
}

/// The places of areas of a hold, in order.
///
/// # Errors
/// When the database cannot be had.
pub async fn areas(conn: &mut PgConnection, event: &EventId, id: HoldId) -> Result<Vec<HeldArea>, Error> {
    let rows = sqlx::query!(
        "select area, quantity, fee, tax, price from hold_area where event_id = $1 and hold_id = $2 order by area",
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

/// Events that have lapsed holds, at most `limit`.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn events_with_lapsed(pool: &PgPool, limit: i64) -> Result<Vec<EventId>, Error> {
    let rows = sqlx::query_scalar!(
        r#"select e.event_id from event e cross join lateral
               (select expires_at from hold h where h.event_id = e.event_id and h.state = 'active'
                order by expires_at limit 1) as oldest
           where oldest.expires_at <= clock_timestamp() order by oldest.expires_at limit $1"#,
        limit
    );
    rows.fetch_all(pool).await?.into_iter().map(|id| Ok(id.parse()?)).collect()
}

/// Locks lapsed holds of an event that nobody else has locked, oldest first, at most `limit`.
///
/// # Errors
/// When the database cannot be had.
pub async fn lock_lapsed(conn: &mut PgConnection, event: &EventId, limit: i64) -> Result<Vec<Uuid>, Error> {
    let rows = sqlx::query_scalar!(
        "select hold_id from hold
         where event_id = $1 and state = 'active' and expires_at <= clock_timestamp()
         order by expires_at limit $2 for update skip locked",
        event.as_str(),
        limit
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Marks holds as expired, and the bookings made of them.
///
/// # Errors
/// When the database cannot be had.
pub async fn expire(conn: &mut PgConnection, event: &EventId, holds: &[Uuid]) -> Result<(), Error> {
    sqlx::query!("update hold set state = 'expired' where event_id = $1 and hold_id = any($2)", event.as_str(), holds)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "update booking set state = 'expired' where event_id = $1 and hold_id = any($2) and state = 'held'",
        event.as_str(),
        holds
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The names of all areas that holds have places in.
///
/// # Errors
/// When the database cannot be had.
pub async fn areas_of(conn: &mut PgConnection, event: &EventId, holds: &[Uuid]) -> Result<Vec<String>, Error> {
    let rows = sqlx::query_scalar!(
        "select distinct area from hold_area where event_id = $1 and hold_id = any($2)",
        event.as_str(),
        holds
    );
    Ok(rows.fetch_all(conn).await?)
}
