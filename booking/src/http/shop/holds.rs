//! `POST /events/{event}/holds`: holds what a form wishes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Form};
use booking_domain::EventId;
use sha2::{Digest, Sha256};

use super::forms::{self, Fields};
use super::notices::Reason;
use super::words;
use crate::app::hold_seats::{HoldRequest, Wish};
use crate::app::once::{Claim, Done, Once, SavedAnswer};
use crate::app::views::HoldView;
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::http::admission::{Meter, hold_measured};
use crate::http::answer;
use crate::http::body::Ids;
use crate::http::caller::{self, Caller, Holder};
use crate::http::cookies;
use crate::services::Services;

/// A form sent twice at once: how often and how far apart the second looks for the first one's outcome.
const LOOKS: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Holds, then shows the hold; or shows the event again, with the reason.
pub(super) async fn hold(
    State(services): State<Services>,
    Extension(meter): Extension<Arc<Meter>>,
    caller: Caller,
    Ids(event): Ids<EventId>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Error> {
    let fields = Fields(fields);
    let facts = services.events.get(&services.db, &event).await?;
    let holder = caller.holder(&facts)?;
    let limit = services.config.holds.max_seats_per_visitor;
    let wish = match forms::wish(&fields, &facts, limit) {
        Ok(wish) => wish,
        Err(reason) => return Ok(super::go(&back_to(&facts, &reason, fields.first("section")))),
    };
    let answers = Answers { services: services.clone(), facts: Arc::clone(&facts), wish: wish.clone() };
    let repeat = once(&fields, &holder, &event, answers.clone());
    let expired = caller.expire_beside(&holder.owner);
    let request = HoldRequest { event: facts, owner: holder.owner, is_new: holder.is_new, wish };
    for _ in 0..LOOKS {
        match hold_measured(&meter, &services, request.clone(), repeat.clone()).await {
            Ok(Done::Fresh(view)) => return Ok(with_cookies(&expired, answers.held(&view))),
            Ok(Done::Replayed(saved)) => return Ok(with_cookies(&expired, saved)),
            Ok(Done::Paying(_)) | Err(Error::Refused(Refusal::InFlight)) => tokio::time::sleep(LOOK_EVERY).await,
            Err(Error::Refused(refusal)) => match answers.reason(&refusal) {
                Some(reason) => return Ok(super::go(&answers.address(&reason))),
                None => return Err(refusal.into()),
            },
            Err(failure) => return Err(failure),
        }
    }
    Err(Refusal::InFlight.into())
}

/// An answer that sets a cookie, and what it expires beside it.
fn with_cookies(expired: &[String], mut answer: SavedAnswer) -> Response {
    answer.headers.extend(expired.iter().map(|line| ("set-cookie".to_owned(), line.clone())));
    answer::response(answer)
}

/// Somebody reloaded the address of the form.
pub(super) async fn back(Ids(event): Ids<EventId>) -> Response {
    super::go(&format!("/events/{event}"))
}

/// The event page with a reason, and the section that was looked at.
fn back_to(facts: &EventFacts, reason: &Reason, section: Option<&str>) -> String {
    let section = section.map(|name| format!("&section={}", words::in_query(name))).unwrap_or_default();
    format!("/events/{}?{}{section}", facts.event.id, reason.to_query())
}

/// The page's key makes a form sent twice one request. The key counts for the owner who sent it.
fn once(fields: &Fields, holder: &Holder, event: &EventId, answers: Answers) -> Option<Once<HoldView>> {
    let usable = |key: &&str| (1..=100).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let key = fields.first("key").filter(usable)?;
    let mut hash = Sha256::new();
    hash.update(event.as_str());
    for (name, value) in &fields.0 {
        hash.update(format!("\n{name}={value}"));
    }
    let claim =
        Claim { actor: holder.actor(key.len()), key: format!("shop {key}"), request_hash: hash.finalize().into() };
    let render = Arc::new(move |outcome: Result<&HoldView, &Refusal>| match outcome {
        Ok(view) => answers.held(view),
        Err(refusal) => answers.sent_on(&answers.address(&answers.reason(refusal).unwrap_or(Reason::Unknown)), None),
    });
    let also = holder.is_new.then(|| holder.owner.as_str().to_owned());
    Some(Once { claim, render, also })
}

/// What the browser is told.
#[derive(Clone)]
struct Answers {
    services: Services,
    facts: Arc<EventFacts>,
    wish: Wish,
}

impl Answers {
    /// On to the hold, with the cookie that opens it.
    fn held(&self, view: &HoldView) -> SavedAnswer {
        let token = self.services.buyers.sign(&view.owner, caller::now_s());
        let cookie = cookies::set(&view.owner, &token, self.services.config.secure_cookies);
        self.sent_on(&format!("/events/{}/holds/{}", view.event, view.id), Some(cookie))
    }

    fn sent_on(&self, address: &str, cookie: Option<String>) -> SavedAnswer {
        let mut headers = vec![("location".to_owned(), address.to_owned())];
        headers.extend(cookie.map(|cookie| ("set-cookie".to_owned(), cookie)));
        SavedAnswer { status: 303, headers, body: Vec::new() }
    }

    /// Why nothing could be held, if that is for the buyer to know.
    fn reason(&self, refusal: &Refusal) -> Option<Reason> {
        Some(match refusal {
            Refusal::SeatsTaken { taken, .. } => {
                let seats = taken.iter().filter_map(|guid| self.facts.seat_no(guid)).collect();
                Reason::Taken { seats, wanted: self.wish.places() }
            }
            Refusal::NotEnough { area: Some(area), wanted, .. } => {
                Reason::AreaFull { area: area.clone(), wanted: *wanted }
            }
            Refusal::NotEnough { area: None, wanted, .. } => {
                let named = match &self.wish {
                    Wish::Best(wish) => wish.category.as_deref(),
                    _ => None,
                };
                let place = |name: &str| self.facts.categories.iter().position(|row| row.category == name);
                Reason::NotTogether { wanted: *wanted, category: named.and_then(place) }
            }
            Refusal::LimitExceeded { .. } | Refusal::TooManyHolds { .. } => Reason::Limit,
            Refusal::Invalid(_) | Refusal::LeavesSingle { .. } => Reason::Unknown,
            _ => return None,
        })
    }

    /// Back to the event; to the section of the first seat, when seats were named.
    fn address(&self, reason: &Reason) -> String {
        let first = match &self.wish {
            Wish::Seats(seats) => seats.first(),
            _ => None,
        };
        let section = first.and_then(|seat| self.facts.seat(*seat)).map(|seat| seat.section.as_str());
        back_to(&self.facts, reason, section)
    }
}
