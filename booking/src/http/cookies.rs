//! The cookies that keep a browser's buyer tokens: one per owner, so that buying in one sale does not lock the
//! browser out of what it bought in another.
//!
//! A cookie's name carries a short digest of its owner; the plain name is still read. At most [`MOST`] are kept:
//! with each that is set, what is too old or opens nothing is expired.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use booking_domain::Owner;
use sha2::{Digest, Sha256};

use crate::buyer::{BuyerKeys, LIFE_S};

/// Most buyer cookies that a browser keeps.
const MOST: usize = 8;
/// Most that are looked at in one request.
const MOST_READ: usize = 2 * MOST;
/// Bytes of the digest in a name.
const DIGEST: usize = 6;

/// The buyer cookies of a request.
#[derive(Debug, Clone)]
pub(super) struct BuyerCookies {
    /// Those that open something, oldest first.
    known: Vec<Known>,
    /// The names of those that open nothing any more.
    stale: Vec<String>,
    secure: bool,
}

#[derive(Debug, Clone)]
struct Known {
    name: String,
    owner: Owner,
    issued_at_s: u64,
}

impl BuyerCookies {
    /// Reads the cookies of a request.
    #[must_use]
    pub(super) fn read(headers: &HeaderMap, keys: &BuyerKeys, secure: bool, now_s: u64) -> Self {
        let plain = plain_name(secure);
        let is_ours = |name: &str| name.strip_prefix(plain).is_some_and(|rest| rest.is_empty() || is_digest(rest));
        let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (mut known, mut stale) = (Vec::new(), Vec::new());
        for (name, token) in pairs.filter(|(name, _)| is_ours(name)).take(MOST_READ) {
            let name = name.to_owned();
            match keys.verify(token, now_s) {
                Some(opened) => known.push(Known { name, owner: opened.owner, issued_at_s: opened.issued_at_s }),
                None => stale.push(name),
            }
        }
        known.sort_by(|a, b| (a.issued_at_s, &a.name).cmp(&(b.issued_at_s, &b.name)));
        Self { known, stale, secure }
    }

    /// Everybody that the browser is.
    pub(super) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.known.iter().map(|known| &known.owner)
    }

    /// Who the browser is where one owner is needed: its own name before that of a line, and the oldest, so that
    /// it stays the same.
    #[must_use]
    pub(super) fn one(&self) -> Option<&Owner> {
        self.owners().find(|owner| !owner.is_visitor()).or_else(|| self.owners().next())
    }

    /// What expires the cookies that have to go when one for `owner` is set.
    #[must_use]
    pub(super) fn expire_beside(&self, owner: &Owner) -> Vec<String> {
        if self.known.is_empty() && self.stale.is_empty() {
            return Vec::new();
        }
        let set = name_of(owner, self.secure);
        let others: Vec<&str> =
            self.known.iter().map(|known| known.name.as_str()).filter(|name| *name != set).collect();
        let too_many = (others.len() + 1).saturating_sub(MOST);
        let stale = self.stale.iter().map(String::as_str).filter(|name| *name != set);
        others.iter().copied().take(too_many).chain(stale).map(|name| line(name, "", 0, self.secure)).collect()
    }
}

/// The cookie of an owner as it is set.
#[must_use]
pub(super) fn set(owner: &Owner, token: &str, secure: bool) -> String {
    line(&name_of(owner, secure), token, LIFE_S, secure)
}

fn line(name: &str, token: &str, life_s: u64, secure: bool) -> String {
    let flags = if secure { "; Secure" } else { "" };
    format!("{name}={token}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{flags}")
}

const fn plain_name(secure: bool) -> &'static str {
    if secure { "__Host-usher_buyer" } else { "usher_buyer" }
}

fn name_of(owner: &Owner, secure: bool) -> String {
    let digest = Sha256::digest(owner.as_str());
    let mut name = format!("{}_", plain_name(secure));
    for byte in digest.iter().take(DIGEST) {
        for digit in [byte >> 4, byte & 15] {
            name.extend(char::from_digit(digit.into(), 16));
        }
    }
    name
}

fn is_digest(rest: &str) -> bool {
    let digits = rest.strip_prefix('_').unwrap_or_default();
    digits.len() == 2 * DIGEST && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> BuyerKeys {
        BuyerKeys::from_hex(&"a".repeat(64).into()).unwrap()
    }

    fn owner(n: u64) -> Owner {
        Owner::visitor(&format!("{n:022}")).unwrap()
    }

    fn headers(cookies: &[String]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let pairs: Vec<&str> = cookies.iter().map(|set| set.split(';').next().unwrap()).collect();
        headers.insert(COOKIE, pairs.join("; ").parse().unwrap());
        headers
    }

    #[test]
    fn each_owner_has_a_cookie_and_the_oldest_goes() {
        for secure in [false, true] {
            let set: Vec<String> = (1..=8).map(|n| super::set(&owner(n), &keys().sign(&owner(n), n), secure)).collect();
            let seven = BuyerCookies::read(&headers(&set[..7]), &keys(), secure, 10);
            assert_eq!(seven.owners().cloned().collect::<Vec<_>>(), (1..=7).map(owner).collect::<Vec<_>>());
            assert!(seven.expire_beside(&owner(9)).is_empty());
            let eight = BuyerCookies::read(&headers(&set), &keys(), secure, 10);
            assert!(eight.expire_beside(&owner(3)).is_empty(), "its own is replaced");
            let gone = eight.expire_beside(&owner(9));
            assert_eq!((gone.len(), gone[0].contains("Max-Age=0")), (1, true));
            assert!(gone[0].starts_with(set[0].split('=').next().unwrap()), "the oldest: {gone:?}");
        }
    }

    #[test]
    fn the_plain_name_is_read_and_what_opens_nothing_goes() {
        let token = keys().sign(&owner(1), 1);
        let cookies = [format!("usher_buyer={token}"), "usher_buyer_0123456789ab=x".into(), "usher_buyer_x=y".into()];
        let read = BuyerCookies::read(&headers(&cookies), &keys(), false, 10);
        assert_eq!(read.one(), Some(&owner(1)));
        let gone = read.expire_beside(&owner(2));
        assert!(gone.len() == 1 && gone[0].starts_with("usher_buyer_0123456789ab=;"), "{gone:?}");
    }

    #[test]
    fn a_browser_s_own_name_comes_first() {
        let own = Owner::buyer("abcdefghijklmnopqrst-_").unwrap();
        let cookies = [set(&owner(1), &keys().sign(&owner(1), 1), false), set(&own, &keys().sign(&own, 5), false)];
        assert_eq!(BuyerCookies::read(&headers(&cookies), &keys(), false, 10).one(), Some(&own));
    }
}
