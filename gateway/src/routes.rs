//! Which path belongs to what: our own routes, a guarded path of a sale, or neither.
//!
//! Guards are matched on a normalised path that is never narrower than what an origin could make of the same bytes:
//! percent-encoding undone, case folded, empty segments dropped, `;parameters` cut, backslashes turned, and dot segments
//! once resolved and once left as they stand. So no spelling slips past a guard; the origin still receives the path as
//! it was sent. A guard on `hosts` needs an origin that tells hosts apart.

use std::borrow::Cow;

use http::Method;
use queue::settings::GuardedPath;
use queue_token::SaleId;

/// Where our own routes live.
pub const OWN_PREFIX: &str = "/_usher";

/// A route of our own, as CONTRACT names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnRoute {
    /// `POST /_usher/sales/{sale}/join`
    Join(SaleId),
    /// `GET /_usher/sales/{sale}/place`
    Place(SaleId),
    /// `DELETE /_usher/sales/{sale}/place`
    Leave(SaleId),
    /// `POST /_usher/sales/{sale}/place/code`
    Offer(SaleId),
    /// `GET /_usher/sales/{sale}/return`
    Arrive(SaleId),
    /// `POST /_usher/sales/{sale}/return`
    Take(SaleId),
    /// `GET /_usher/sales/{sale}`
    Status(SaleId),
    /// `GET /_usher/keys`
    Keys,
    /// The path is ours, the method is not: answers 405 with what is allowed.
    MethodNotAllowed(&'static str),
    /// Below our prefix, but nothing there.
    NotFound,
}

/// No route of ours has more parts.
const PARTS_MAX: usize = 4;

/// Reads a route of our own; `None` when the path lies elsewhere.
pub fn own_route(method: &Method, path: &str) -> Option<OwnRoute> {
    let rest = path.strip_prefix(OWN_PREFIX)?;
    if !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let get = method == Method::GET || method == Method::HEAD;
    let (mut parts, mut length) = ([""; PARTS_MAX], 0);
    for part in rest.split('/').skip(1) {
        let Some(free) = parts.get_mut(length) else { return Some(OwnRoute::NotFound) };
        *free = part;
        length += 1;
    }
    Some(match &parts[..length] {
        ["keys"] if get => OwnRoute::Keys,
        ["keys"] => OwnRoute::MethodNotAllowed("GET, HEAD"),
        ["sales", sale, tail @ ..] => match (sale.parse::<SaleId>(), tail) {
            (Err(_), _) => OwnRoute::NotFound,
            (Ok(sale), []) if get => OwnRoute::Status(sale),
            (Ok(_), []) => OwnRoute::MethodNotAllowed("GET, HEAD"),
            (Ok(sale), ["join"]) if method == Method::POST => OwnRoute::Join(sale),
            (Ok(_), ["join"]) => OwnRoute::MethodNotAllowed("POST"),
            (Ok(sale), ["place"]) if get => OwnRoute::Place(sale),
            (Ok(sale), ["place"]) if method == Method::DELETE => OwnRoute::Leave(sale),
            (Ok(_), ["place"]) => OwnRoute::MethodNotAllowed("GET, HEAD, DELETE"),
            (Ok(sale), ["place", "code"]) if method == Method::POST => OwnRoute::Offer(sale),
            (Ok(_), ["place", "code"]) => OwnRoute::MethodNotAllowed("POST"),
            (Ok(sale), ["return"]) if get => OwnRoute::Arrive(sale),
            (Ok(sale), ["return"]) if method == Method::POST => OwnRoute::Take(sale),
            (Ok(_), ["return"]) => OwnRoute::MethodNotAllowed("GET, HEAD, POST"),
            _ => OwnRoute::NotFound,
        },
        _ => OwnRoute::NotFound,
    })
}

/// The guards of one sale, ready to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    hosts: Vec<String>,
    paths: Vec<(Vec<Cow<'static, str>>, Vec<String>)>,
}

impl Guards {
    /// Prepares a sale's settings.
    pub fn new(hosts: &[String], paths: &[GuardedPath]) -> Self {
        Self {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            paths: paths.iter().map(|guarded| (owned(segments(&guarded.path)), guarded.methods.clone())).collect(),
        }
    }

    /// How many segments of the longest guard that matches; `None` when none does. `path` comes from [`segments`].
    pub fn matches(&self, host: &str, method: &Method, path: &[Cow<'_, str>]) -> Option<usize> {
        // A HEAD tells as much as a GET.
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        self.longest(host, Some(method), path)
    }

    /// The same, whatever the method.
    pub fn speaks_of(&self, host: &str, path: &[Cow<'_, str>]) -> Option<usize> {
        self.longest(host, None, path)
    }

    fn longest(&self, host: &str, method: Option<&str>, path: &[Cow<'_, str>]) -> Option<usize> {
        if !self.hosts.is_empty() && !self.is_on(host) {
            return None;
        }
        self.paths
            .iter()
            .filter(|(guard, methods)| {
                path.starts_with(guard)
                    && (methods.is_empty() || method.is_none_or(|method| methods.iter().any(|m| m == method)))
            })
            .map(|(guard, _)| guard.len())
            .max()
    }

    fn is_on(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let host =
            host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |h| h.0);
        self.hosts.iter().any(|guarded| guarded.eq_ignore_ascii_case(host))
    }
}

/// The ways in which an origin could read a path: with dot segments resolved, and as they stand. Without a dot, written
/// out or encoded, they are one.
pub fn readings(path: &str) -> Vec<Vec<Cow<'_, str>>> {
    if is_plain(path) {
        return vec![path.split('/').filter(|part| !part.is_empty()).map(Cow::Borrowed).collect()];
    }
    let may_hold_dots = path.bytes().any(|byte| matches!(byte, b'.' | b'%'));
    if may_hold_dots { vec![segments(path), unresolved(path)] } else { vec![segments(path)] }
}

/// Whether there is nothing to undo, fold, cut, turn or resolve. Most paths are so.
fn is_plain(path: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase() && !matches!(byte, b'%' | b'.' | b';' | b'\\');
    path.bytes().fold(true, |so_far, byte| so_far & is_plain(byte))
}

fn unresolved(path: &str) -> Vec<Cow<'_, str>> {
    let decoded = decode_percent(path);
    let parts = decoded.split(['/', '\\']).map(|part| part.split(';').next().unwrap_or_default());
    parts.filter(|part| !part.is_empty()).map(|part| Cow::Owned(part.to_lowercase())).collect()
}

/// The normalised segments of a path.
pub fn segments(path: &str) -> Vec<Cow<'_, str>> {
    let decoded = decode_percent(path);
    let mut kept: Vec<Cow<'_, str>> = Vec::new();
    for segment in decoded.split(['/', '\\']) {
        let segment = segment.split(';').next().unwrap_or_default();
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ if segment.is_ascii() => kept.push(Cow::Owned(segment.to_ascii_lowercase())),
            _ => kept.push(Cow::Owned(segment.to_lowercase())),
        }
    }
    kept
}

fn owned(segments: Vec<Cow<'_, str>>) -> Vec<Cow<'static, str>> {
    segments.into_iter().map(|segment| Cow::Owned(segment.into_owned())).collect()
}

/// Undoes percent-encoding once; what is no valid encoding stays as it is.
fn decode_percent(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let value = (bytes[i] == b'%').then(|| bytes.get(i + 1..i + 3)).flatten().and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        match value {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The fields of a form, decoded.
pub fn form_fields(body: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| decode_percent(&text.replace('+', " ")).into_owned();
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// The event a path speaks of, if any: requests for one event go to one origin node.
pub fn event_of(path: &str) -> Option<&str> {
    let mut parts = path.split('/').skip(1).skip_while(|part| *part == "v1");
    (parts.next() == Some("events")).then(|| parts.next()).flatten().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(path: &str, methods: &[&str]) -> Guards {
        let methods = methods.iter().map(ToString::to_string).collect();
        Guards::new(&[], &[GuardedPath { path: path.to_owned(), methods }])
    }

    #[test]
    fn no_spelling_slips_past_a_guard() {
        let guards = guard("/v1/events/demo-arena/holds", &[]);
        for path in [
            "/v1/events/demo-arena/holds",
            "/v1/events/demo-arena/holds/",
            "/v1/events/demo-arena/holds/123",
            "/V1/Events/DEMO-ARENA/holds",
            "//v1///events/demo-arena/holds",
            "/v1/events/demo%2Darena/holds",
            "/v1/events/demo-arena%2fholds",
            "/v1/x/../events/demo-arena/./holds",
            "/v1/x/%2e%2e/events/demo-arena/holds",
            "/v1/events;a=b/demo-arena/holds;x",
            "/v1\\events\\demo-arena\\holds",
        ] {
            assert!(guards.matches("h", &Method::POST, &segments(path)).is_some(), "{path}");
        }
        let dots = "/v1/events/demo-arena/holds/%2e%2e/..";
        let held = readings(dots).iter().any(|path| guards.matches("h", &Method::POST, path).is_some());
        assert!(held, "an origin that resolves no dots sees it below the guard");
        for path in ["/", "/v1/events/demo-arena", "/v1/events/demo-arena/holdsx", "/v1/events/demo-club/holds"] {
            assert!(guards.matches("h", &Method::POST, &segments(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn a_plain_path_is_read_as_any_other() {
        for path in ["/", "", "//", "/events/demo-arena/~x_y/", "/v1//events/0", "/a b/\u{7f}"] {
            assert!(is_plain(path), "{path}");
            assert_eq!(readings(path), [segments(path)], "{path}");
            assert_eq!(readings(path), [unresolved(path)], "{path}");
        }
        for path in ["/A", "/a%62", "/./a", "/a;b", "/a\\b", "/\u{212a}", "/\u{e9}"] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn methods_and_hosts_narrow_a_guard() {
        let guards = guard("/holds", &["POST", "GET"]);
        let path = segments("/holds");
        assert!(guards.matches("h", &Method::POST, &path).is_some());
        assert!(guards.matches("h", &Method::HEAD, &path).is_some(), "HEAD counts as GET");
        assert!(guards.matches("h", &Method::DELETE, &path).is_none());
        let guards = Guards { hosts: vec!["shop.example".into()], ..guards };
        assert!(guards.matches("Shop.Example:8080", &Method::POST, &path).is_some());
        assert!(guards.matches("other.example", &Method::POST, &path).is_none());
    }

    #[test]
    fn own_routes_are_read_with_their_methods() {
        let demo: SaleId = "demo".parse().unwrap();
        let cases = [
            (Method::POST, "/_usher/sales/demo/join", Some(OwnRoute::Join(demo.clone()))),
            (Method::GET, "/_usher/sales/demo/place", Some(OwnRoute::Place(demo.clone()))),
            (Method::DELETE, "/_usher/sales/demo/place", Some(OwnRoute::Leave(demo.clone()))),
            (Method::POST, "/_usher/sales/demo/place/code", Some(OwnRoute::Offer(demo.clone()))),
            (Method::GET, "/_usher/sales/demo/place/code", Some(OwnRoute::MethodNotAllowed("POST"))),
            (Method::GET, "/_usher/sales/demo/return", Some(OwnRoute::Arrive(demo.clone()))),
            (Method::POST, "/_usher/sales/demo/return", Some(OwnRoute::Take(demo.clone()))),
            (Method::DELETE, "/_usher/sales/demo/return", Some(OwnRoute::MethodNotAllowed("GET, HEAD, POST"))),
            (Method::GET, "/_usher/sales/demo", Some(OwnRoute::Status(demo))),
            (Method::GET, "/_usher/keys", Some(OwnRoute::Keys)),
            (Method::GET, "/_usher/sales/demo/join", Some(OwnRoute::MethodNotAllowed("POST"))),
            (Method::GET, "/_usher/sales/De mo", Some(OwnRoute::NotFound)),
            (Method::GET, "/_usher/", Some(OwnRoute::NotFound)),
            (Method::POST, "/_usher/sales/demo/place/code/", Some(OwnRoute::NotFound)),
            (Method::GET, "/_usher/sales/demo/place/code/x/y", Some(OwnRoute::NotFound)),
            (Method::GET, "/_usherx", None),
            (Method::GET, "/events", None),
        ];
        for (method, path, expected) in cases {
            assert_eq!(own_route(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_event_of_a_path() {
        for (path, event) in [
            ("/v1/events/demo/holds", Some("demo")),
            ("/events/demo", Some("demo")),
            ("/v1/events", None),
            ("/v1/bookings", None),
            ("/", None),
        ] {
            assert_eq!(event_of(path), event, "{path}");
        }
    }
}
