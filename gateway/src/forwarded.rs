//! What a request says about where it comes from, and what the origin is told.
//!
//! Nothing that a client writes into `Usher-*`, `Forwarded` or `X-Forwarded-*` reaches the origin; with trusted
//! proxies before us, the client's address is the one that the outermost of them saw.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::credentials::{CookieStyle, HeldPass, cookies};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST_ASKED: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const VISITOR: HeaderName = HeaderName::from_static("usher-visitor");
const SALE: HeaderName = HeaderName::from_static("usher-sale");
const PASS: HeaderName = HeaderName::from_static("usher-pass");
/// Most fields that are told of a request.
const TOLD_MAX: usize = 7;

/// What the gateway says to the origin about a request.
#[derive(Debug)]
pub struct Told<'a> {
    /// The client's address as far as it is believed.
    pub client: IpAddr,
    /// Whether fans come by `https`.
    pub secure: bool,
    /// Id of the request in our log.
    pub request_id: HeaderValue,
    /// The pass it goes with.
    pub pass: Option<&'a HeldPass>,
}

/// Takes out of `headers` what is not for the origin, and puts in what it is told. `inbound` is what the client sent.
pub fn for_origin(headers: &mut HeaderMap, inbound: &HeaderMap, told: Told<'_>) {
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_forged(name)).cloned().collect();
    for name in forged {
        headers.remove(&name);
    }
    match foreign_cookies(inbound) {
        Some(cookies) => drop(headers.insert(COOKIE, cookies)),
        None => drop(headers.remove(COOKIE)),
    }
    // Our own credentials are for us; the origin gets the pass in a header of its own.
    if inbound.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).is_some_and(is_ours) {
        headers.remove(AUTHORIZATION);
    }
    headers.reserve(TOLD_MAX);
    headers.insert(FOR, address_value(told.client));
    headers.insert(PROTO, HeaderValue::from_static(if told.secure { "https" } else { "http" }));
    if let Some(host) = inbound.get(HOST) {
        headers.insert(HOST_ASKED, host.clone());
    }
    headers.insert(REQUEST_ID, told.request_id);
    if let Some(pass) = told.pass {
        let [visitor, sale, token] = &pass.told;
        headers.insert(VISITOR, visitor.clone());
        headers.insert(SALE, sale.clone());
        headers.insert(PASS, token.clone());
    }
}

/// Takes out of an answer of the origin what is only for us, and puts in the request's id. Answers what the origin said
/// about the pass.
pub fn from_origin(headers: &mut HeaderMap, request_id: HeaderValue) -> Option<HeaderValue> {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("usher-")).cloned().collect();
    let said = if ours.is_empty() { None } else { headers.get("usher-pass").cloned() };
    for name in ours {
        headers.remove(&name);
    }
    headers.insert(REQUEST_ID, request_id);
    said
}

/// `Authorization` schemes that are for the gateway.
fn is_ours(value: &str) -> bool {
    let scheme = value.split(' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("pass") || scheme.eq_ignore_ascii_case("place")
}

/// Written by hand where that is easy: every request has one.
fn address_value(address: IpAddr) -> HeaderValue {
    let IpAddr::V4(v4) = address else {
        return HeaderValue::try_from(address.to_string()).expect("addresses are visible ASCII");
    };
    let mut text = [b'.'; "255.255.255.255".len()];
    let mut length = 0;
    for octet in v4.octets() {
        for counts in [100, 10, 1] {
            if octet >= counts || counts == 1 {
                text[length] = b'0' + octet / counts % 10;
                length += 1;
            }
        }
        // The dot stands there already.
        length += 1;
    }
    HeaderValue::from_bytes(&text[..length - 1]).expect("addresses are visible ASCII")
}

/// Whether a request header must not pass from a client to the origin.
pub fn is_forged(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("usher-")
        || name.starts_with("x-forwarded-")
        || matches!(name, "forwarded" | "x-request-id" | "x-real-ip")
}

/// The client's address: the peer's, or with `trusted_hops` proxies of ours before us the one that many places from
/// the right of `X-Forwarded-For` says.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_hops: usize) -> IpAddr {
    if trusted_hops == 0 {
        return peer;
    }
    let claimed: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let index = claimed.len().checked_sub(trusted_hops);
    index.and_then(|index| claimed[index].parse().ok()).unwrap_or(peer)
}

/// The key under which an address is limited: an IPv4 address, or the /64 of an IPv6 one.
pub fn limit_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        },
    }
}

/// The `Cookie` values without our own cookies; `None` when nothing is left.
pub fn foreign_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut kept = Vec::new();
    for (name, value) in cookies(headers).filter(|(name, _)| !CookieStyle::is_ours(name)) {
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(name);
        kept.push(b'=');
        kept.extend_from_slice(value);
    }
    if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_names_are_known() {
        for name in ["usher-visitor", "usher-pass", "x-forwarded-for", "x-forwarded-host", "forwarded", "x-request-id"]
        {
            assert!(is_forged(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["user-agent", "authorization", "x-custom"] {
            assert!(!is_forged(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn only_trusted_hops_are_believed() {
        let peer: IpAddr = "10.0.0.9".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.1".parse().unwrap());
        let address = |hops| client_address(peer, &headers, hops).to_string();
        assert_eq!(address(0), "10.0.0.9");
        assert_eq!(address(1), "10.0.0.1");
        assert_eq!(address(2), "1.2.3.4");
        assert_eq!(address(9), "10.0.0.9");
    }

    #[test]
    fn addresses_are_written_as_usual() {
        for octet in 0..=255 {
            let address = IpAddr::from([octet, 0, 10, octet]);
            assert_eq!(address_value(address), address.to_string());
        }
        assert_eq!(address_value("2001:db8::1".parse().unwrap()), "2001:db8::1");
    }

    #[test]
    fn neighbours_in_a_64_share_a_key() {
        let key = |text: &str| limit_key(text.parse().unwrap()).to_string();
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::1"));
        assert_eq!(key("::ffff:1.2.3.4"), "1.2.3.4");
    }

    #[test]
    fn the_origin_hears_of_us_what_we_say_and_of_the_client_the_rest() {
        let pass = queue_token::Pass {
            sale: "demo".parse().unwrap(),
            visitor: queue_token::VisitorId::from_bytes([1; 16]),
            id: queue_token::PassId::from_bytes([2; 16]),
            issued_at_s: 1,
            expires_at_s: 2,
        };
        let held = HeldPass::new(pass, "TOKEN");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a"),
            ("accept", "x/y"),
            ("authorization", "Pass TOKEN"),
            ("cookie", "usher_pass_demo=T"),
            ("usher-visitor", "forged"),
            ("usher-new", "forged"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let inbound = headers.clone();
        let told = |pass| Told {
            client: IpAddr::from([1, 2, 3, 4]),
            secure: true,
            request_id: HeaderValue::from_static("id"),
            pass,
        };
        for_origin(&mut headers, &inbound, told(Some(&held)));
        let mut said: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        said.sort_unstable();
        let visitor = held.pass.visitor.to_string();
        let expected = [
            ("accept", "x/y"),
            ("host", "a"),
            ("usher-pass", "TOKEN"),
            ("usher-sale", "demo"),
            ("usher-visitor", visitor.as_str()),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "a"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "id"),
        ];
        assert_eq!(said, expected);
        for_origin(&mut headers, &inbound, told(None));
        assert!(
            headers.keys().all(|name| !name.as_str().starts_with("usher-")),
            "without a pass nothing is said of one"
        );
    }

    #[test]
    fn what_the_origin_says_to_us_stays_here() {
        let mut headers = HeaderMap::new();
        headers.insert("usher-pass", "depart".parse().unwrap());
        headers.insert("usher-other", "x".parse().unwrap());
        headers.insert("etag", "y".parse().unwrap());
        assert_eq!(from_origin(&mut headers, HeaderValue::from_static("id")).unwrap(), "depart");
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!((&headers["etag"], &headers["x-request-id"]), (&"y".parse().unwrap(), &"id".parse().unwrap()));
        assert_eq!(from_origin(&mut headers, HeaderValue::from_static("id")), None);
    }

    #[test]
    fn our_cookies_stay_here() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "a=1; usher_pass_demo=T; usher_buyer=B; __Host-usher_place_demo=P".parse().unwrap());
        assert_eq!(foreign_cookies(&headers).unwrap(), "a=1; usher_buyer=B");
        headers.insert("cookie", "usher_pass_demo=T".parse().unwrap());
        assert_eq!(foreign_cookies(&headers), None);
    }
}
