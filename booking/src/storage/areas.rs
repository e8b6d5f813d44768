//! Rows of `area` and the states of `hold_area`. Counters change only under the lock of the area's row, and
//! together with the `hold_area` rows that they count.

use booking_domain::{EventId, HoldId};
use sqlx::PgConnection;

use super::history::AreaChange;
use crate::error::Error;

/// The counters of an area.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct AreaCounts {
    /// Which.
    pub area: String,
    /// How many fit in.
    pub capacity: i32,
    /// How many are reserved for a short time.
    pub held: i32,
    /// How many are being paid for.
    pub pending: i32,
    /// How many are gone.
    pub sold: i32,
}

impl AreaCounts {
    /// How many can be had.
    #[must_use]
    pub const fn free(&self) -> i32 {
        self.capacity - self.held - self.pending - self.sold
    }

    /// The area as the history writes it.
    #[must_use]
    pub fn changed(&self, quantity: i32) -> AreaChange {
        AreaChange {
            area: self.area.clone(),
            quantity,
            capacity: self.capacity,
            held: self.held + self.pending,
            sold: self.sold,
        }
    }
}

/// What an area's counters count a hold's places as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Not at all.
    Free,
    /// Held.
    Held,
    /// Pending.
    Pending,
    /// Sold.
    Sold,
}

impl Counted {
    const fn code(self) -> i16 {
        self as i16
    }

    /// The change of (held, pending, sold) when so many places come to be counted this way.
    const fn columns(self, quantity: i32) -> [i32; 3] {
        match self {
            Self::Free => [0, 0, 0],
            Self::Held => [quantity, 0, 0],
            Self::Pending => [0, quantity, 0],
            Self::Sold => [0, 0, quantity],
        }
    }
}

/// Locks areas in the order of their names' bytes, whatever the database sorts text by; in this order they come.
///
/// # Errors
/// When the database cannot be had.
pub async fn lock(conn: &mut PgConnection, event: &EventId, areas: &[String]) -> Result<Vec<AreaCounts>, Error> {
    let rows = sqlx::query_as!(
        AreaCounts,
        "select area, capacity, held, pending, sold from area
         where event_id = $1 and area = any($2) order by area collate \"C\" for update",
        event.as_str(),
        areas
    );
    Ok(rows.fetch_all(conn).await?)
}

/// All areas of an event, in the order of their import.
///
/// # Errors
/// When the database cannot be had.
pub async fn all(conn: &mut PgConnection, event: &EventId) -> Result<Vec<AreaCounts>, Error> {
    let rows = sqlx::query_as!(
        AreaCounts,
        "select area, capacity, held, pending, sold from area where event_id = $1 order by ordinal",
        event.as_str()
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Lets the places of a hold lapse later; locks their areas in order. Returns in how many areas it has places.
///
/// # Errors
/// When the database cannot be had.
pub async fn prolong(
    conn: &mut PgConnection,
    event: &EventId,
    hold: HoldId,
    until: jiff::Timestamp,
) -> Result<usize, Error> {
    let names = super::holds::areas_of(conn, event, &[hold.get()]).await?;
    if names.is_empty() {
        return Ok(0);
    }
    lock(conn, event, &names).await?;
    let done = sqlx::query!(
        "update hold_area set expires_at = $3 where event_id = $1 and hold_id = $2 and state = 1",
        event.as_str(),
        hold.get(),
        jiff_sqlx::ToSqlx::to_sqlx(until) as _
    );
    Ok(usize::try_from(done.execute(conn).await?.rows_affected()).unwrap_or(usize::MAX))
}

/// Moves so many places of a locked area from one count to another.
///
/// # Errors
/// When the database cannot be had; a violated constraint is a defect.
pub async fn shift(
    conn: &mut PgConnection,
    event: &EventId,
    area: &str,
    quantity: i32,
    from: Counted,
    to: Counted,
) -> Result<AreaCounts, Error> {
    let (minus, plus) = (from.columns(quantity), to.columns(quantity));
    let by = |column: usize| plus[column] - minus[column];
    let row = sqlx::query_as!(
        AreaCounts,
        "update area set held = held + $3, pending = pending + $4, sold = sold + $5
         where event_id = $1 and area = $2 returning area, capacity, held, pending, sold",
        event.as_str(),
        area,
        by(0),
        by(1),
        by(2)
    );
    Ok(row.fetch_one(conn).await?)
}

/// Moves all that a hold has counted one way to another way: locks the areas in order, changes the rows of
/// the hold and the counters together. Areas that are not counted as `from` stay untouched.
///
/// # Errors
/// When the database cannot be had.
pub async fn move_hold(
    conn: &mut PgConnection,
    event: &EventId,
    hold: HoldId,
    from: Counted,
    to: Counted,
    until: Option<jiff::Timestamp>,
) -> Result<Vec<AreaChange>, Error> {
    let names = sqlx::query_scalar!(
        "select area from hold_area where event_id = $1 and hold_id = $2",
        event.as_str(),
        hold.get()
    )
    .fetch_all(&mut *conn)
    .await?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    lock(conn, event, &names).await?;
    let moved = sqlx::query!(
        "update hold_area set state = $4, expires_at = $5
         where event_id = $1 and hold_id = $2 and state = $3 returning area, quantity",
        event.as_str(),
        hold.get(),
        from.code(),
        to.code(),
        until.map(jiff_sqlx::ToSqlx::to_sqlx) as _
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut changes = Vec::with_capacity(moved.len());
    for row in moved {
        let counts = shift(conn, event, &row.area, row.quantity, from, to).await?;
        changes.push(counts.changed(row.quantity));
    }
    changes.sort_by(|a, b| a.area.cmp(&b.area));
    Ok(changes)
}
