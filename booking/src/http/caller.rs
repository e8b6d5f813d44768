//! Who asks: the visitor of a valid pass, the buyer of a buyer token, both or neither.
//!
//! Only signatures are believed. The gateway's `Usher-Visitor` is not looked at.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use booking_domain::Owner;
use queue_token::Pass;

use super::cookies::BuyerCookies;
use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;

/// So many characters of an idempotency key nobody guesses: 128 bits in base64url.
const UNGUESSABLE_KEY: usize = 22;

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pass: Option<Pass>,
    /// The buyer of the token in `Authorization`.
    token: Option<Owner>,
    cookies: BuyerCookies,
    /// Where the request came from, as the gateway says.
    address: String,
}

/// Who will own what is made.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    /// The owner.
    pub(super) owner: Owner,
    /// Whether the owner was made up for this request.
    pub(super) is_new: bool,
    /// Who asks, when the owner was made up: a visitor by a pass of another sale.
    visitor: Option<Owner>,
    address: String,
}

impl Holder {
    /// Whose idempotency keys count: the owner's, or the visitor's who gets a new name here. Nameless callers at
    /// an address share theirs, as long as nobody guesses them: the answer to be repeated holds a buyer token. A
    /// shorter key repeats nothing until its sender has a name.
    #[must_use]
    pub(super) fn actor(&self, key_length: usize) -> String {
        match &self.visitor {
            Some(visitor) if self.is_new => visitor.as_str().to_owned(),
            None if self.is_new && key_length >= UNGUESSABLE_KEY => format!("anonymous {}", self.address),
            _ => self.owner.as_str().to_owned(),
        }
    }
}

impl Caller {
    /// Everybody the caller is.
    #[must_use]
    pub(super) fn owners(&self) -> Vec<Owner> {
        let mut owners: Vec<Owner> = self.visitor().into_iter().chain(self.token.clone()).collect();
        for owner in self.cookies.owners() {
            if !owners.contains(owner) {
                owners.push(owner.clone());
            }
        }
        owners
    }

    /// The buyer that the caller is where one is needed.
    fn buyer(&self) -> Option<Owner> {
        self.token.as_ref().or_else(|| self.cookies.one()).cloned()
    }

    /// `Set-Cookie` lines that belong beside a new cookie for this owner.
    #[must_use]
    pub(super) fn expire_beside(&self, owner: &Owner) -> Vec<String> {
        self.cookies.expire_beside(owner)
    }

    fn visitor(&self) -> Option<Owner> {
        Owner::visitor(&self.pass.as_ref()?.visitor.to_string()).ok()
    }

    /// Whose idempotency keys count where the caller acts on what is theirs already.
    #[must_use]
    pub(super) fn actor(&self) -> String {
        let owner = self.visitor().or_else(|| self.buyer());
        owner.map_or_else(|| format!("anonymous {}", self.address), |owner| owner.as_str().to_owned())
    }

    /// Whether the caller may make holds and bookings of an event now.
    ///
    /// # Errors
    /// [`Refusal::PassRequired`] when the event is guarded and no live pass of its sale came along.
    pub(super) fn check_pass(&self, event: &EventFacts) -> Result<(), Refusal> {
        let Some(sale) = &event.event.sale else { return Ok(()) };
        match &self.pass {
            Some(pass) if pass.sale.as_str() == sale => Ok(()),
            _ => Err(Refusal::PassRequired { sale: sale.clone() }),
        }
    }

    /// Who will own a hold that the caller makes.
    ///
    /// # Errors
    /// See [`Caller::check_pass`].
    pub(super) fn holder(&self, event: &EventFacts) -> Result<Holder, Refusal> {
        self.check_pass(event)?;
        let known = if event.event.sale.is_some() { self.visitor() } else { self.buyer() };
        if let Some(owner) = known {
            return Ok(Holder { owner, is_new: false, visitor: None, address: self.address.clone() });
        }
        let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let owner = Owner::buyer(&id).expect("22 characters of base64url");
        Ok(Holder { owner, is_new: true, visitor: self.visitor(), address: self.address.clone() })
    }
}

impl FromRequestParts<Services> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, Error> {
        let now_s = now_s();
        let headers = &parts.headers;
        let pass = match header(headers, "usher-pass").or_else(|| credentials(headers, "Pass")) {
            Some(token) => services.passes.verify(token, now_s).await.map_err(|none| Error::Unavailable {
                what: "the check of passes",
                source: none.into(),
                retry: false,
            })?,
            None => None,
        };
        let token = credentials(headers, "Buyer").and_then(|token| services.buyers.verify(token, now_s));
        let cookies = BuyerCookies::read(headers, &services.buyers, services.config.secure_cookies, now_s);
        let address = header(headers, "x-forwarded-for").unwrap_or("direct").chars().take(200).collect();
        Ok(Self { pass, token: token.map(|opened| opened.owner), cookies, address })
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
}

/// The token of an `Authorization` header of this scheme; several such headers are looked through.
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    headers.get_all(AUTHORIZATION).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let (given, token) = value.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then_some(token.trim())
    })
}

/// The node's clock, which judges tokens and nothing else.
#[must_use]
pub(super) fn now_s() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
