//! The one statement of the holds writer: places for many requests, of each all or none.
//!
//! What it does is written in SQL, in the function `hold_batch`; here are its columns. Also here: finding out
//! what became of a batch whose answer was lost.

use std::collections::HashSet;

use booking_domain::best::Rung;
use booking_domain::{AreaId, EventId, HoldId, Owner};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::history::Mark;
use super::holds::{HeldArea, HeldSeat, Price};
use super::idempotency::Claim;
use crate::error::{Error, Refusal};

/// One request of a batch.
#[derive(Debug, Clone)]
pub struct HoldOrder {
    /// The id that its hold will have; made before, so that a lost answer can be looked for.
    pub id: HoldId,
    /// For whom.
    pub owner: Owner,
    /// Whether the owner may have places already, so that they are counted.
    pub counted: bool,
    /// Seats, by number.
    pub seats: Vec<HeldSeat>,
    /// How the seats were chosen; none when they were named.
    pub rung: Option<Rung>,
    /// Places of areas, each area once.
    pub areas: Vec<HeldArea>,
    /// Keys under which the hold is kept as the answer.
    pub keys: Vec<Claim>,
}

impl HoldOrder {
    /// How many places.
    #[must_use]
    pub fn places(&self) -> i32 {
        let seats = i32::try_from(self.seats.len()).unwrap_or(i32::MAX);
        self.areas.iter().fold(seats, |sum, area| sum.saturating_add(area.quantity))
    }
}

/// What one owner may have of one event.
#[derive(Debug, Clone, Copy)]
pub struct OwnerLimits {
    /// Most places, held and bought.
    pub places: u32,
    /// Most live holds.
    pub holds: u32,
}

/// Many requests for one event. Each owner, seat and key is in one of them only.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The event.
    pub event: &'a EventId,
    /// The version up to which the caller knows the history.
    pub seen: i64,
    /// Most changes that are told.
    pub entries: i32,
    /// How long the holds live.
    pub ttl_s: u32,
    /// What owners may have.
    pub limits: OwnerLimits,
    /// The requests, in the order of their arrival.
    pub orders: &'a [&'a HoldOrder],
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has its places.
    Won,
    /// These seats were taken.
    SeatsTaken(Vec<i32>),
    /// An area had only so many places left.
    NotEnough {
        /// Which.
        area: AreaId,
        /// How many it has.
        available: u32,
    },
    /// The owner has so many places already.
    PlacesLimit {
        /// How many.
        have: u32,
    },
    /// The owner has so many live holds already.
    HoldsLimit {
        /// How many.
        have: u32,
    },
    /// Another transaction works on its key.
    KeyInUse,
    /// Its key was used before.
    KeyKnown,
}

/// What a batch did.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Request by request.
    pub verdicts: Vec<Verdict>,
    /// When the holds were made.
    pub made_at: Timestamp,
    /// When they lapse.
    pub until: Timestamp,
    /// When the database was asked: nothing that held places then and was in a request's way had lapsed.
    pub asked_at: Timestamp,
    /// The version after the last change of `before`: the holds follow in order, one version each.
    pub base: i64,
    /// The mark of the version that the caller knew.
    pub seen: Mark,
    /// What changed after the version that the caller knew and before the holds, as far as it was asked for.
    pub before: Vec<SeatsChanged>,
}

/// Seats that came into a state.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct SeatsChanged {
    /// The event's version after it.
    pub version: i64,
    /// The state's code.
    pub state: u8,
    /// Which seats.
    pub seats: Vec<i32>,
    /// Until when they are held or pending, in microseconds since 1970.
    pub until_us: Option<i64>,
    /// The version's mark.
    pub mark: Mark,
}

/// Takes the places of a batch and commits. An error of the connection leaves open whether it was done: then
/// ask [`settle`].
///
/// # Errors
/// [`Refusal::Conflict`] when the event does not take place: then nothing was done. When the database cannot be had; a
/// defect when the requests contradict the tables.
pub async fn commit(conn: &mut PgConnection, batch: Batch<'_>) -> Result<Committed, Error> {
    let columns = Columns::of(batch.orders);
    let row = sqlx::query!(
        r#"select base as "base!", made_at as "made_at!", until as "until!", verdicts as "verdicts!", have as "have!",
                  short_area as "short_area!: Vec<Option<String>>", taken_requests, taken_seats,
                  expired as "expired!", statement_timestamp() as "asked_at!", seen_at,
                  entries as "entries: sqlx::types::Json<Vec<SeatsChanged>>"
           from hold_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                           $21, $22, $23, $24, $25, $26, $27, $28)
           -- Decided before the function is called: of an event that does not take place nothing is taken.
           where not exists (select from event_cancellation where event_id = $1)"#,
        batch.event.as_str(),
        batch.seen,
        batch.entries,
        f64::from(batch.ttl_s),
        i32::try_from(batch.limits.places).unwrap_or(i32::MAX),
        i32::try_from(batch.limits.holds).unwrap_or(i32::MAX),
        &columns.holds,
        &columns.owners as _,
        &columns.places,
        &columns.counted,
        &columns.firsts,
        &columns.lasts,
        &columns.rungs as _,
        &columns.seats.requests,
        &columns.seat_nos,
        &columns.seats.fees,
        &columns.seats.taxes,
        &columns.seats.prices,
        &columns.areas.requests,
        &columns.area_names as _,
        &columns.quantities,
        &columns.areas.fees,
        &columns.areas.taxes,
        &columns.areas.prices,
        &columns.key_requests,
        &columns.actors as _,
        &columns.keys as _,
        &columns.hashes as _
    )
    .fetch_optional(conn)
    .await?;
    let row = row.ok_or_else(Refusal::event_cancelled)?;
    let taken = row.taken_requests.unwrap_or_default().into_iter().zip(row.taken_seats.unwrap_or_default());
    let mut verdicts = Vec::with_capacity(batch.orders.len());
    for ((code, have), area) in row.verdicts.iter().zip(&row.have).zip(row.short_area) {
        verdicts.push(verdict(*code, u32::try_from(*have).unwrap_or(0), area)?);
    }
    for (request, seat_no) in taken {
        let index = usize::try_from(request - 1).ok();
        if let Some(Verdict::SeatsTaken(seats)) = index.and_then(|index| verdicts.get_mut(index)) {
            seats.push(seat_no);
        }
    }
    Ok(Committed {
        verdicts,
        made_at: row.made_at.to_jiff(),
        until: row.until.to_jiff(),
        asked_at: row.asked_at.to_jiff(),
        base: row.base + i64::from(row.expired),
        seen: Mark::at(row.seen_at.map(|at| at.to_jiff())),
        before: row.entries.map(|entries| entries.0).unwrap_or_default(),
    })
}

fn verdict(code: i16, have: u32, area: Option<String>) -> Result<Verdict, Error> {
    Ok(match code {
        0 => Verdict::Won,
        1 => Verdict::SeatsTaken(Vec::new()),
        2 => Verdict::NotEnough { area: area.unwrap_or_default().parse()?, available: have },
        3 => Verdict::PlacesLimit { have },
        4 => Verdict::KeyInUse,
        5 => Verdict::KeyKnown,
        6 => Verdict::HoldsLimit { have },
        other => return Err(Error::defect(format!("hold_batch gave the verdict {other}"))),
    })
}

/// Prices of places, with the request that each belongs to, counted from 1.
#[derive(Default)]
struct Priced {
    requests: Vec<i32>,
    fees: Vec<i64>,
    taxes: Vec<i64>,
    prices: Vec<i64>,
}

impl Priced {
    fn push(&mut self, request: i32, price: Price) {
        self.requests.push(request);
        self.fees.push(price.fee);
        self.taxes.push(price.tax);
        self.prices.push(price.price);
    }
}

#[derive(Default)]
struct Columns<'a> {
    holds: Vec<Uuid>,
    owners: Vec<&'a str>,
    places: Vec<i32>,
    counted: Vec<bool>,
    firsts: Vec<i32>,
    lasts: Vec<i32>,
    rungs: Vec<Option<&'static str>>,
    seats: Priced,
    seat_nos: Vec<i32>,
    areas: Priced,
    area_names: Vec<&'a str>,
    quantities: Vec<i32>,
    key_requests: Vec<i32>,
    actors: Vec<&'a str>,
    keys: Vec<&'a str>,
    hashes: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(orders: &[&'a HoldOrder]) -> Self {
        let mut columns = Self::default();
        let length = |len: usize| i32::try_from(len).unwrap_or(i32::MAX);
        for (request, order) in (1i32..).zip(orders) {
            columns.holds.push(order.id.get());
            columns.owners.push(order.owner.as_str());
            columns.places.push(order.places());
            columns.counted.push(order.counted);
            columns.firsts.push(length(columns.seat_nos.len()) + 1);
            for seat in &order.seats {
                columns.seat_nos.push(seat.seat_no);
                columns.seats.push(request, seat.price);
            }
            columns.lasts.push(length(columns.seat_nos.len()));
            columns.rungs.push(order.rung.map(Rung::name));
            for area in &order.areas {
                columns.area_names.push(&area.area);
                columns.quantities.push(area.quantity);
                columns.areas.push(request, area.price);
            }
            for claim in &order.keys {
                columns.key_requests.push(request);
                columns.actors.push(&claim.actor);
                columns.keys.push(&claim.key);
                columns.hashes.push(&claim.request_hash);
            }
        }
        columns
    }
}

/// What became of holds whose batch was sent and not answered: those that were made, with when they were made and
/// when they lapse. The others will never be made: their ids are given to holds that are over, so that the lost
/// batch fails should it still arrive.
///
/// # Errors
/// When the database cannot be had.
pub async fn settle(
    conn: &mut PgConnection,
    event: &EventId,
    holds: &[(HoldId, &Owner)],
) -> Result<Vec<(HoldId, Timestamp, Timestamp)>, Error> {
    let ids: Vec<Uuid> = holds.iter().map(|(id, _)| id.get()).collect();
    let owners: Vec<&str> = holds.iter().map(|(_, owner)| owner.as_str()).collect();
    // Waits for the batch, if it still runs.
    let never = sqlx::query_scalar!(
        "insert into hold (event_id, hold_id, owner, state, expires_at)
         select $1, h.hold_id, h.owner, 'released', clock_timestamp()
         from unnest($2::uuid[], $3::text[]) as h (hold_id, owner) order by h.hold_id
         on conflict (event_id, hold_id) do nothing returning hold_id",
        event.as_str(),
        &ids,
        &owners as _
    );
    let never: HashSet<Uuid> = never.fetch_all(&mut *conn).await?.into_iter().collect();
    let made = sqlx::query!(
        // Without places it is one of those that were never made: a look before this one may have got no answer.
        "select h.hold_id, h.created_at, coalesce(h.made_until, h.expires_at) as \"until!\"
         from hold h where h.event_id = $1 and h.hold_id = any($2)
         and (exists (select from hold_seat s where s.event_id = h.event_id and s.hold_id = h.hold_id)
              or exists (select from hold_area a where a.event_id = h.event_id and a.hold_id = h.hold_id))",
        event.as_str(),
        &ids
    );
    let made = made.fetch_all(conn).await?.into_iter().filter(|row| !never.contains(&row.hold_id));
    Ok(made.map(|row| (HoldId::new(row.hold_id), row.created_at.to_jiff(), row.until.to_jiff())).collect())
}
