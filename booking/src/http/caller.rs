//! Who asks: the visitor of a valid pass, the buyer of a buyer token, both or neither.
//!
//! Only signatures are believed. The gateway's `Usher-Visitor` is not looked at.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use booking_domain::Owner;
use queue_token::Pass;

use crate::error::{Error, Refusal};
use crate::events::EventFacts;
use crate::services::Services;

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pass: Option<Pass>,
    buyer: Option<Owner>,
    /// Where the request came from, as the gateway says.
    address: String,
}

/// Who will own what is made.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    /// The owner.
    pub(super) owner: Owner,
    /// Whose idempotency keys count: the owner's, or those of nameless callers at an address.
    pub(super) actor: String,
    /// Whether the owner was made up for this request.
    pub(super) is_new: bool,
}

impl Caller {
    /// Everybody the caller is.
    #[must_use]
    pub(super) fn owners(&self) -> Vec<Owner> {
        self.visitor().into_iter().chain(self.buyer.clone()).collect()
    }

    fn visitor(&self) -> Option<Owner> {
        Owner::visitor(&self.pass.as_ref()?.visitor.to_string()).ok()
    }

    /// Whose idempotency keys count where the caller acts on what is theirs already.
    #[must_use]
    pub(super) fn actor(&self) -> String {
        let owner = self.visitor().or_else(|| self.buyer.clone());
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
        let known = if event.event.sale.is_some() { self.visitor() } else { self.buyer.clone() };
        if let Some(owner) = known {
            return Ok(Holder { actor: owner.as_str().to_owned(), owner, is_new: false });
        }
        let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let owner = Owner::buyer(&id).expect("22 characters of base64url");
        Ok(Holder { owner, actor: format!("anonymous {}", self.address), is_new: true })
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
        let buyer_token = credentials(headers, "Buyer")
            .map(str::to_owned)
            .or_else(|| cookie(headers, cookie_name(services.config.secure_cookies)));
        let buyer = buyer_token.and_then(|token| services.buyers.verify(&token, now_s));
        let address = header(headers, "x-forwarded-for").unwrap_or("direct").chars().take(200).collect();
        Ok(Self { pass, buyer, address })
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

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| value.to_owned())
}

/// The name of the buyer cookie.
#[must_use]
pub(super) const fn cookie_name(secure: bool) -> &'static str {
    if secure { "__Host-usher_buyer" } else { "usher_buyer" }
}

/// The buyer cookie as it is set.
#[must_use]
pub(super) fn set_cookie(token: &str, secure: bool) -> String {
    let name = cookie_name(secure);
    let flags = if secure { "; Secure" } else { "" };
    let life_s = crate::buyer::LIFE_S;
    format!("{name}={token}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{flags}")
}

/// The node's clock, which judges tokens and nothing else.
#[must_use]
pub(super) fn now_s() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
