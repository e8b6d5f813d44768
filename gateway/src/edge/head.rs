//! What a request's head may look like, byte for byte. Pure: bytes in, a fault or nothing out.
//!
//! The rule behind every line: a head that two programs could read differently is refused, since whoever stands behind
//! us may be the other program. So line ends are CRLF, names stand right before their colon, lengths are said once and
//! in one way, and one host is named. What passes here reads the same in every parser that follows the standard.
//!
//! Left out: what the request is about. That is decided on the parsed head, later.

use std::ops::Range;

use crate::config::Limits;

/// Methods that anything here answers.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is no request, or could be read in two ways; says which rule it breaks.
    Malformed(&'static str),
    /// A method that nothing here answers.
    Method,
    /// Longer, or with more fields, than allowed.
    Head,
    /// The body is declared longer than allowed.
    Body,
}

use Fault::Malformed;

/// Where the head ends, if its end has come; bytes before `from` have been looked at by an earlier call.
///
/// # Errors
/// When the bytes so far cannot become a head.
pub fn end(bytes: &[u8], from: usize) -> Result<Option<usize>, Fault> {
    let mut at = from.min(bytes.len());
    loop {
        let i = at + text_length(&bytes[at..]);
        match bytes.get(i) {
            None => return Ok(None),
            Some(b'\r') => {}
            Some(b'\n') if i == 0 || bytes[i - 1] != b'\r' => return Err(Malformed("a line ends without CR")),
            Some(b'\n') if bytes[..=i].ends_with(END) => return Ok(Some(i + 1)),
            Some(b'\n') => {}
            Some(_) => return Err(Malformed("a control byte")),
        }
        at = i + 1;
    }
}

/// The usual case in one look: these bytes are one head that may pass, and nothing else. What is returned is that of
/// [`check`]; `None` says nothing about them.
pub fn whole(bytes: &[u8], limits: &Limits) -> Option<Range<usize>> {
    // A head that ends earlier has an empty line within, and so does not pass.
    if bytes.ends_with(END) { check(bytes, limits).ok() } else { None }
}

/// How a head ends.
const END: &[u8] = b"\r\n\r\n";

/// What may stand in a field's value.
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// How many bytes from the first on may stand in a value. Heads are long and good, so it looks at a block at a time.
fn text_length(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let before = blocks.iter().take_while(|block| holds_only(*block, is_text)).count() * BLOCK;
    before + bytes[before..].iter().take_while(|byte| is_text(**byte)).count()
}

/// What is looked at together.
const BLOCK: usize = 16;

/// Whether every byte is one of those. Looks at all of them without a branch for each.
fn holds_only(bytes: &[u8], may_stand: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |so_far, byte| so_far & may_stand(*byte))
}

/// Where a byte first stands; a block at a time, since lines are long.
pub fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let before = blocks.iter().take_while(|block| holds_only(*block, |byte| byte != wanted)).count() * BLOCK;
    let at = bytes[before..].iter().position(|byte| *byte == wanted)?;
    Some(before + at)
}

/// Whether a value may go out: one that holds nothing else ends no line.
pub fn is_value(bytes: &[u8]) -> bool {
    text_length(bytes) == bytes.len()
}

/// Checks a whole head, from its first byte to the empty line. What is returned is to be cut out of it: the scheme and
/// host of a target that names them, so that everybody behind reads a path; mostly nothing.
///
/// # Errors
/// The first fault.
pub fn check(head: &[u8], limits: &Limits) -> Result<Range<usize>, Fault> {
    if head.len() > limits.head_max_bytes {
        return Err(Fault::Head);
    }
    let text = head.strip_suffix(END).ok_or(Malformed("no empty line"))?;
    let mut rest = Some(text);
    let request = request_line(next_line(&mut rest).unwrap_or(Err(Malformed("no request line")))?)?;
    let mut fields = Fields::default();
    while let Some(line) = next_line(&mut rest) {
        fields.count += 1;
        if fields.count > limits.headers_max {
            return Err(Fault::Head);
        }
        fields.read(line?)?;
    }
    fields.check(&request, limits)?;
    Ok(request.origin)
}

/// The path as it was sent, for the answer to a refused request; empty when there is none to read.
pub fn path(head: &[u8]) -> String {
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let readable = path.len() <= 256 && path.starts_with(b"/") && path.iter().all(u8::is_ascii_graphic);
    if readable { String::from_utf8_lossy(path).into_owned() } else { String::new() }
}

struct Request<'a> {
    /// Version 1.1, not 1.0.
    newer: bool,
    /// The host that an absolute target names.
    authority: Option<&'a [u8]>,
    /// Where in the line that target's scheme and host are.
    origin: Range<usize>,
}

/// Takes the next line off `rest`, which is `None` behind the last.
fn next_line<'a>(rest: &mut Option<&'a [u8]>) -> Option<Result<&'a [u8], Fault>> {
    let bytes = (*rest)?;
    let length = text_length(bytes);
    *rest = match bytes[length..] {
        [] => None,
        [b'\r', b'\n', ref after @ ..] => Some(after),
        [b'\r', ..] => return Some(Err(Malformed("a CR that ends no line"))),
        [b'\n', ..] => return Some(Err(Malformed("a line ends without CR"))),
        _ => return Some(Err(Malformed("a control byte"))),
    };
    Some(Ok(&bytes[..length]))
}

fn request_line(line: &[u8]) -> Result<Request<'_>, Fault> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed("the request line is not method, target, version"));
    };
    if !is_token(method) {
        return Err(Malformed("the method is no word"));
    }
    let newer = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(Malformed("neither HTTP/1.1 nor HTTP/1.0")),
    };
    if !METHODS.iter().any(|known| known.as_bytes() == method) {
        return Err(Fault::Method);
    }
    if !holds_only(target, |byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Malformed("the target holds bytes that belong encoded"));
    }
    let start = method.len() + 1;
    let (origin_bytes, authority) = origin(target)?;
    Ok(Request { newer, authority, origin: start..start + origin_bytes })
}

/// How many bytes of the target are scheme and host, and the host; nothing of either when it is a path.
fn origin(target: &[u8]) -> Result<(usize, Option<&[u8]>), Fault> {
    if target.starts_with(b"/") {
        return Ok((0, None));
    }
    let after = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://")).ok_or(Malformed("the target is no path"))?;
    let slash = rest.iter().position(|byte| *byte == b'/').ok_or(Malformed("the target has no path"))?;
    Ok((target.len() - rest.len() + slash, Some(&rest[..slash])))
}

/// What the fields say that matters for the message's frame.
#[derive(Default)]
struct Fields<'a> {
    count: usize,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    expects: bool,
}

impl<'a> Fields<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), Fault> {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed("a field without a colon"))?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        // A folded line starts with a space, and so has no name either.
        if !is_token(name) {
            return Err(Malformed("a field's name is no word"));
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("host") {
            if self.host.replace(value).is_some() {
                return Err(Malformed("more than one host"));
            }
        } else if is("content-length") {
            if self.length.replace(number(value)?).is_some() {
                return Err(Malformed("more than one length"));
            }
        } else if is("transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") || self.chunked {
                return Err(Malformed("a transfer encoding other than chunked, once"));
            }
            self.chunked = true;
        } else if is("expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") || self.expects {
                return Err(Malformed("an expectation other than 100-continue, once"));
            }
            self.expects = true;
        } else if is("content_length") || is("transfer_encoding") {
            return Err(Malformed("a name that only looks like that of a frame's field"));
        }
        Ok(())
    }

    fn check(&self, request: &Request<'_>, limits: &Limits) -> Result<(), Fault> {
        match (self.host, request.authority) {
            (None, None) if !request.newer => {}
            (None, _) => return Err(Malformed("no host")),
            (Some(host), _) if !is_host(host) => return Err(Malformed("the host is no host")),
            (Some(host), Some(target)) if host != target => return Err(Malformed("host and target disagree")),
            (Some(_), _) => {}
        }
        if self.chunked && self.length.is_some() {
            return Err(Malformed("both a length and a transfer encoding"));
        }
        if self.chunked && !request.newer {
            return Err(Malformed("a transfer encoding in HTTP/1.0"));
        }
        let has_body = self.chunked || self.length.is_some_and(|length| length > 0);
        if self.expects && !(has_body && request.newer) {
            return Err(Malformed("an expectation without a body"));
        }
        if self.length.is_some_and(|length| length > limits.body_max_bytes) {
            return Err(Fault::Body);
        }
        Ok(())
    }
}

/// The value without the spaces and tabs around it, and those only.
fn trim(value: &[u8]) -> &[u8] {
    let solid = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = value.iter().position(solid).unwrap_or(value.len());
    let end = value.iter().rposition(solid).map_or(start, |last| last + 1);
    &value[start..end]
}

fn number(value: &[u8]) -> Result<u64, Fault> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or(Malformed("the length is not one number"))
}

fn is_token(word: &[u8]) -> bool {
    const MAY_STAND: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let marks = b"!#$%&'*+-.^_`|~";
        let mut i = 0;
        while i < marks.len() {
            table[marks[i] as usize] = true;
            i += 1;
        }
        table
    };
    !word.is_empty() && holds_only(word, |byte| MAY_STAND[usize::from(byte)])
}

fn is_host(host: &[u8]) -> bool {
    let may_stand = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    !host.is_empty() && host.iter().all(may_stand)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
