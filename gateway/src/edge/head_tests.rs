//! The table of heads that pass and heads that do not, and the promise that no bytes make the reading panic.

use proptest::prelude::*;

use super::*;

const GOOD: &str = "GET /events?a=b HTTP/1.1\r\nHost: a.example:8080\r\n\r\n";

fn read(head: &[u8]) -> Result<(), Fault> {
    let limits = Limits::default();
    match end(head, 0)? {
        Some(end) => check(&head[..end], &limits).map(drop),
        None => Err(Malformed("unfinished")),
    }
}

/// A POST with these lines after the host's.
fn post(lines: &str) -> Result<(), Fault> {
    read(format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").as_bytes())
}

#[test]
fn what_clients_write_passes() {
    for head in [
        GOOD,
        "GET / HTTP/1.0\r\n\r\n",
        "HEAD / HTTP/1.1\r\nhost:a\r\nX: \r\ncookie: a=\"b\"; c=d\r\nx-utf8: \u{fc}\r\n\r\n",
        "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\\x;y/%2e%2e//|{}^`\"<> HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    ] {
        assert_eq!(read(head.as_bytes()), Ok(()), "{head:?}");
    }
    for lines in [
        "Content-Length: 5",
        "content-length:\t0 ",
        "Transfer-Encoding: chunked",
        "transfer-encoding:  CHUNKED\t",
        "Content-Length: 5\r\nExpect: 100-Continue",
        "Connection: upgrade\r\nUpgrade: websocket",
    ] {
        assert_eq!(post(lines), Ok(()), "{lines:?}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer_Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 5,5",
        "Content-Length: 5 5",
        "Content-Length: 0x5",
        "Content-Length: 5.",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length : 5",
        "Content_Length: 5",
        "Expect: 100-continue",
        "Content-Length: 0\r\nExpect: 100-continue",
        "Content-Length: 5\r\nExpect: 100-continuex",
        "Content-Length: 5\r\nExpect: 100-continue\r\nExpect: 100-continue",
        "Content-Length: 5\r\nExpect: x, 100-continue",
        "Host: a",
        "Host: b",
        "X: a\0b",
        "X\0: a",
        "no colon",
        ": no name",
        "X(Y): z",
    ] {
        assert!(matches!(post(lines), Err(Malformed(_))), "{lines:?}: {:?}", post(lines));
    }
}

#[test]
fn requests_that_are_none_are_refused() {
    for head in [
        "hello\r\n\r\n",
        "\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
    ] {
        assert!(matches!(read(head.as_bytes()), Err(Malformed(_))), "{head:?}: {:?}", read(head.as_bytes()));
    }
    for method in ["CONNECT", "TRACE", "BREW", "get"] {
        for target in ["/", "a:443", "*"] {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(read(head.as_bytes()), Err(Fault::Method), "{head:?}");
        }
    }
}

#[test]
fn bounds_hold() {
    assert_eq!(post("Content-Length: 1048577"), Err(Fault::Body));
    assert_eq!(post("Content-Length: 1048576"), Ok(()));
    let fields = |n: usize| (0..n).map(|i| format!("x-{i}: y")).collect::<Vec<_>>().join("\r\n");
    assert_eq!(post(&fields(63)), Ok(()));
    assert_eq!(post(&fields(64)), Err(Fault::Head));
    assert_eq!(post(&format!("x: {}", "y".repeat(17_000))), Err(Fault::Head));
}

#[test]
fn scheme_and_host_of_a_target_are_cut_out() {
    for (target, path) in
        [("/x", "/x"), ("http://a/x?y", "/x?y"), ("HTTPS://a//", "//"), ("http://a/http://a/", "/http://a/")]
    {
        let mut head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        head.replace_range(check(head.as_bytes(), &Limits::default()).unwrap(), "");
        assert!(head.starts_with(&format!("GET {path} HTTP")), "{target}: {head}");
    }
}

#[test]
fn the_path_is_told_only_when_it_can_be_read() {
    assert_eq!(path(GOOD.as_bytes()), "/events");
    assert_eq!(path(b"GET /\xff HTTP/1.1\r\n"), "");
    assert_eq!(path(b"hello"), "");
}

/// What passes in one look passes in two, and as the same.
fn is_sound_in_one_look(bytes: &[u8]) -> bool {
    let limits = Limits::default();
    let Some(cut) = whole(bytes, &limits) else { return true };
    end(bytes, 0) == Ok(Some(bytes.len())) && check(bytes, &limits) == Ok(cut)
}

#[test]
fn one_look_takes_a_whole_head_and_nothing_else() {
    let limits = Limits::default();
    assert_eq!(whole(GOOD.as_bytes(), &limits), check(GOOD.as_bytes(), &limits).ok());
    assert_eq!(whole(b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", &limits), Some(4..12));
    for other in [format!("{GOOD}{GOOD}"), format!("{GOOD}x"), format!("{GOOD}\r\n\r\n"), GOOD.replace("Host", "X")] {
        assert_eq!(whole(other.as_bytes(), &limits), None, "{other:?}");
    }
}

#[test]
fn bytes_are_found_wherever_they_stand() {
    for length in 0..70 {
        let line = "x".repeat(length);
        assert!(is_value(line.as_bytes()), "{length}");
        assert_eq!(position(line.as_bytes(), b';'), None, "{length}");
        for at in 0..length {
            let mut bytes = line.clone().into_bytes();
            bytes[at] = b';';
            assert!(position(&bytes, b';') == Some(at) && is_value(&bytes), "{at} of {length}");
            for control in [0, b'\r', b'\n', 0x1f, 0x7f] {
                bytes[at] = control;
                assert!(text_length(&bytes) == at && !is_value(&bytes), "{control} at {at} of {length}");
            }
            bytes[at] = b'\t';
            assert!(is_value(&bytes), "a tab at {at} of {length}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = check(&bytes, &Limits::default());
        let _ = path(&bytes);
    }

    /// Near-requests go deeper than random bytes do.
    #[test]
    fn no_near_request_makes_it_panic(
        parts in proptest::collection::vec(
            prop::sample::select(vec![
                "GET", "POST", " ", "/", "http://", "a", "HTTP/1.1", "HTTP/1.0", "\r\n", "\r\n\r\n", "\r", "\n", ":", "Host: a",
                "Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue", "\0", ",", "\u{fc}", "\t",
            ]),
            0..40,
        ),
    ) {
        let bytes = parts.concat().into_bytes();
        let _ = read(&bytes);
        prop_assert!(is_sound_in_one_look(&bytes));
        let _ = check(&bytes, &Limits::default());
        let _ = path(&bytes);
    }

    /// Wherever the network cuts, the end is found in the same place.
    #[test]
    fn the_end_is_the_same_in_pieces(cut in 0..GOOD.len()) {
        let bytes = GOOD.as_bytes();
        prop_assert_eq!(end(&bytes[..cut], 0), Ok(None));
        prop_assert_eq!(end(bytes, cut), Ok(Some(bytes.len())));
    }
}
