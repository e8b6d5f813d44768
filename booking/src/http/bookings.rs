//! Bookings: making, paying, reading, cancelling.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use booking_domain::{BookingId, BookingState, EventId, HoldId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::answer::{self, Answer};
use super::body::{Ids, OptionalPayload, Params, Payload, is_storable, page_limit};
use super::caller::Caller;
use super::documents::{BookingDocument, Page};
use super::problem::ProblemDocument;
use super::request::RequestFacts;
use crate::app::cancel_booking::{CancelRequest, cancel_booking};
use crate::app::confirm_booking::{ConfirmRequest, confirm_booking};
use crate::app::start_booking::{BookingRequest, start_booking};
use crate::app::views::{self, BookingView};
use crate::error::{Error, Fault, Refusal};
use crate::services::Services;
use crate::storage::bookings::{self, After, Buyer};

/// How long a caller waits before looking at a pending payment again.
const PENDING_RETRY_S: &str = "1";
/// Longest name and e-mail address of a buyer.
const MAX_NAME: usize = 200;
const MAX_EMAIL: usize = 254;
/// Longest payment token.
const MAX_TOKEN: usize = 200;

/// What to book, and who pays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBooking {
    /// The hold.
    hold: String,
    buyer: NewBuyer,
    /// No coupons exist yet: any is refused.
    coupon: Option<String>,
    /// Whether money that comes late may buy equal seats of the same category when these are gone.
    #[serde(default)]
    accept_equal: bool,
}

/// Who pays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBuyer {
    #[schema(max_length = 200)]
    name: String,
    #[schema(max_length = 254)]
    email: String,
}

impl NewBooking {
    /// What was asked for, checked.
    fn check(self) -> Result<(HoldId, Buyer), Refusal> {
        let mut faults = Vec::new();
        let mut fault = |pointer: &str, detail: &str| {
            faults.push(Fault { pointer: pointer.to_owned(), detail: detail.to_owned() });
        };
        let hold = self.hold.parse::<HoldId>();
        if hold.is_err() {
            fault("/hold", "a hold is a UUID");
        }
        let name = self.buyer.name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            fault("/buyer/name", "a name is 1 to 200 printable characters");
        }
        if !is_email(self.buyer.email.trim()) {
            fault("/buyer/email", "this is no e-mail address");
        }
        if self.coupon.is_some() {
            fault("/coupon", "this coupon is not known");
        }
        match hold {
            Ok(hold) if faults.is_empty() => {
                let email = self.buyer.email.trim().to_owned();
                Ok((hold, Buyer { name: name.to_owned(), email }))
            }
            _ => Err(Refusal::Invalid(faults)),
        }
    }
}

/// One `@` with something before it and a domain after it; no spaces or control characters. Whether mail
/// arrives only mail can tell.
pub(super) fn is_email(text: &str) -> bool {
    let printable = |c: char| !c.is_control() && !c.is_whitespace() && !"<>(),;:\\\"[]".contains(c);
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= MAX_EMAIL
        && text.chars().all(printable)
        && !local.is_empty()
        && !domain.contains('@')
        && domain.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
        && domain.contains('.')
}

/// How to pay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmation {
    payment: ConfirmationPayment,
    /// As with the booking; what is said here holds.
    accept_equal: Option<bool>,
}

/// How to pay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmationPayment {
    /// The provider.
    #[schema(example = "sandbox")]
    method: String,
    /// What the buyer's browser got from the provider.
    #[schema(example = "tok_ok")]
    token: String,
}

/// Nothing to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// How a booking is answered: `fresh` when it is settled, 202 while its payment runs.
fn booking_answer(fresh: StatusCode) -> Answer<BookingView> {
    Arc::new(move |view: &BookingView| {
        let pending = view.state() == BookingState::PaymentPending && fresh == StatusCode::OK;
        let status = if pending { StatusCode::ACCEPTED } else { fresh };
        let mut answer = answer::json(status, &BookingDocument::from(view));
        if pending {
            answer.headers.push(("retry-after".to_owned(), PENDING_RETRY_S.to_owned()));
        }
        if fresh == StatusCode::CREATED {
            let location = format!("/v1/events/{}/bookings/{}", view.row.event, view.id());
            answer.headers.push(("location".to_owned(), location));
        }
        answer
    })
}

/// Books a live hold.
#[utoipa::path(post, path = "/v1/events/{event}/bookings", tag = "bookings", request_body = NewBooking,
    params(("event" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = BookingDocument), (status = 400, body = ProblemDocument),
        (status = 401, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 410, body = ProblemDocument),
        (status = 413, body = ProblemDocument), (status = 415, body = ProblemDocument),
        (status = 422, body = ProblemDocument), (status = 503, body = ProblemDocument)))]
pub(super) async fn create(
    State(services): State<Services>,
    Ids(event): Ids<EventId>,
    caller: Caller,
    request: RequestFacts,
    headers: HeaderMap,
    payload: Payload<NewBooking>,
) -> Result<Response, Error> {
    let event = services.events.get(&services.db, &event).await?;
    caller.check_pass(&event)?;
    let accept_equal = payload.value.accept_equal;
    let (hold, buyer) = payload.value.check()?;
    let answer = booking_answer(StatusCode::CREATED);
    let repeat = answer::once(&headers, &caller.actor(), payload.hash, &request, &answer)?;
    let asked = BookingRequest { event, hold, owners: caller.owners(), buyer, accept_equal };
    answer::finish(start_booking(&services, asked, repeat).await, &answer)
}

/// Pays for a booking.
#[utoipa::path(post, path = "/v1/events/{event}/bookings/{booking}/confirm", tag = "bookings",
    request_body = Confirmation,
    params(("event" = String, Path), ("booking" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = BookingDocument), (status = 202, body = BookingDocument),
        (status = 400, body = ProblemDocument), (status = 401, body = ProblemDocument),
        (status = 402, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 410, body = ProblemDocument),
        (status = 413, body = ProblemDocument), (status = 415, body = ProblemDocument),
        (status = 422, body = ProblemDocument), (status = 503, body = ProblemDocument)))]
pub(super) async fn confirm(
    State(services): State<Services>,
    Ids((event, booking)): Ids<(EventId, BookingId)>,
    caller: Caller,
    request: RequestFacts,
    headers: HeaderMap,
    payload: Payload<Confirmation>,
) -> Result<Response, Error> {
    let event = services.events.get(&services.db, &event).await?;
    let owners = caller.owners();
    if owners.is_empty() {
        caller.check_pass(&event)?;
    }
    let accept_equal = payload.value.accept_equal;
    let ConfirmationPayment { method, token } = payload.value.payment;
    if method != services.provider.name() {
        let detail = format!("the only method is {:?}", services.provider.name());
        return Err(Refusal::invalid("/payment/method", detail).into());
    }
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
        let detail = format!("a token is 1 to {MAX_TOKEN} printable ASCII characters");
        return Err(Refusal::invalid("/payment/token", detail).into());
    }
    let answer = booking_answer(StatusCode::OK);
    let repeat = answer::once(&headers, &caller.actor(), payload.hash, &request, &answer)?;
    let asked = ConfirmRequest { event, booking, owners, token, accept_equal };
    answer::finish(confirm_booking(&services, asked, repeat).await, &answer)
}

/// Cancels a booking by the event's policy; the money goes back.
#[utoipa::path(post, path = "/v1/events/{event}/bookings/{booking}/cancel", tag = "bookings",
    request_body = Option<Nothing>,
    params(("event" = String, Path), ("booking" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = BookingDocument), (status = 400, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 413, body = ProblemDocument),
        (status = 415, body = ProblemDocument), (status = 422, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn cancel(
    State(services): State<Services>,
    Ids((event, booking)): Ids<(EventId, BookingId)>,
    caller: Caller,
    request: RequestFacts,
    headers: HeaderMap,
    OptionalPayload(payload): OptionalPayload<Nothing>,
) -> Result<Response, Error> {
    let event = services.events.get(&services.db, &event).await?;
    let answer = booking_answer(StatusCode::OK);
    let repeat = answer::once(&headers, &caller.actor(), payload.hash, &request, &answer)?;
    let asked = CancelRequest { event, booking, owners: caller.owners() };
    answer::finish(cancel_booking(&services, asked, repeat).await, &answer)
}

/// Reads a booking; its buyer only.
#[utoipa::path(get, path = "/v1/events/{event}/bookings/{booking}", tag = "bookings",
    params(("event" = String, Path), ("booking" = String, Path)),
    responses((status = 200, body = BookingDocument), (status = 404, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn read(
    State(services): State<Services>,
    Ids((event, booking)): Ids<(EventId, BookingId)>,
    caller: Caller,
) -> Result<Response, Error> {
    let event = services.events.get(&services.db, &event).await?;
    let view = views::booking_now(&services.db, &event, booking).await?;
    let view = view.filter(|view| caller.owners().contains(&view.row.owner));
    let view = view.ok_or(Refusal::NotFound { what: "booking" })?;
    Ok(answer::response(answer::json(StatusCode::OK, &BookingDocument::from(&view))))
}

/// Which page of one's bookings.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// 1 to 100; 20 if not given.
    limit: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Lists the caller's bookings, newest first.
#[utoipa::path(get, path = "/v1/bookings", tag = "bookings", params(ListParams),
    responses((status = 200, body = Page<BookingDocument>), (status = 400, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
pub(super) async fn list(
    State(services): State<Services>,
    Params(params): Params<ListParams>,
    caller: Caller,
) -> Result<Response, Error> {
    let limit = page_limit(params.limit.as_deref())?;
    let after = params.cursor.as_deref().map(read_cursor).transpose()?;
    let mut rows = bookings::of_owners(&services.db, &caller.owners(), after, limit + 1).await?;
    let more = i64::try_from(rows.len()).is_ok_and(|len| len > limit);
    rows.truncate(usize::try_from(limit).unwrap_or(0));
    let next = rows.last().filter(|_| more).map(|row| cursor(row.created_at, row.id));
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let event = services.events.get(&services.db, &row.event).await?;
        let view = views::booking_now(&services.db, &event, row.id).await?;
        items.extend(view.as_ref().map(BookingDocument::from));
    }
    Ok(answer::response(answer::json(StatusCode::OK, &Page { items, next })))
}

fn cursor(created_at: jiff::Timestamp, id: BookingId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{created_at} {id}"))
}

fn read_cursor(text: &str) -> Result<After, Refusal> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (created_at, id) = text.split_once(' ')?;
        let created_at = created_at.parse().ok().filter(|at| is_storable(*at))?;
        Some(After { created_at, id: id.parse::<BookingId>().ok()?.get() })
    };
    read().ok_or_else(|| Refusal::invalid("#cursor", "this is no cursor of this list"))
}

#[cfg(test)]
mod tests {
    use super::is_email;

    #[test]
    fn addresses() {
        for good in ["a@b.de", "first.last+tag@sub.example.org", "ü@exämple.org"] {
            assert!(is_email(good), "{good}");
        }
        for bad in
            ["", "a", "@b.de", "a@", "a@b", "a@b..de", "a b@c.de", "a@b.de\r\nBcc: x@y.z", "a@b@c.de", "<a@b.de>"]
        {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
