//! Writing the catalogue. An import is one transaction; it happens once per event.

use booking_domain::{EventId, RefundPolicy};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::error::Error;

/// The price of a place, taken apart, in minor units.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    /// What the organiser asks.
    pub face: i64,
    /// What is added.
    pub fee: i64,
    /// Tax contained in the price.
    pub tax: i64,
    /// What is paid.
    pub price: i64,
}

/// An event with everything that belongs to it, ready to be written.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// What people call it.
    pub name: String,
    /// The venue's id.
    pub venue_id: String,
    /// The venue's name.
    pub venue: String,
    /// Where it is.
    pub city: String,
    /// The venue's time zone.
    pub time_zone: String,
    /// Genre.
    pub category: String,
    /// Who performs.
    pub performers: Vec<String>,
    /// The sale that guards it.
    pub sale: Option<String>,
    /// ISO 4217 code.
    pub currency: String,
    /// When it starts.
    pub starts_at: Timestamp,
    /// When doors open.
    pub doors_at: Option<Timestamp>,
    /// When it ends.
    pub ends_at: Option<Timestamp>,
    /// Until how long before the start buyers may cancel.
    pub cancel_until_s: i64,
    /// Whether seats may not be picked such that a single free one is left beside them.
    pub leaves_no_single: bool,
    /// What comes back when a booking is cancelled; none = all, until then.
    pub refund_policy: Option<RefundPolicy>,
    /// Fee per place.
    pub fee: i64,
    /// Included tax, in basis points.
    pub tax_bp: i32,
    /// The plan's digest and document.
    pub plan: Option<(String, String)>,
    /// Where everybody looks.
    pub focal_point: Option<(f64, f64)>,
    /// Of everything imported.
    pub import_digest: String,
    /// Name, colour and price of each category, in the plan's order.
    pub categories: Vec<(String, Option<String>, Unit)>,
    /// Sections in the plan's order.
    pub sections: Vec<String>,
    /// Seats by number.
    pub seats: Vec<NewSeat>,
    /// Areas.
    pub areas: Vec<NewArea>,
}

/// A seat to be written; its number is its position.
#[derive(Debug, Clone)]
pub struct NewSeat {
    /// The plan's `seat_guid`.
    pub seat: String,
    /// Its section.
    pub section: String,
    /// Its row.
    pub row: String,
    /// Its number within the row.
    pub number: String,
    /// Its price category.
    pub category: String,
    /// What a buyer should know of it, separated by spaces.
    pub attributes: String,
}

/// An area to be written.
#[derive(Debug, Clone)]
pub struct NewArea {
    /// Its id.
    pub area: String,
    /// What people call it.
    pub name: String,
    /// The category it counts to.
    pub category: Option<String>,
    /// How many fit in.
    pub capacity: i32,
    /// What one place costs.
    pub price: Unit,
}

/// The digest under which an event was imported, if it was. Waits for an import that is going on.
///
/// # Errors
/// When the database cannot be had.
pub async fn digest_of(conn: &mut PgConnection, event: &EventId) -> Result<Option<String>, Error> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('import', 0))").execute(&mut *conn).await?;
    let row = sqlx::query_scalar!("select import_digest from event where event_id = $1", event.as_str());
    Ok(row.fetch_optional(conn).await?)
}

/// Writes a new event.
///
/// # Errors
/// When the database cannot be had or the venue is known by another name or place.
pub async fn write(conn: &mut PgConnection, new: &NewEvent) -> Result<(), Error> {
    write_event(conn, new).await?;
    write_categories(conn, new).await?;
    write_seats(conn, new).await?;
    for (ordinal, area) in (0i32..).zip(&new.areas) {
        sqlx::query!(
            "insert into area (event_id, area, name, ordinal, category, capacity, face, fee, tax, price)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            new.id.as_str(),
            area.area,
            area.name,
            ordinal,
            area.category,
            area.capacity,
            area.price.face,
            area.price.fee,
            area.price.tax,
            area.price.price
        )
        .execute(&mut *conn)
        .await?;
    }
    sqlx::query!("insert into event_version (event_id) values ($1)", new.id.as_str()).execute(conn).await?;
    Ok(())
}

async fn write_event(conn: &mut PgConnection, new: &NewEvent) -> Result<(), Error> {
    sqlx::query!(
        "insert into venue (venue_id, name, city, time_zone) values ($1, $2, $3, $4) on conflict do nothing",
        new.venue_id,
        new.venue,
        new.city,
        new.time_zone
    )
    .execute(&mut *conn)
    .await?;
    if let Some((digest, document)) = &new.plan {
        sqlx::query!(
            "insert into plan (plan_digest, document) values ($1, $2) on conflict do nothing",
            digest,
            document
        )
        .execute(&mut *conn)
        .await?;
    }
    let search = [&new.name, &new.venue, &new.city].into_iter().chain(&new.performers);
    let search = search.map(|text| text.to_lowercase()).collect::<Vec<String>>().join("\n");
    let time = |at: Option<Timestamp>| at.map(jiff_sqlx::ToSqlx::to_sqlx);
    sqlx::query!(
        "insert into event (event_id, name, venue_id, category, performers, sale, currency, starts_at, doors_at, ends_at,
                            cancel_until_s, fee, tax_bp, plan_digest, focal_x, focal_y, seat_count, import_digest, search,
                            leaves_no_single, refund_policy)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                 $21)",
        new.id.as_str(),
        new.name,
        new.venue_id,
        new.category,
        &new.performers,
        new.sale,
        new.currency,
        jiff_sqlx::ToSqlx::to_sqlx(new.starts_at) as _,
        time(new.doors_at) as _,
        time(new.ends_at) as _,
        new.cancel_until_s,
        new.fee,
        new.tax_bp,
        new.plan.as_ref().map(|plan| plan.0.as_str()),
        new.focal_point.map(|at| at.0),
        new.focal_point.map(|at| at.1),
        i32::try_from(new.seats.len()).map_err(|e| Error::internal("too many seats", e))?,
        new.import_digest,
        search,
        new.leaves_no_single,
        new.refund_policy.as_ref().map(sqlx::types::Json) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_categories(conn: &mut PgConnection, new: &NewEvent) -> Result<(), Error> {
    for (ordinal, (category, color, unit)) in (0i32..).zip(&new.categories) {
        sqlx::query!(
            "insert into price_category (event_id, category, ordinal, color, face, fee, tax, price)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
            new.id.as_str(),
            category,
            ordinal,
            color.as_deref(),
            unit.face,
            unit.fee,
            unit.tax,
            unit.price
        )
        .execute(&mut *conn)
        .await?;
    }
    sqlx::query!(
        "insert into section (event_id, section, ordinal)
         select $1, s.name, s.n from unnest($2::text[]) with ordinality as s (name, n)",
        new.id.as_str(),
        &new.sections
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_seats(conn: &mut PgConnection, new: &NewEvent) -> Result<(), Error> {
    let column = |of: fn(&NewSeat) -> &String| new.seats.iter().map(of).cloned().collect::<Vec<String>>();
    sqlx::query!(
        r#"insert into seat (event_id, seat_no, seat, section, "row", number, category, attributes)
           select $1, (s.n - 1)::int, s.seat, s.section, s.row_label, s.number, s.category,
                  string_to_array(s.attributes, ' ')
           from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
                with ordinality as s (seat, section, row_label, number, category, attributes, n)"#,
        new.id.as_str(),
        &column(|seat| &seat.seat),
        &column(|seat| &seat.section),
        &column(|seat| &seat.row),
        &column(|seat| &seat.number),
        &column(|seat| &seat.category),
        &column(|seat| &seat.attributes)
    )
    .execute(conn)
    .await?;
    Ok(())
}
