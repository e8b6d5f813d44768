//! Another price for the unsold seats of a category.
//!
//! Whoever holds a seat pays the price that was shown at the hold: it was copied then. A price is named as buyers
//! see it, everything included, or as the organiser's face value to which the event's fee is added.

use booking_domain::{EventId, Money, MoneyError, UnitPrice};
use serde_json::json;
use sqlx::PgConnection;

use crate::error::{Error, Refusal};
use crate::services::Services;
use crate::storage::stock::{self, Act};
use crate::storage::tx::in_tx;

/// A price, one way or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewPrice {
    /// What the buyer pays, everything included.
    Price(Money),
    /// What the organiser asks; the fee is added.
    Face(Money),
}

impl NewPrice {
    const fn money(self) -> Money {
        match self {
            Self::Price(money) | Self::Face(money) => money,
        }
    }
}

/// What an organiser asks for.
#[derive(Debug, Clone)]
pub struct RepriceRequest {
    /// The event.
    pub event: EventId,
    /// Its currency.
    pub currency: booking_domain::Currency,
    /// The category.
    pub category: String,
    /// Its price from now on.
    pub price: NewPrice,
    /// Whose hand it is.
    pub actor: String,
    /// The request that asks for it.
    pub request_id: String,
}

/// What was done.
#[derive(Debug, Clone, Copy)]
pub struct Repriced {
    /// The event's version of the change.
    pub version: i64,
    /// The price, taken apart.
    pub unit: UnitPrice,
}

/// Gives a category another price.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such category; [`Refusal::Invalid`] when the price makes no sense; that the
/// database cannot be had.
pub async fn reprice_seats(services: &Services, request: RepriceRequest) -> Result<Repriced, Error> {
    let event = request.event.clone();
    if request.price.money().currency() != request.currency {
        let detail = format!("prices of this event are in {}", request.currency.code());
        return Err(Refusal::invalid("", detail).into());
    }
    let repriced = in_tx(&services.db, move |conn| {
        let request = request.clone();
        Box::pin(async move { reprice(conn, &request).await })
    });
    let repriced = repriced.await?;
    services.events.stale(&event);
    services.feeds.terms_changed(&event);
    Ok(repriced)
}

async fn reprice(conn: &mut PgConnection, request: &RepriceRequest) -> Result<Repriced, Error> {
    let tariff = stock::tariff(conn, &request.event).await?;
    let face = match request.price {
        NewPrice::Face(face) => face,
        NewPrice::Price(price) => Money::new(price.amount().saturating_sub(tariff.fee.into()), price.currency()),
    };
    let unit = tariff.unit(face).map_err(|error| match (error, request.price) {
        (MoneyError::Negative, NewPrice::Price(_)) => {
            Refusal::invalid("/price/amount", format!("the price contains the fee of {}", tariff.fee))
        }
        (error, NewPrice::Price(_)) => Refusal::invalid("/price/amount", error.to_string()),
        (error, NewPrice::Face(_)) => Refusal::invalid("/face/amount", error.to_string()),
    })?;
    let detail = json!({ "category": request.category, "face": unit.face, "fee": unit.fee, "price": unit.price });
    let act = Act { actor: &request.actor, request_id: &request.request_id, detail };
    let version = stock::reprice(conn, &request.event, &request.category, &unit, &act).await?;
    Ok(Repriced { version, unit })
}
