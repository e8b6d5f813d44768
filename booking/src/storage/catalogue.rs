//! Reading the catalogue: events, venues, plans, prices. Written by [`super::import`] alone.

use booking_domain::{Currency, EventId, RefundPolicy};
use jiff::Timestamp;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use super::holds::Price;
use crate::error::Error;

/// An event with its venue, as it is stored.
#[derive(Debug, Clone)]
pub struct EventRow {
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
    /// Currency of all its prices.
    pub currency: Currency,
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
    /// What comes back when a booking is cancelled.
    pub refund_policy: RefundPolicy,
    /// Digest of its plan.
    pub plan_digest: Option<String>,
    /// Where everybody looks.
    pub focal_point: Option<(f64, f64)>,
    /// How many seats it has.
    pub seat_count: i32,
    /// The database's clock when it was read.
    pub now: Timestamp,
}

struct Stored {
    event_id: String,
    name: String,
    venue_id: String,
    venue: String,
    city: String,
    time_zone: String,
    category: String,
    performers: Vec<String>,
    sale: Option<String>,
    currency: String,
    starts_at: jiff_sqlx::Timestamp,
    doors_at: Option<jiff_sqlx::Timestamp>,
    ends_at: Option<jiff_sqlx::Timestamp>,
    cancel_until_s: i64,
    leaves_no_single: bool,
    refund_policy: Option<Json<RefundPolicy>>,
    plan_digest: Option<String>,
    focal_x: Option<f64>,
    focal_y: Option<f64>,
    seat_count: i32,
    now: jiff_sqlx::Timestamp,
}

impl TryFrom<Stored> for EventRow {
    type Error = Error;

    fn try_from(row: Stored) -> Result<Self, Error> {
        let currency = Currency::from_code(&row.currency)
            .ok_or_else(|| Error::defect(format!("event.currency is {:?} in {}", row.currency, row.event_id)))?;
        Ok(Self {
            id: row.event_id.parse()?,
            name: row.name,
            venue_id: row.venue_id,
            venue: row.venue,
            city: row.city,
            time_zone: row.time_zone,
            category: row.category,
            performers: row.performers,
            sale: row.sale,
            currency,
            starts_at: row.starts_at.to_jiff(),
            doors_at: row.doors_at.map(jiff_sqlx::Timestamp::to_jiff),
            ends_at: row.ends_at.map(jiff_sqlx::Timestamp::to_jiff),
            cancel_until_s: row.cancel_until_s,
            leaves_no_single: row.leaves_no_single,
            refund_policy: row
                .refund_policy
                .map_or_else(|| RefundPolicy::full_until(row.cancel_until_s), |policy| policy.0),
            plan_digest: row.plan_digest,
            focal_point: row.focal_x.zip(row.focal_y),
            seat_count: row.seat_count,
            now: row.now.to_jiff(),
        })
    }
}

/// Reads an event.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn event(conn: &mut PgConnection, id: &EventId) -> Result<Option<EventRow>, Error> {
    let row = sqlx::query_as!(
        Stored,
        r#"select event_id, e.name, venue_id, v.name as venue, city, time_zone, category, performers, sale, currency,
                  starts_at, doors_at, ends_at, cancel_until_s, leaves_no_single,
                  refund_policy as "refund_policy: Json<RefundPolicy>", plan_digest, focal_x, focal_y, seat_count,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from event e join venue v using (venue_id) where event_id = $1"#,
        id.as_str()
    );
    row.fetch_optional(conn).await?.map(EventRow::try_from).transpose()
}

/// What a list of events is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Words that name, performers, venue or city must all contain.
    pub words: Vec<String>,
    /// The city, whatever its case.
    pub city: Option<String>,
    /// The genre, whatever its case.
    pub category: Option<String>,
    /// The venue's id or name, whatever its case.
    pub venue: Option<String>,
    /// A performer, whatever the case.
    pub performer: Option<String>,
    /// Starts at or after.
    pub from: Option<Timestamp>,
    /// Starts before.
    pub to: Option<Timestamp>,
    /// Begins after this one: its start and id.
    pub after: Option<(Timestamp, EventId)>,
    /// At most so many.
    pub limit: i64,
}

/// Lists events by their start.
///
/// # Errors
/// When the database cannot be had or holds an impossible row.
pub async fn events(pool: &PgPool, filter: &Filter) -> Result<Vec<EventRow>, Error> {
    let time = |at: Option<Timestamp>| at.map(jiff_sqlx::ToSqlx::to_sqlx);
    let (after_at, after_id) = filter.after.clone().unzip();
    let rows = sqlx::query_as!(
        Stored,
        r#"select event_id, e.name, venue_id, v.name as venue, city, time_zone, category, performers, sale, currency,
                  starts_at, doors_at, ends_at, cancel_until_s, leaves_no_single,
                  refund_policy as "refund_policy: Json<RefundPolicy>", plan_digest, focal_x, focal_y, seat_count,
                  clock_timestamp() as "now!: jiff_sqlx::Timestamp"
           from event e join venue v using (venue_id)
           where not exists (select from unnest($1::text[]) as word where position(word in search) = 0)
             and ($2::text is null or lower(city) = lower($2))
             and ($3::text is null or lower(category) = lower($3))
             and ($4::text is null or venue_id = lower($4) or lower(v.name) = lower($4))
             and ($5::text is null or exists (select from unnest(performers) as p where lower(p) = lower($5)))
             and ($6::timestamptz is null or starts_at >= $6)
             and ($7::timestamptz is null or starts_at < $7)
             and ($8::timestamptz is null or (starts_at, event_id) > ($8, $9::text))
           order by starts_at, event_id limit $10"#,
        &filter.words,
        filter.city,
        filter.category,
        filter.venue,
        filter.performer,
        time(filter.from) as _,
        time(filter.to) as _,
        time(after_at) as _,
        after_id.as_ref().map(EventId::as_str),
        filter.limit
    );
    rows.fetch_all(pool).await?.into_iter().map(EventRow::try_from).collect()
}

/// A price category.
#[derive(Debug, Clone)]
pub struct CategoryRow {
    /// Its name in the plan.
    pub category: String,
    /// Its colour in the plan.
    pub color: Option<String>,
    /// What one seat costs.
    pub price: Price,
}

/// The price categories of an event, in the plan's order.
///
/// # Errors
/// When the database cannot be had.
pub async fn categories(conn: &mut PgConnection, event: &EventId) -> Result<Vec<CategoryRow>, Error> {
    let rows = sqlx::query!(
        "select category, color, fee, tax, price from price_category where event_id = $1 order by ordinal",
        event.as_str()
    );
    let rows = rows.fetch_all(conn).await?;
    let category = rows.into_iter().map(|row| CategoryRow {
        category: row.category,
        color: row.color,
        price: Price { fee: row.fee, tax: row.tax, price: row.price },
    });
    Ok(category.collect())
}

/// What is fixed about an area.
#[derive(Debug, Clone)]
pub struct AreaRow {
    /// Its id.
    pub area: String,
    /// What people call it.
    pub name: String,
    /// The category it counts to.
    pub category: Option<String>,
    /// How many fit in.
    pub capacity: i32,
    /// What one place costs.
    pub price: Price,
}

/// The areas of an event, in the order of their import.
///
/// # Errors
/// When the database cannot be had.
pub async fn areas(conn: &mut PgConnection, event: &EventId) -> Result<Vec<AreaRow>, Error> {
    let rows = sqlx::query!(
        "select area, name, category, capacity, fee, tax, price from area where event_id = $1 order by ordinal",
        event.as_str()
    );
    let rows = rows.fetch_all(conn).await?;
    let area = rows.into_iter().map(|row| AreaRow {
        area: row.area,
        name: row.name,
        category: row.category,
        capacity: row.capacity,
        price: Price { fee: row.fee, tax: row.tax, price: row.price },
    });
    Ok(area.collect())
}

/// The document of a plan.
///
/// # Errors
/// When the database cannot be had.
pub async fn plan(conn: &mut PgConnection, digest: &str) -> Result<Option<String>, Error> {
    let row = sqlx::query_scalar!("select document from plan where plan_digest = $1", digest);
    Ok(row.fetch_optional(conn).await?)
}

/// The numbers of the seats that have any of these attributes, in order.
///
/// # Errors
/// When the database cannot be had.
pub async fn seats_with(conn: &mut PgConnection, event: &EventId, attributes: &[String]) -> Result<Vec<i32>, Error> {
    let rows = sqlx::query_scalar!(
        "select seat_no from seat where event_id = $1 and attributes && $2 order by seat_no",
        event.as_str(),
        attributes
    );
    Ok(rows.fetch_all(conn).await?)
}

/// How many seats of a category can be had.
#[derive(Debug, Clone)]
pub struct FreeInCategory {
    /// The category.
    pub category: String,
    /// Its seats.
    pub seats: i64,
    /// Those that are free.
    pub free: i64,
}

/// Counts seats and free seats by category.
///
/// # Errors
/// When the database cannot be had.
pub async fn availability(conn: &mut PgConnection, event: &EventId) -> Result<Vec<FreeInCategory>, Error> {
    let rows = sqlx::query_as!(
        FreeInCategory,
        r#"select category, count(*) as "seats!",
                  count(*) filter (where state = 0 or (state = 1 and expires_at <= clock_timestamp())) as "free!"
           from seat where event_id = $1 group by category"#,
        event.as_str()
    );
    Ok(rows.fetch_all(conn).await?)
}
