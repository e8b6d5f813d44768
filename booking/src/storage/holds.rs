//! Rows of `hold`, `hold_seat` and `hold_area`.

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
}

/// Writes a new active hold that lives `ttl_s`, with its places. The places themselves are changed by the
/// caller.
///
/// # Errors
/// When the database cannot be had.
pub async fn insert(
    conn: &mut PgConnection,
    event: &EventId,
    id: HoldId,
    owner: &Owner,
    ttl_s: u32,
) -> Result<HoldRow, Error> {
    let row = sqlx::query!(
        r#"with t as materialized (select clock_timestamp() as now)
           insert into hold (event_id, hold_id, owner, state, expires_at, created_at)
           select $1, $2, $3, 'active', now + make_interval(secs => $4), now from t
           returning expires_at, created_at"#,
        event.as_str(),
        id.get(),
        owner.as_str(),
        f64::from(ttl_s)
    )
    .fetch_one(conn)
    .await?;
    let (expires_at, created_at) = (row.expires_at.to_jiff(), row.created_at.to_jiff());
    let hold = Hold { state: HoldState::Active, expires_at };
    Ok(HoldRow { id, owner: owner.clone(), hold, created_at, now: created_at })
}

/// Writes the seats of a new hold.
///
/// # Errors
/// When the database cannot be had.
pub async fn insert_seats(
    conn: &mut PgConnection,
    event: &EventId,
    id: HoldId,
    seats: &[HeldSeat],
) -> Result<(), Error> {
    if seats.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&HeldSeat) -> i64| seats.iter().map(of).collect::<Vec<i64>>();
    sqlx::query!(
        "insert into hold_seat (event_id, hold_id, seat_no, fee, tax, price)
         select $1, $2, s.seat_no, s.fee, s.tax, s.price
         from unnest($3::int[], $4::bigint[], $5::bigint[], $6::bigint[]) as s (seat_no, fee, tax, price)",
        event.as_str(),
        id.get(),
        &seats.iter().map(|seat| seat.seat_no).collect::<Vec<i32>>(),
        &column(|seat| seat.price.fee),
        &column(|seat| seat.price.tax),
        &column(|seat| seat.price.price)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes the places of areas of a new hold, counted as held.
///
/// # Errors
/// When the database cannot be had.
pub async fn insert_area(
    conn: &mut PgConnection,
    event: &EventId,
    row: &HoldRow,
    held: &HeldArea,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into hold_area (event_id, hold_id, area, quantity, state, expires_at, fee, tax, price)
         values ($1, $2, $3, $4, 1, $5, $6, $7, $8)",
        event.as_str(),
        row.id.get(),
        held.area,
        held.quantity,
        jiff_sqlx::ToSqlx::to_sqlx(row.hold.expires_at) as _,
        held.price.fee,
        held.price.tax,
        held.price.price
    )
    .execute(conn)
    .await?;
    Ok(())
}

struct Stored {
    hold_id: Uuid,
    owner: String,
    state: String,
    expires_at: jiff_sqlx::Timestamp,
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
        r#"select hold_id, owner, state, expires_at, created_at, clock_timestamp() as "now!: jiff_sqlx::Timestamp"
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
