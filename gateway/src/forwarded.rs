//! What a request says about where it comes from, and what the origin is told.
//!
//! Nothing that a client writes into `Usher-*`, `Forwarded` or `X-Forwarded-*` reaches the origin; with trusted
//! proxies before us, the client's address is the one that the outermost of them saw.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::credentials::{CookieStyle, cookies};

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
    HeaderValue::from_bytes(&kept).ok().filter(|_| !kept.is_empty())
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
    fn neighbours_in_a_64_share_a_key() {
        let key = |text: &str| limit_key(text.parse().unwrap()).to_string();
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::1"));
        assert_eq!(key("::ffff:1.2.3.4"), "1.2.3.4");
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
