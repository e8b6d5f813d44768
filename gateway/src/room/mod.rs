//! The waiting room: what a visitor is told, and how it gets in.
//!
//! * [`guarded`] – a request for something a sale guards
//! * [`join`], [`place`], [`leave`], [`status`] – the public routes, one file each
//! * [`offer`], [`arrive`], [`take`] – the way of a place to another device: the code, the page there, the taking
//! * [`entry`] – from a claimed turn to a signed pass
//! * [`document`] – the place document, as CONTRACT writes it
//! * [`page`] – the waiting page
//!
//! Nothing here knows Pingora: requests come as [`Asked`], answers go as [`Answer`].

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use queue_token::{Device, Place, SaleId, Score, Taker, VisitorId};

use crate::admission::PlaceFact;
use crate::config::Config;
use crate::credentials::{self, CookieStyle, Credentials, HeldPass, PlaceRefusal};
use crate::keys::Keys;
use crate::limits::ClientLimits;
use crate::line::rooms::Rooms;
use crate::line::view::View;

pub mod arrive;
pub mod document;
pub mod entry;
pub mod guarded;
pub mod join;
pub mod leave;
pub mod offer;
pub mod page;
pub mod place;
pub mod status;
pub mod take;

/// Everything that answering needs; shared by all requests.
#[derive(Debug)]
pub struct Gate {
    /// The configuration.
    pub config: Arc<Config>,
    /// The signing keys.
    pub keys: Arc<Keys>,
    /// The sales.
    pub rooms: Arc<Rooms>,
    /// Verified credentials.
    pub credentials: Arc<Credentials>,
    /// The client limits.
    pub limits: Arc<ClientLimits>,
}

impl Gate {
    /// How our cookies look.
    pub fn cookies(&self) -> CookieStyle {
        CookieStyle { secure: self.config.secure_cookies }
    }

    /// Whether the line has to be asked about this place. Also in the second half of its life, so that it is signed anew
    /// only for the device that holds it.
    fn place_fact(&self, view: &View, place: &Place, now_s: u64) -> PlaceFact {
        let aging = is_past_half(place.expires_at_s, self.config.line.place_life_s, now_s);
        if aging || view.concerns_the_line(place.score) { PlaceFact::Near } else { PlaceFact::Far }
    }

    /// The verified place of a request, with its token. A place signed with a key that is not known makes the key file
    /// be looked at once more: it may just have changed.
    ///
    /// # Errors
    /// Why there is none.
    pub fn place<'a>(&self, asked: &Asked<'a>, sale: &SaleId) -> Result<(Place, &'a str), PlaceRefusal> {
        let read = || credentials::place(&asked.head.headers, self.cookies(), sale, &self.keys.ring(), asked.now_s());
        match read() {
            Err(PlaceRefusal::UnknownKey) if self.keys.reload_if_changed() => {
                self.credentials.forget_all();
                read()
            }
            other => other,
        }
    }
}

/// A request, as far as the waiting room needs it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Method, path and headers.
    pub head: &'a Parts,
    /// The client's address as far as it is believed.
    pub address: IpAddr,
    /// Id of the request in logs here and at the origin.
    pub request_id: &'a str,
    /// This gateway's clock, in microseconds.
    pub now_us: u64,
}

impl Asked<'_> {
    /// The path, as sent.
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// This gateway's clock, in seconds.
    pub fn now_s(&self) -> u64 {
        self.now_us / 1_000_000
    }

    /// A header's text.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Room for the header fields of a usual answer.
const FIELDS_USUAL: usize = 8;

/// An answer of the gateway's own.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields; `content-length` is added when it is sent.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
    /// What became of the request, for the metrics.
    pub outcome: &'static str,
}

impl Answer {
    /// An answer that nobody may store.
    pub fn new(status: u16, content_type: &'static str, body: Bytes) -> Self {
        let mut headers = Vec::with_capacity(FIELDS_USUAL);
        headers.extend([
            ("content-type", content_type.into()),
            ("cache-control", "no-store".into()),
            ("x-content-type-options", "nosniff".into()),
        ]);
        Self { status, headers, body, outcome: "answered" }
    }

    /// A JSON document that nobody may store.
    pub fn json(status: u16, document: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(document).expect("our documents hold nothing that JSON cannot say");
        Self::new(status, "application/json", Bytes::from(body))
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        let mut answer = Self::new(status, "", Bytes::new());
        answer.headers.retain(|(name, _)| *name != "content-type");
        answer
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Replaces a header field.
    #[must_use]
    pub fn replace(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.header(name, value)
    }

    /// Says what became of the request.
    #[must_use]
    pub fn outcome(mut self, outcome: &'static str) -> Self {
        self.outcome = outcome;
        self
    }
}

/// A visitor who goes through to the origin.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The pass it goes with; `None` when a sale's outage policy lets everybody through.
    pub pass: Option<Arc<HeldPass>>,
    /// `Set-Cookie` values for the answer.
    pub cookies: Vec<String>,
    /// Whether the pass was signed for this request, so that the answer shows it.
    pub fresh: bool,
    /// The place that was given on the way, so that the answer shows it.
    pub place: Option<String>,
}

/// What becomes of a request for something guarded.
#[derive(Debug)]
pub enum Outcome {
    /// We answer.
    Answer(Answer),
    /// The origin answers.
    Enter(Entry),
}

/// A place with its token.
#[derive(Debug, Clone)]
pub struct HeldPlace {
    /// The facts.
    pub place: Place,
    /// The token.
    pub token: String,
}

/// A new visitor.
fn new_visitor() -> VisitorId {
    VisitorId::from_bytes(rand::random())
}

/// A new taker, for a device to which a place may move.
fn new_taker() -> Taker {
    Taker::from_bytes(rand::random())
}

/// Whether more than half of a life has passed.
fn is_past_half(expires_at_s: u64, life_s: u64, now_s: u64) -> bool {
    expires_at_s.saturating_sub(now_s) * 2 < life_s
}

/// The same place for longer, once half its life is over: whoever waits for a day must not lose it. `None` before.
fn kept_fresh(gate: &Gate, held: &HeldPlace, now_s: u64) -> Option<HeldPlace> {
    let Place { expires_at_s, visitor, score, device, .. } = held.place;
    if !is_past_half(expires_at_s, gate.config.line.place_life_s, now_s) {
        return None;
    }
    sign_place(gate, &held.place.sale, (visitor, score, device), now_s).ok()
}

/// Signs a visitor's place at a score, for one of its devices.
fn sign_place(
    gate: &Gate,
    sale: &SaleId,
    (visitor, score, device): (VisitorId, Score, Device),
    now_s: u64,
) -> Result<HeldPlace, queue_token::KeyError> {
    let place = Place {
        sale: sale.clone(),
        visitor,
        score,
        device,
        issued_at_s: now_s,
        expires_at_s: now_s + gate.config.line.place_life_s,
    };
    let token = gate.keys.ring().sign_place(&place, now_s)?;
    Ok(HeldPlace { place, token })
}

#[cfg(test)]
mod tests {
    use super::is_past_half;

    #[test]
    fn a_place_is_signed_anew_in_the_second_half_of_its_life() {
        for (expires_at_s, now_s, past) in
            [(1_100, 1_000, false), (1_100, 1_050, false), (1_100, 1_051, true), (1_100, 1_200, true)]
        {
            assert_eq!(is_past_half(expires_at_s, 100, now_s), past, "{expires_at_s} at {now_s}");
        }
    }
}
