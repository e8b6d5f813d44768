//! Payments begun for many bookings by one call: the columns of the function `begin_batch`, which is written in SQL.

use booking_domain::{BookingId, Currency, EventId, HoldId, Money, Owner, PaymentState};
use sqlx::PgConnection;
use uuid::Uuid;

use super::book_batch::{flat_owners, request_of};
use super::idempotency::Claim;
use super::payments::{PaymentKey, PaymentRow};
use crate::error::Error;

/// One request of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BeginOrder<'a> {
    /// The booking to pay for.
    pub booking: BookingId,
    /// Everybody who asks.
    pub owners: &'a [Owner],
    /// Whether late money may buy equal seats; `None` leaves it as it was said with the booking.
    pub accept_equal: Option<bool>,
    /// Its key.
    pub claim: Option<&'a Claim>,
}

/// A payment that has begun, and the places that are pending for it.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The payment, just created.
    pub payment: PaymentRow,
    /// The hold that the booking was made of.
    pub hold: HoldId,
    /// Its seats by number.
    pub seats: Vec<i32>,
    /// Its areas by name, with how many places.
    pub areas: Vec<(String, i32)>,
}

/// Begins the first payments of bookings of one event, to be settled `pending_s` from now, and commits. `None` for those
/// of which the rows are not exactly as the ordinary case needs them: nothing was written for them.
///
/// # Errors
/// When the database cannot be had.
pub async fn begin(
    conn: &mut PgConnection,
    event: &EventId,
    provider: &str,
    pending_s: u32,
    orders: &[BeginOrder<'_>],
) -> Result<Vec<Option<Begun>>, Error> {
    let (owner_requests, owners) = flat_owners(orders.iter().map(|order| order.owners));
    let bookings: Vec<Uuid> = orders.iter().map(|order| order.booking.get()).collect();
    let equals: Vec<Option<bool>> = orders.iter().map(|order| order.accept_equal).collect();
    let actors: Vec<Option<&str>> = orders.iter().map(|order| order.claim.map(|claim| claim.actor.as_str())).collect();
    let keys: Vec<Option<&str>> = orders.iter().map(|order| order.claim.map(|claim| claim.key.as_str())).collect();
    let hash = |claim: &'_ Claim| claim.request_hash.to_vec();
    let hashes: Vec<Option<Vec<u8>>> = orders.iter().map(|order| order.claim.map(hash)).collect();
    let rows = sqlx::query!(
        r#"select request as "request!", made_at as "made_at!", deadline as "deadline!", amount as "amount!",
                  currency as "currency!", hold_id as "hold_id!", seats as "seats!: Vec<i32>",
                  areas as "areas!: Vec<String>", quantities as "quantities!: Vec<i32>"
           from begin_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"#,
        event.as_str(),
        provider,
        f64::from(pending_s),
        &bookings,
        &equals as &[Option<bool>],
        &actors as _,
        &keys as _,
        &hashes as &[Option<Vec<u8>>],
        &owner_requests,
        &owners as _
    )
    .fetch_all(conn)
    .await?;
    let mut begun: Vec<Option<Begun>> = orders.iter().map(|_| None).collect();
    for row in rows {
        let request = request_of(row.request)?;
        let (Some(order), Some(place)) = (orders.get(request), begun.get_mut(request)) else {
            return Err(Error::defect("begin_batch began what nobody asked for"));
        };
        let currency = Currency::from_code(&row.currency)
            .ok_or_else(|| Error::defect(format!("booking.currency is {:?} in {}", row.currency, order.booking)))?;
        let now = row.made_at.to_jiff();
        let payment = PaymentRow {
            key: PaymentKey { event: event.clone(), booking: order.booking, attempt: 1 },
            provider: provider.to_owned(),
            provider_payment: None,
            state: PaymentState::Created,
            amount: Money::new(row.amount, currency),
            decline_reason: None,
            deadline: row.deadline.to_jiff(),
            refund_due: 0,
            refunded: 0,
            late_tried: false,
            checks: 0,
            created_at: now,
            now,
        };
        let areas = row.areas.into_iter().zip(row.quantities).collect();
        *place = Some(Begun { payment, hold: HoldId::new(row.hold_id), seats: row.seats, areas });
    }
    Ok(begun)
}
