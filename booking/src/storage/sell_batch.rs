//! Sales and captures of many payments by one call each: the columns of the functions `sell_batch` and `finish_batch`,
//! which are written in SQL.

use booking_domain::{BookingState, EventId, HoldId, Money, RefundPolicy, Total};
use jiff::Timestamp;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::book_batch::{PricedPlaces, request_of, status_and_headers};
use super::bookings::{BookingRow, Buyer};
use super::idempotency::{Claim, SavedAnswer};
use super::payments::PaymentRow;
use super::tickets::NewTicket;
use crate::error::Error;

/// A payment that the provider has authorised.
#[derive(Debug, Clone, Copy)]
pub struct SellOrder<'a> {
    /// As it was created.
    pub payment: &'a PaymentRow,
    /// The hold of its booking.
    pub hold: HoldId,
    /// The provider's id of it.
    pub provider_payment: &'a str,
    /// A ticket for each place, ready to be issued.
    pub tickets: &'a [NewTicket],
}

/// A sale that was written.
#[derive(Debug, Clone)]
pub struct Sold {
    /// The booking, confirmed.
    pub row: BookingRow,
    /// What was sold.
    pub places: PricedPlaces,
    /// When.
    pub at: Timestamp,
}

#[derive(Default)]
struct TicketColumns<'a> {
    requests: Vec<i32>,
    ids: Vec<Uuid>,
    seats: Vec<Option<i32>>,
    areas: Vec<Option<&'a str>>,
    codes: Vec<&'a str>,
}

impl<'a> TicketColumns<'a> {
    fn of(orders: &[SellOrder<'a>]) -> Self {
        let mut columns = Self::default();
        for (request, order) in (1i32..).zip(orders) {
            for ticket in order.tickets {
                columns.requests.push(request);
                columns.ids.push(ticket.id.get());
                columns.seats.push(ticket.seat_no);
                columns.areas.push(ticket.area.as_deref());
                columns.codes.push(&ticket.code);
            }
        }
        columns
    }
}

/// Sells the pending places of payments of one event and commits; captures are looked after `check_in_s` from now. `None`
/// for those of which the rows are not exactly as the ordinary case needs them: nothing was written for them.
///
/// # Errors
/// When the database cannot be had.
pub async fn sell(
    conn: &mut PgConnection,
    event: &EventId,
    check_in_s: u32,
    orders: &[SellOrder<'_>],
) -> Result<Vec<Option<Sold>>, Error> {
    let tickets = TicketColumns::of(orders);
    let bookings: Vec<Uuid> = orders.iter().map(|order| order.payment.key.booking.get()).collect();
    let holds: Vec<Uuid> = orders.iter().map(|order| order.hold.get()).collect();
    let attempts: Vec<i32> = orders.iter().map(|order| order.payment.key.attempt).collect();
    let amounts: Vec<i64> = orders.iter().map(|order| order.payment.amount.amount()).collect();
    let currencies: Vec<&str> = orders.iter().map(|order| order.payment.amount.currency().code()).collect();
    let provider_payments: Vec<&str> = orders.iter().map(|order| order.provider_payment).collect();
    let rows = sqlx::query!(
        r#"select request as "request!", made_at as "made_at!", owner as "owner!", buyer_name as "buyer_name!",
                  buyer_email as "buyer_email!", fee as "fee!", tax as "tax!", accept_equal as "accept_equal!",
                  refund_policy as "refund_policy: Json<RefundPolicy>", created_at as "created_at!",
                  hold_expires_at as "hold_expires_at!", seats as "seats!: Vec<i32>",
                  seat_prices as "seat_prices!: Vec<i64>", areas as "areas!: Vec<String>",
                  quantities as "quantities!: Vec<i32>", area_prices as "area_prices!: Vec<i64>"
           from sell_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"#,
        event.as_str(),
        f64::from(check_in_s),
        &bookings,
        &holds,
        &attempts,
        &amounts,
        &currencies as _,
        &provider_payments as _,
        &tickets.requests,
        &tickets.ids,
        &tickets.seats as &[Option<i32>],
        &tickets.areas as _,
        &tickets.codes as _
    )
    .fetch_all(conn)
    .await?;
    let mut sold: Vec<Option<Sold>> = orders.iter().map(|_| None).collect();
    for row in rows {
        let request = request_of(row.request)?;
        let (Some(order), Some(place)) = (orders.get(request), sold.get_mut(request)) else {
            return Err(Error::defect("sell_batch sold what nobody asked for"));
        };
        let (at, key) = (row.made_at.to_jiff(), &order.payment.key);
        let money = |amount| Money::new(amount, order.payment.amount.currency());
        let booking = BookingRow {
            event: event.clone(),
            id: key.booking,
            hold: order.hold,
            owner: row.owner.parse()?,
            state: BookingState::Confirmed,
            buyer: Buyer { name: row.buyer_name, email: row.buyer_email },
            total: Total { fee: money(row.fee), tax: money(row.tax), price: order.payment.amount },
            accept_equal: row.accept_equal,
            refund_policy: row.refund_policy.map(|policy| policy.0),
            created_at: row.created_at.to_jiff(),
            sold_attempt: Some(key.attempt),
            confirmed_at: Some(at),
            hold_expires_at: row.hold_expires_at.to_jiff(),
            now: at,
        };
        let places = PricedPlaces::of((row.seats, row.seat_prices), (row.areas, row.quantities, row.area_prices));
        *place = Some(Sold { row: booking, places, at });
    }
    Ok(sold)
}

/// A payment whose money was taken, and what its buyer is answered.
#[derive(Debug, Clone, Copy)]
pub struct FinishOrder<'a> {
    /// As it was sold.
    pub payment: &'a PaymentRow,
    /// The key of the request that paid, and the answer to it.
    pub answer: Option<(&'a Claim, &'a SavedAnswer)>,
}

/// Writes down that the money of sales of one event is ours, keeps the answers, and commits. `false` for those of which
/// the rows are not exactly as the ordinary case needs them: nothing was written for them.
///
/// # Errors
/// When the database cannot be had.
pub async fn finish(conn: &mut PgConnection, event: &EventId, orders: &[FinishOrder<'_>]) -> Result<Vec<bool>, Error> {
    let mut statuses = Vec::with_capacity(orders.len());
    let mut headers = Vec::with_capacity(orders.len());
    for order in orders {
        let kept = order.answer.map(|(_, answer)| status_and_headers(answer)).transpose()?;
        let (status, lines) = kept.unzip();
        statuses.push(status);
        headers.push(lines);
    }
    let claims = || orders.iter().map(|order| order.answer.map(|(claim, _)| claim));
    let actors: Vec<Option<&str>> = claims().map(|claim| claim.map(|claim| claim.actor.as_str())).collect();
    let keys: Vec<Option<&str>> = claims().map(|claim| claim.map(|claim| claim.key.as_str())).collect();
    let hashes: Vec<Option<&[u8]>> = claims().map(|claim| claim.map(|claim| claim.request_hash.as_slice())).collect();
    let bodies: Vec<Option<&[u8]>> =
        orders.iter().map(|order| order.answer.map(|(_, answer)| answer.body.as_slice())).collect();
    let rows = sqlx::query_scalar!(
        r#"select request as "request!" from finish_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"#,
        event.as_str(),
        &orders.iter().map(|order| order.payment.key.booking.get()).collect::<Vec<Uuid>>(),
        &orders.iter().map(|order| order.payment.key.attempt).collect::<Vec<i32>>(),
        &orders.iter().map(|order| order.payment.provider_payment.as_deref()).collect::<Vec<_>>() as _,
        &actors as _,
        &keys as _,
        &hashes as _,
        &statuses as &[Option<i16>],
        &headers as &[Option<String>],
        &bodies as _
    )
    .fetch_all(conn)
    .await?;
    let mut finished = vec![false; orders.len()];
    for number in rows {
        let place = finished.get_mut(request_of(number)?);
        *place.ok_or_else(|| Error::defect("finish_batch did what nobody asked for"))? = true;
    }
    Ok(finished)
}
