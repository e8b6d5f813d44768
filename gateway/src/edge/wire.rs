//! An answer of ours as HTTP/1.1 bytes.

use http::StatusCode;
use pingora::protocols::http::date::get_cached_date;

use super::head::is_value;
use crate::room::Answer;

/// Room for a usual head.
const HEAD_USUAL_BYTES: usize = 1024;

/// The bytes; without the body in answer to a `HEAD`. `None` when a header field holds what none may hold.
pub fn on_the_wire(answer: &Answer, bare: bool, last: bool) -> Option<Vec<u8>> {
    let status = StatusCode::from_u16(answer.status).ok()?;
    let mut bytes = Vec::with_capacity(HEAD_USUAL_BYTES + answer.body.len());
    for part in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    for (name, value) in &answer.headers {
        if !is_value(value.as_bytes()) {
            return None;
        }
        field(&mut bytes, name, value.as_bytes());
    }
    // RFC 9110 §8.6: a 204 says nothing about a length.
    if status != StatusCode::NO_CONTENT {
        field(&mut bytes, "content-length", answer.body.len().to_string().as_bytes());
    }
    field(&mut bytes, "date", get_cached_date().as_bytes());
    field(&mut bytes, "connection", if last { b"close" } else { b"keep-alive" });
    bytes.extend_from_slice(b"\r\n");
    if !bare {
        bytes.extend_from_slice(&answer.body);
    }
    Some(bytes)
}

fn field(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn text(answer: &Answer, bare: bool, last: bool) -> String {
        String::from_utf8(on_the_wire(answer, bare, last).unwrap()).unwrap()
    }

    #[test]
    fn an_answer_is_a_head_and_a_body_of_the_length_it_says() {
        let answer = Answer::new(200, "text/plain", Bytes::from_static(b"hello")).header("retry-after", "5");
        let whole = text(&answer, false, false);
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"), "{head}");
        for line in ["cache-control: no-store", "retry-after: 5", "content-length: 5", "connection: keep-alive"] {
            assert!(head.lines().any(|known| known == line), "{line} in {head}");
        }
        assert!(head.contains("\r\ndate: ") && head.ends_with("keep-alive"), "{head}");
        assert_eq!(body, "hello");
        let bare = text(&answer, true, true);
        assert!(bare.contains("content-length: 5\r\n") && bare.contains("connection: close\r\n"), "{bare}");
        assert!(bare.ends_with("\r\n\r\n"), "{bare}");
    }

    #[test]
    fn a_204_has_no_length_and_no_value_ends_its_line() {
        let left = text(&Answer::empty(204).header("set-cookie", "a").header("set-cookie", "b"), false, false);
        assert!(left.starts_with("HTTP/1.1 204 No Content\r\n") && !left.contains("content-length"), "{left}");
        assert_eq!(left.matches("set-cookie: ").count(), 2);
        for bad in ["a\r\nb: c", "a\nb", "a\0", "a\x7f"] {
            assert_eq!(on_the_wire(&Answer::empty(200).header("location", bad), false, false), None, "{bad:?}");
        }
    }
}
