//! Bounds on a request's head and declared body. Pure: the proxy answers what is said here.

use http::Method;
use http::request::Parts;

use crate::config::Limits;

/// Why a request is refused before anything else looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfBounds {
    /// The head is longer, or has more fields, than allowed: 431.
    Head,
    /// The body is declared longer than allowed: 413.
    Body,
    /// A method that nothing here answers: 405.
    Method,
    /// The declared length is no number, or given twice with different values: 400.
    Length,
    /// More than one `Host`: 400.
    Host,
}

/// Checks a request's head.
///
/// # Errors
/// The first bound that it breaks.
pub fn check(head: &Parts, limits: &Limits) -> Result<(), OutOfBounds> {
    let path_bytes = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let head_bytes =
        path_bytes + head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    if head_bytes > limits.head_max_bytes || head.headers.len() > limits.headers_max {
        return Err(OutOfBounds::Head);
    }
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    if !known.contains(&head.method) {
        return Err(OutOfBounds::Method);
    }
    if head.headers.get_all(http::header::HOST).iter().count() > 1 {
        return Err(OutOfBounds::Host);
    }
    let mut declared = None;
    for value in head.headers.get_all(http::header::CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let length = digits.and_then(|text| text.parse::<u64>().ok()).ok_or(OutOfBounds::Length)?;
        if declared.is_some_and(|known| known != length) {
            return Err(OutOfBounds::Length);
        }
        declared = Some(length);
    }
    if declared.is_some_and(|length| length > limits.body_max_bytes) {
        return Err(OutOfBounds::Body);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn checked(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Result<(), OutOfBounds> {
        let (head, ()) = build(Request::builder().uri("/")).body(()).unwrap().into_parts();
        check(&head, &Limits::default())
    }

    #[test]
    fn bounds_hold() {
        assert_eq!(checked(|r| r), Ok(()));
        assert_eq!(checked(|r| r.header("x", "y".repeat(16 * 1024))), Err(OutOfBounds::Head));
        assert_eq!(checked(|r| (0..65).fold(r, |r, i| r.header(format!("x-{i}"), "y"))), Err(OutOfBounds::Head));
        assert_eq!(checked(|r| r.uri(format!("/{}", "a".repeat(17_000)))), Err(OutOfBounds::Head));
        assert_eq!(checked(|r| r.method("TRACE")), Err(OutOfBounds::Method));
        assert_eq!(checked(|r| r.method("BREW")), Err(OutOfBounds::Method));
        assert_eq!(checked(|r| r.header("content-length", "1048577")), Err(OutOfBounds::Body));
        for bad in ["+5", "0x5", "5,5", "", "-1", "99999999999999999999"] {
            assert_eq!(checked(|r| r.header("content-length", bad)), Err(OutOfBounds::Length), "{bad:?}");
        }
        assert_eq!(
            checked(|r| r.header("content-length", "5").header("content-length", "6")),
            Err(OutOfBounds::Length)
        );
        assert_eq!(checked(|r| r.header("host", "a").header("host", "b")), Err(OutOfBounds::Host));
    }
}
