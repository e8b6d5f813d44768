//! Bookings for many holds by one call: the columns of the function `book_batch`, which is written in SQL.

use booking_domain::{BookingId, BookingState, Currency, EventId, HoldId, Money, Owner, RefundPolicy, Total};
use sqlx::PgConnection;
use uuid::Uuid;

use super::bookings::{BookingRow, Buyer};
use super::idempotency::{Claim, SavedAnswer};
use crate::error::Error;

/// One request of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BookOrder<'a> {
    /// The id that its booking will have.
    pub id: BookingId,
    /// The hold to book.
    pub hold: HoldId,
    /// Everybody who asks.
    pub owners: &'a [Owner],
    /// Who pays.
    pub buyer: &'a Buyer,
    /// Whether late money may buy equal seats.
    pub accept_equal: bool,
    /// What comes back when it is cancelled.
    pub refund_policy: &'a RefundPolicy,
    /// Its key.
    pub claim: Option<&'a Claim>,
}

/// Seats and places of areas, each with the price of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PricedPlaces {
    /// Seats by number.
    pub seats: Vec<(i32, i64)>,
    /// Areas by name, with how many places.
    pub areas: Vec<(String, i32, i64)>,
}

impl PricedPlaces {
    /// From columns.
    pub(super) fn of(seats: (Vec<i32>, Vec<i64>), areas: (Vec<String>, Vec<i32>, Vec<i64>)) -> Self {
        let (names, quantities, prices) = areas;
        let areas = names.into_iter().zip(quantities).zip(prices);
        Self {
            seats: seats.0.into_iter().zip(seats.1).collect(),
            areas: areas.map(|((area, quantity), price)| (area, quantity, price)).collect(),
        }
    }
}

/// A booking that was made.
#[derive(Debug, Clone)]
pub struct Booked {
    /// Whose request it was, counted from 0.
    pub request: usize,
    /// As it was written.
    pub row: BookingRow,
    /// What it is for.
    pub places: PricedPlaces,
}

/// Books holds of one event in the caller's transaction. Those of which the rows are not exactly as the ordinary case
/// needs them are not among what comes back, and nothing was written for them.
///
/// # Errors
/// When the database cannot be had.
pub async fn book(
    conn: &mut PgConnection,
    event: &EventId,
    currency: Currency,
    orders: &[BookOrder<'_>],
) -> Result<Vec<Booked>, Error> {
    let (owner_requests, owners) = flat_owners(orders.iter().map(|order| order.owners));
    let policies: Result<Vec<String>, _> =
        orders.iter().map(|order| serde_json::to_string(order.refund_policy)).collect();
    let policies = policies.map_err(|e| Error::internal("a refund policy cannot be written", e))?;
    let holds: Vec<Uuid> = orders.iter().map(|order| order.hold.get()).collect();
    let ids: Vec<Uuid> = orders.iter().map(|order| order.id.get()).collect();
    let names: Vec<&str> = orders.iter().map(|order| order.buyer.name.as_str()).collect();
    let emails: Vec<&str> = orders.iter().map(|order| order.buyer.email.as_str()).collect();
    let equals: Vec<bool> = orders.iter().map(|order| order.accept_equal).collect();
    let actors: Vec<Option<&str>> = orders.iter().map(|order| order.claim.map(|claim| claim.actor.as_str())).collect();
    let keys: Vec<Option<&str>> = orders.iter().map(|order| order.claim.map(|claim| claim.key.as_str())).collect();
    let rows = sqlx::query!(
        r#"select request as "request!", owner as "owner!", made_at as "made_at!", until as "until!", fee as "fee!",
                  tax as "tax!", total as "total!", seats as "seats!: Vec<i32>", seat_prices as "seat_prices!: Vec<i64>",
                  areas as "areas!: Vec<String>", quantities as "quantities!: Vec<i32>",
                  area_prices as "area_prices!: Vec<i64>"
           from book_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"#,
        event.as_str(),
        currency.code(),
        &holds,
        &ids,
        &names as _,
        &emails as _,
        &equals,
        &policies,
        &actors as _,
        &keys as _,
        &owner_requests,
        &owners as _
    )
    .fetch_all(conn)
    .await?;
    let mut made = Vec::with_capacity(rows.len());
    for row in rows {
        let request = request_of(row.request)?;
        let order = orders.get(request).ok_or_else(|| Error::defect("book_batch made what nobody asked for"))?;
        let money = |amount| Money::new(amount, currency);
        let now = row.made_at.to_jiff();
        made.push(Booked {
            request,
            row: BookingRow {
                event: event.clone(),
                id: order.id,
                hold: order.hold,
                owner: row.owner.parse()?,
                state: BookingState::Held,
                buyer: order.buyer.clone(),
                total: Total { fee: money(row.fee), tax: money(row.tax), price: money(row.total) },
                accept_equal: order.accept_equal,
                refund_policy: Some(order.refund_policy.clone()),
                created_at: now,
                sold_attempt: None,
                confirmed_at: None,
                hold_expires_at: row.until.to_jiff(),
                now,
            },
            places: PricedPlaces::of((row.seats, row.seat_prices), (row.areas, row.quantities, row.area_prices)),
        });
    }
    Ok(made)
}

/// Keeps the answers to requests whose keys this transaction has taken.
///
/// # Errors
/// When the database cannot be had.
pub async fn keep(conn: &mut PgConnection, answers: &[(&Claim, SavedAnswer)]) -> Result<(), Error> {
    if answers.is_empty() {
        return Ok(());
    }
    let mut statuses = Vec::with_capacity(answers.len());
    let mut headers = Vec::with_capacity(answers.len());
    for (_, answer) in answers {
        let (status, lines) = status_and_headers(answer)?;
        statuses.push(status);
        headers.push(lines);
    }
    sqlx::query!(
        "insert into idempotency (actor, key, request_hash, status, headers, body)
         select a.actor, a.key, a.hash, a.status, a.headers::jsonb, a.body
         from unnest($1::text[], $2::text[], $3::bytea[], $4::smallint[], $5::text[], $6::bytea[])
              as a (actor, key, hash, status, headers, body)",
        &answers.iter().map(|(claim, _)| claim.actor.as_str()).collect::<Vec<_>>() as _,
        &answers.iter().map(|(claim, _)| claim.key.as_str()).collect::<Vec<_>>() as _,
        &answers.iter().map(|(claim, _)| claim.request_hash.as_slice()).collect::<Vec<_>>() as _,
        &statuses,
        &headers,
        &answers.iter().map(|(_, answer)| answer.body.as_slice()).collect::<Vec<_>>() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An answer's status and headers as they are kept.
pub(super) fn status_and_headers(answer: &SavedAnswer) -> Result<(i16, String), Error> {
    let status = i16::try_from(answer.status).map_err(|e| Error::internal("a status is no status", e))?;
    let headers = serde_json::to_string(&answer.headers).map_err(|e| Error::internal("headers cannot be kept", e))?;
    Ok((status, headers))
}

/// Everybody who asks, with the request that each belongs to, counted from 1.
pub(super) fn flat_owners<'a>(owners: impl Iterator<Item = &'a [Owner]>) -> (Vec<i32>, Vec<&'a str>) {
    let of = |(request, owners): (i32, &'a [Owner])| owners.iter().map(move |owner| (request, owner.as_str()));
    (1i32..).zip(owners).flat_map(of).unzip()
}

/// From a request counted from 1.
pub(super) fn request_of(number: i32) -> Result<usize, Error> {
    let request = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    request.ok_or_else(|| Error::defect(format!("a batch has no request {number}")))
}
