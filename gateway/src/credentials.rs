//! Pass and place of a request: read from cookies and headers, verified, and — for passes — remembered.
//!
//! A pass costs a signature check; visitors inside send it with every request, so verified ones are kept in a
//! bounded map until they expire or the keys change.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use queue_token::{Keyring, Pass, Place, SaleId, TokenError, VisitorId};

use crate::edge::head::position;

/// Most passes remembered; when full the map starts anew.
const CACHE_MAX: usize = 65_536;

/// How our cookies are named and marked.
#[derive(Debug, Clone, Copy)]
pub struct CookieStyle {
    /// `Secure` and the `__Host-` prefix.
    pub secure: bool,
}

impl CookieStyle {
    fn name(self, kind: &str, sale: &SaleId) -> String {
        format!("{}usher_{kind}_{sale}", if self.secure { "__Host-" } else { "" })
    }

    /// `Set-Cookie` that stores a place.
    pub fn set_place(self, sale: &SaleId, token: &str, max_age_s: u64) -> String {
        self.set(&self.name("place", sale), token, max_age_s)
    }

    /// `Set-Cookie` that stores a pass.
    pub fn set_pass(self, sale: &SaleId, token: &str, max_age_s: u64) -> String {
        self.set(&self.name("pass", sale), token, max_age_s)
    }

    /// `Set-Cookie`s that forget both.
    pub fn forget(self, sale: &SaleId) -> [String; 2] {
        [self.set(&self.name("place", sale), "", 0), self.set(&self.name("pass", sale), "", 0)]
    }

    fn set(self, name: &str, value: &str, max_age_s: u64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}")
    }

    /// Whether this is the name of the cookie of this kind and sale; [`Self::name`] without a copy.
    fn is_name(self, name: &[u8], kind: &str, sale: &SaleId) -> bool {
        let plain = if self.secure { name.strip_prefix(b"__Host-") } else { Some(name) };
        let rest = plain.and_then(|plain| plain.strip_prefix(b"usher_")?.strip_prefix(kind.as_bytes()));
        rest.and_then(|rest| rest.strip_prefix(b"_")) == Some(sale.as_str().as_bytes())
    }

    /// The text of a cookie of ours.
    fn cookie<'a>(self, headers: &'a HeaderMap, kind: &str, sale: &SaleId) -> Option<&'a str> {
        let (_, value) = cookies(headers).find(|(name, _)| self.is_name(name, kind, sale))?;
        std::str::from_utf8(value).ok()
    }

    /// Whether a cookie of this name is ours and must not reach the origin.
    pub fn is_ours(name: &[u8]) -> bool {
        let name = name.strip_prefix(b"__Host-").unwrap_or(name);
        name.starts_with(b"usher_place_") || name.starts_with(b"usher_pass_")
    }
}

/// All cookies of a request as `(name, value)`, in bytes: a foreign cookie may hold anything.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| pairs(value.as_bytes()));
    pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        Some((&pair[..equals], &pair[equals + 1..]))
    })
}

/// The parts between semicolons. Values are long, so they are not looked at byte by byte.
fn pairs(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = position(bytes, b';');
        rest = end.map(|end| &bytes[end + 1..]);
        Some(&bytes[..end.unwrap_or(bytes.len())])
    })
}

/// `Authorization: SCHEME TOKEN`.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (given, token) = value.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| token.trim())
}

/// The place token of a request for this sale: the header wins over the cookie.
pub fn place_token<'a>(headers: &'a HeaderMap, style: CookieStyle, sale: &SaleId) -> Option<&'a str> {
    authorization(headers, "place").or_else(|| style.cookie(headers, "place", sale))
}

/// The pass tokens among all cookies of a request.
fn pass_cookies(headers: &HeaderMap, style: CookieStyle) -> impl Iterator<Item = &str> {
    let prefix = if style.secure { "__Host-usher_pass_" } else { "usher_pass_" };
    let ours = cookies(headers).filter(move |(name, _)| name.starts_with(prefix.as_bytes()));
    ours.filter_map(|(_, value)| std::str::from_utf8(value).ok()).take(8)
}

/// A pass with the token that proves it, and what the origin is told of it.
#[derive(Debug)]
pub struct HeldPass {
    /// The facts.
    pub pass: Pass,
    /// The token.
    pub token: Box<str>,
    /// Visitor, sale and token as header values: a visitor inside sends many requests.
    pub told: [HeaderValue; 3],
}

impl HeldPass {
    /// A verified or just signed pass.
    pub fn new(pass: Pass, token: &str) -> Self {
        let value = |text: &str| HeaderValue::from_str(text).expect("ids and signed tokens are visible ASCII");
        let told = [value(&pass.visitor.to_string()), value(pass.sale.as_str()), value(token)];
        Self { pass, token: token.into(), told }
    }
}

/// What a remembered pass is found by: the last sixteen characters of its token, which are a part of its signature. The whole
/// token is compared once it is found.
type Ending = u128;

/// Spreads endings. Only those of tokens that we signed are remembered, so nobody can choose them to fall together.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u128(u128::from(*byte)));
    }

    fn write_u128(&mut self, ending: u128) {
        // Every character has a say in the upper bits, and those in the lower.
        let mixed = (self.0 ^ ending as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (ending >> 64) as u64;
        self.0 = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// Verifies credentials, remembering passes.
#[derive(Debug, Default)]
pub struct Credentials {
    passes: RwLock<HashMap<Ending, Arc<HeldPass>, BuildHasherDefault<Spread>>>,
    /// How often they were forgotten.
    forgotten: AtomicU64,
    /// Visitors who gave their slot back, with the second until which a pass of theirs could still be live.
    left: RwLock<HashMap<VisitorId, u64>>,
}

impl Credentials {
    /// The first valid pass: of the given sale, or of any when none is given. The keys are asked for only when they are needed.
    pub fn pass(
        &self,
        headers: &HeaderMap,
        style: CookieStyle,
        sale: Option<&SaleId>,
        ring: impl Fn() -> Arc<Keyring>,
        now_s: u64,
    ) -> Option<Arc<HeldPass>> {
        let good = |token: &str| {
            let held = self.verified(token, &ring, now_s).ok()?;
            let counts = !self.has_left(&held.pass) && sale.is_none_or(|sale| held.pass.sale == *sale);
            counts.then_some(held)
        };
        authorization(headers, "pass").and_then(good).or_else(|| match sale {
            Some(sale) => style.cookie(headers, "pass", sale).and_then(good),
            None => pass_cookies(headers, style).find_map(good),
        })
    }

    fn verified(&self, token: &str, ring: impl Fn() -> Arc<Keyring>, now_s: u64) -> Result<Arc<HeldPass>, TokenError> {
        let ending = Ending::from_le_bytes(*token.as_bytes().last_chunk().ok_or(TokenError::Malformed("shape"))?);
        if let Some(held) = self.passes.read().ok().and_then(|passes| passes.get(&ending).cloned())
            && *held.token == *token
            && held.pass.expires_at_s > now_s
        {
            return Ok(held);
        }
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let held = Arc::new(HeldPass::new(ring().verify_pass(token, now_s)?, token));
        // What was verified by keys that have changed since is not remembered.
        if let Ok(mut passes) = self.passes.write()
            && self.forgotten.load(Ordering::Acquire) == forgotten
        {
            if passes.len() >= CACHE_MAX {
                passes.clear();
            }
            passes.insert(ending, held.clone());
        }
        Ok(held)
    }

    /// Notes visitors who gave their slot back: a pass of theirs no longer counts, although it is signed.
    pub fn note_left(&self, visitors: &[VisitorId], now_s: u64, pass_ttl_s: u64) {
        let known = |left: &HashMap<VisitorId, u64>| visitors.iter().all(|visitor| left.contains_key(visitor));
        if visitors.is_empty() || self.left.read().is_ok_and(|left| known(&left)) {
            return;
        }
        let Ok(mut left) = self.left.write() else { return };
        if left.len() >= CACHE_MAX {
            left.retain(|_, until_s| *until_s > now_s);
        }
        // Still full: the rest is refused when it is renewed, half a life later at most.
        let room = CACHE_MAX.saturating_sub(left.len());
        left.extend(visitors.iter().take(room).map(|visitor| (*visitor, now_s + pass_ttl_s)));
    }

    fn has_left(&self, pass: &Pass) -> bool {
        self.left.read().is_ok_and(|left| left.contains_key(&pass.visitor))
    }

    /// Every remembered pass of a sale that is live: visitor and expiry in milliseconds.
    pub fn live_passes(&self, sale: &SaleId, now_s: u64) -> Vec<(VisitorId, u64)> {
        let Ok(passes) = self.passes.read() else { return Vec::new() };
        let live = passes
            .values()
            .filter(|held| held.pass.sale == *sale && held.pass.expires_at_s > now_s && !self.has_left(&held.pass));
        live.map(|held| (held.pass.visitor, held.pass.expires_at_s * 1000)).collect()
    }

    /// Forgets every remembered pass; the keys have changed.
    pub fn forget_all(&self) {
        if let Ok(mut passes) = self.passes.write() {
            self.forgotten.fetch_add(1, Ordering::AcqRel);
            passes.clear();
        }
    }
}

/// Why a place cannot be used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceRefusal {
    /// None was sent.
    Missing,
    /// It was signed for another sale.
    OtherSale,
    /// It was valid once.
    Expired,
    /// It is not one of ours, or its key is retired.
    Invalid,
    /// Its key is not known: the key file may just have changed.
    UnknownKey,
}

/// The verified place of a request for this sale, with its token.
///
/// # Errors
/// Why there is none.
pub fn place<'a>(
    headers: &'a HeaderMap,
    style: CookieStyle,
    sale: &SaleId,
    ring: &Keyring,
    now_s: u64,
) -> Result<(Place, &'a str), PlaceRefusal> {
    let token = place_token(headers, style, sale).ok_or(PlaceRefusal::Missing)?;
    match ring.verify_place(token, now_s) {
        Ok(place) if place.sale == *sale => Ok((place, token)),
        Ok(_) => Err(PlaceRefusal::OtherSale),
        Err(TokenError::Expired) => Err(PlaceRefusal::Expired),
        Err(TokenError::UnknownKey) => Err(PlaceRefusal::UnknownKey),
        Err(_) => Err(PlaceRefusal::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use queue_token::{KeyringFile, PassId};

    const NOW_S: u64 = 1_800_000_000;

    fn ring() -> Keyring {
        Keyring::new(&KeyringFile::generate(1, &[3; 64]), NOW_S).unwrap()
    }

    fn pass(sale: &str) -> Pass {
        Pass {
            sale: sale.parse().unwrap(),
            visitor: VisitorId::from_bytes([1; 16]),
            id: PassId::from_bytes([2; 16]),
            issued_at_s: NOW_S,
            expires_at_s: NOW_S + 60,
        }
    }

    #[test]
    fn a_pass_is_found_in_header_and_cookie_and_forgotten_when_over() {
        let (ring, style, credentials) = (Arc::new(ring()), CookieStyle { secure: false }, Credentials::default());
        let demo: SaleId = "demo".parse().unwrap();
        let token = ring.sign_pass(&pass("demo"), NOW_S).unwrap();
        let other = ring.sign_pass(&pass("other"), NOW_S).unwrap();
        let mut headers = HeaderMap::new();
        let cookie = format!("a=b; n=José; usher_pass_other={other}; usher_pass_demo={token}");
        headers.insert(COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
        let found = |sale: Option<&SaleId>, now_s| credentials.pass(&headers, style, sale, || ring.clone(), now_s);
        assert_eq!(found(Some(&demo), NOW_S).unwrap().pass, pass("demo"));
        assert_eq!(found(Some(&demo), NOW_S + 30).unwrap().pass, pass("demo"), "from memory");
        assert!(found(Some(&demo), NOW_S + 63).is_none(), "memory does not prolong it");
        assert_eq!(found(None, NOW_S).unwrap().pass.sale.as_str(), "other");
        assert!(found(Some(&"third".parse().unwrap()), NOW_S).is_none());

        credentials.note_left(&[pass("demo").visitor], NOW_S, 600);
        assert!(found(Some(&demo), NOW_S).is_none(), "given back");

        let credentials = Credentials::default();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("pass {token}")).unwrap());
        assert!(credentials.pass(&headers, style, Some(&demo), || ring.clone(), NOW_S).is_some());
    }

    #[test]
    fn what_was_verified_while_the_keys_changed_is_not_remembered() {
        let (old, style, credentials) = (Arc::new(ring()), CookieStyle { secure: false }, Credentials::default());
        let new = Arc::new(Keyring::new(&KeyringFile::generate(1, &[4; 64]), NOW_S).unwrap());
        let token = old.sign_pass(&pass("demo"), NOW_S).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("pass {token}")).unwrap());
        let change = || {
            credentials.forget_all();
            old.clone()
        };
        assert!(credentials.pass(&headers, style, None, change, NOW_S).is_some());
        assert!(credentials.pass(&headers, style, None, || new.clone(), NOW_S).is_none(), "the key is removed");
        assert!(credentials.pass(&headers, style, None, || old.clone(), NOW_S).is_some());
        credentials.forget_all();
        assert!(credentials.pass(&headers, style, None, || new.clone(), NOW_S).is_none());
    }

    #[test]
    fn cookies_are_read_from_all_headers_however_they_are_spaced() {
        let mut headers = HeaderMap::new();
        let long = "x".repeat(70);
        for value in [format!("a=1;b=2; c = 3 ;;d;e={long}=;"), String::new(), format!("f={long};g=")] {
            headers.append(COOKIE, HeaderValue::from_str(&value).unwrap());
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let read: Vec<_> = cookies(&headers).map(|(name, value)| (text(name), text(value))).collect();
        let long_and = format!("{long}=");
        let expected = [("a", "1"), ("b", "2"), ("c ", " 3"), ("e", &long_and), ("f", &long), ("g", "")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn our_cookies_are_known_and_marked() {
        let style = CookieStyle { secure: true };
        let set = style.set_pass(&"demo".parse().unwrap(), "T", 60);
        assert_eq!(set, "__Host-usher_pass_demo=T; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
        assert!(CookieStyle::is_ours(b"__Host-usher_pass_demo") && CookieStyle::is_ours(b"usher_place_x"));
        assert!(!CookieStyle::is_ours(b"usher_buyer"));
        let demo: SaleId = "demo".parse().unwrap();
        for style in [CookieStyle { secure: true }, CookieStyle { secure: false }] {
            assert!(style.is_name(style.name("pass", &demo).as_bytes(), "pass", &demo));
            for other in
                ["usher_place_demo", "usher_pass_demo2", "__Host-usher_pass_dem", "__Host-__Host-usher_pass_demo"]
            {
                assert!(!style.is_name(other.as_bytes(), "pass", &demo), "{other}");
            }
        }
    }
}
