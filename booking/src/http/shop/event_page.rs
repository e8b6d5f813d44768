//! `GET /events/{event}`: one event and what can be had of it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Response};
use booking_domain::EventId;
use serde::Deserialize;
use uuid::Uuid;

use super::notices::{Reason, ReasonQuery};
use super::picker::{self, Asked};
use crate::error::Error;
use crate::http::body::{Ids, Params};
use crate::http::caller::{self, Caller};
use crate::http::cookies;
use crate::services::Services;

/// The section to show; the rest says why the visitor is back.
#[derive(Debug, Deserialize)]
pub(super) struct SectionQuery {
    section: Option<String>,
}

/// Shows the page. A visitor without a name gets one, so that a form sent twice is known to be the same.
pub(super) async fn show(
    State(services): State<Services>,
    caller: Caller,
    Ids(event): Ids<EventId>,
    Params(query): Params<SectionQuery>,
    Params(reason): Params<ReasonQuery>,
) -> Result<Response, Error> {
    let facts = services.events.get(&services.db, &event).await?;
    let now = services.feeds.of(&event).snapshot(&services.db).await?;
    let asked = Asked { section: query.section, reason: Reason::from_query(&reason) };
    let limit = services.config.holds.max_seats_per_visitor;
    let key = Uuid::new_v4().simple().to_string();
    let page = super::page(StatusCode::OK, &picker::event_page(&facts, &now, limit, &asked, key))?;
    let newcomer = if facts.event.sale.is_none() { caller.holder(&facts).ok() } else { None };
    match newcomer.filter(|holder| holder.is_new) {
        Some(holder) => {
            let token = services.buyers.sign(&holder.owner, caller::now_s());
            let mut cookies = vec![cookies::set(&holder.owner, &token, services.config.secure_cookies)];
            cookies.extend(caller.expire_beside(&holder.owner));
            Ok((AppendHeaders(cookies.into_iter().map(|line| (SET_COOKIE, line))), page).into_response())
        }
        None => Ok(page),
    }
}
