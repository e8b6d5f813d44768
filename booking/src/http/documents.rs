//! The JSON documents of holds and bookings.

use booking_domain::Money;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::views::{AreaLine, BookingView, HoldView, SeatLine};

/// An amount in minor units.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Money)]
pub(super) struct MoneyDocument {
    /// Minor units.
    #[schema(example = 4500)]
    amount: i64,
    /// ISO 4217 code.
    #[schema(example = "EUR")]
    currency: &'static str,
}

impl From<Money> for MoneyDocument {
    fn from(money: Money) -> Self {
        Self { amount: money.amount(), currency: money.currency().code() }
    }
}

/// A seat with its price.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Seat)]
pub(super) struct SeatDocument {
    /// The plan's `seat_guid`.
    seat: String,
    /// Its position in the plan.
    seat_no: i32,
    section: String,
    row: String,
    number: String,
    /// What it costs, everything included.
    price: MoneyDocument,
}

impl From<&SeatLine> for SeatDocument {
    fn from(line: &SeatLine) -> Self {
        Self {
            seat: line.seat.clone(),
            seat_no: line.seat_no,
            section: line.section.clone(),
            row: line.row.clone(),
            number: line.number.clone(),
            price: line.price.into(),
        }
    }
}

/// Places of an area.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AreaPlaces)]
pub(super) struct AreaDocument {
    area: String,
    quantity: i32,
    /// What one place costs, everything included.
    price: MoneyDocument,
}

impl From<&AreaLine> for AreaDocument {
    fn from(line: &AreaLine) -> Self {
        Self { area: line.area.clone(), quantity: line.quantity, price: line.price.into() }
    }
}

fn seats(lines: &[SeatLine]) -> Vec<SeatDocument> {
    lines.iter().map(SeatDocument::from).collect()
}

fn areas(lines: &[AreaLine]) -> Vec<AreaDocument> {
    lines.iter().map(AreaDocument::from).collect()
}

/// A hold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hold)]
pub(super) struct HoldDocument {
    /// Its id.
    hold: String,
    event: String,
    seats: Vec<SeatDocument>,
    areas: Vec<AreaDocument>,
    /// What all of it costs: the plain sum of the places.
    total: MoneyDocument,
    /// Fees contained in the total.
    fee: MoneyDocument,
    /// Tax contained in the total.
    tax: MoneyDocument,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Seconds until then, by the database's clock: no skew of clocks.
    expires_in_s: i64,
    /// `active`, `pending` while a payment runs, `consumed` by a sale.
    state: &'static str,
    /// How the seats were chosen, where the best were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<ChosenDocument>,
    /// Opens this hold and its booking for 30 days: `Authorization: Buyer TOKEN`.
    buyer: String,
}

/// How seats were chosen.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Chosen)]
pub(super) struct ChosenDocument {
    /// `together`; `orphan` when that leaves a single seat beside them; `split` in two groups; `apart`.
    rung: &'static str,
    /// Why, for a person.
    reason: &'static str,
}

impl HoldDocument {
    /// The document of a hold.
    #[must_use]
    pub(super) fn new(view: &HoldView, buyer: String) -> Self {
        Self {
            hold: view.id.to_string(),
            event: view.event.to_string(),
            seats: seats(&view.seats),
            areas: areas(&view.areas),
            total: view.total.price.into(),
            fee: view.total.fee.into(),
            tax: view.total.tax.into(),
            created_at: view.created_at,
            expires_at: view.hold.expires_at,
            expires_in_s: view.hold.expires_at.duration_since(view.now).as_secs().max(0),
            state: view.hold.state.name(),
            best: view.rung.map(|rung| ChosenDocument { rung: rung.name(), reason: rung.reason() }),
            buyer,
        }
    }
}

/// Who pays.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BuyerDetails)]
pub(super) struct BuyerDocument {
    name: String,
    email: String,
}

/// The last payment of a booking.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentSummary)]
pub(super) struct PaymentDocument {
    /// Counted from 1.
    attempt: i32,
    provider: String,
    /// `created`, `authorized`, `declined`, `captured`, `voided`, `failed`, `refunded`.
    state: &'static str,
    amount: MoneyDocument,
    /// Why the provider said no.
    decline_reason: Option<String>,
    /// What goes back of it, by all refunds that were decided.
    refund: MoneyDocument,
    /// What of that has gone back.
    refunded: MoneyDocument,
}

/// One step of what comes back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefundTier)]
pub(super) struct RefundTierDocument {
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// How much of the price.
    percent: u8,
}

/// A ticket: one per seat or place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ticket)]
pub(super) struct TicketDocument {
    #[schema(value_type = String)]
    ticket: Uuid,
    seat: Option<String>,
    area: Option<String>,
    /// Signed; opens the door.
    code: String,
}

/// A booking.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Booking)]
pub(super) struct BookingDocument {
    /// Its id.
    booking: String,
    event: String,
    hold: String,
    /// `held`, `payment_pending`, `confirmed`, `failed`, `expired`, `cancelled`, `refunded`.
    state: &'static str,
    seats: Vec<SeatDocument>,
    areas: Vec<AreaDocument>,
    total: MoneyDocument,
    /// Fees contained in the total.
    fee: MoneyDocument,
    /// Tax contained in the total.
    tax: MoneyDocument,
    buyer: BuyerDocument,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    confirmed_at: Option<Timestamp>,
    /// When the hold of a booking that is not paid lapses.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    payment: Option<PaymentDocument>,
    /// What comes back when it is cancelled: the first of these whose time has not passed; after the last it cannot be.
    refund_policy: Vec<RefundTierDocument>,
    /// Whether money that comes late may buy equal seats.
    accept_equal: bool,
    tickets: Vec<TicketDocument>,
}

impl From<&BookingView> for BookingDocument {
    fn from(view: &BookingView) -> Self {
        let row = &view.row;
        let payment = view.payment.as_ref().map(|payment| PaymentDocument {
            attempt: payment.key.attempt,
            provider: payment.provider.clone(),
            state: payment.state.name(),
            amount: payment.amount.into(),
            decline_reason: payment.decline_reason.clone(),
            refund: Money::new(payment.refund_due, payment.amount.currency()).into(),
            refunded: Money::new(payment.refunded, payment.amount.currency()).into(),
        });
        let tier = |(until, percent): &(Option<Timestamp>, u8)| RefundTierDocument { until: *until, percent: *percent };
        let ticket = |line: &crate::app::views::TicketLine| TicketDocument {
            ticket: line.id,
            seat: line.seat.clone(),
            area: line.area.clone(),
            code: line.code.clone(),
        };
        Self {
            booking: row.id.to_string(),
            event: row.event.to_string(),
            hold: row.hold.to_string(),
            state: view.state().name(),
            seats: seats(&view.seats),
            areas: areas(&view.areas),
            total: row.total.price.into(),
            fee: row.total.fee.into(),
            tax: row.total.tax.into(),
            buyer: BuyerDocument { name: row.buyer.name.clone(), email: row.buyer.email.clone() },
            created_at: row.created_at,
            confirmed_at: row.confirmed_at,
            expires_at: (view.state() == booking_domain::BookingState::Held).then_some(row.hold_expires_at),
            payment,
            refund_policy: view.refund_policy.iter().map(tier).collect(),
            accept_equal: row.accept_equal,
            tickets: view.tickets.iter().map(ticket).collect(),
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T: ToSchema> {
    /// What is on this page.
    pub(super) items: Vec<T>,
    /// What to pass as `cursor` for the next page; null on the last.
    pub(super) next: Option<String>,
}
