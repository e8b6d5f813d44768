//! Signatures of provider callbacks: `t=SECONDS,v1=HEX[,v1=HEX…]`, as Stripe sends them.
//!
//! A signature is HMAC-SHA256 over `SECONDS.` and the raw bytes of the body, so the body must not be parsed and
//! written anew before. Several `v1` stand there while a secret is being changed; any one of them will do. Pure:
//! the time is passed in. Whether a callback was seen before is told by its event id, not here.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// How far the time of a signature may be from ours, in seconds, either way.
pub const TOLERANCE_S: i64 = 300;
/// Longest header that is looked at, and how many signatures of it.
const LONGEST_HEADER_BYTES: usize = 4096;
const MOST_SIGNATURES: usize = 8;

/// Why a callback is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no header of that name, or it is not text.
    #[error("the signature is missing")]
    Missing,
    /// The header does not have the form `t=…,v1=…`.
    #[error("the signature is malformed")]
    Malformed,
    /// No signature of it is by our secret over these bytes.
    #[error("the signature does not match")]
    Mismatch,
    /// Signed by our secret, but too long ago or too far ahead.
    #[error("the signature is {off_s} s from now")]
    Stale {
        /// Seconds between its time and ours; negative when it lies ahead.
        off_s: i64,
    },
}

/// Checks the body `raw` by the signature in the header `name`, see [`check`].
///
/// # Errors
/// When the callback is not to be believed.
pub fn check_header(
    headers: &HeaderMap,
    name: &str,
    raw: &[u8],
    secret: &SecretString,
    now_s: i64,
) -> Result<(), SignatureError> {
    let header = headers.get(name).and_then(|value| value.to_str().ok()).ok_or(SignatureError::Missing)?;
    check(header, raw, secret, now_s)
}

/// Checks the signature `header` of the body `raw` at the time `now_s`, in constant time per signature.
///
/// # Errors
/// When the callback is not to be believed.
pub fn check(header: &str, raw: &[u8], secret: &SecretString, now_s: i64) -> Result<(), SignatureError> {
    let Parsed { signed_at, signed_at_s, signatures } = parse(header)?;
    let mut mac = keyed(secret);
    mac.update(signed_at.as_bytes());
    mac.update(b".");
    mac.update(raw);
    // Every signature is compared to its end.
    let matches = signatures.iter().filter(|signature| mac.clone().verify_slice(*signature).is_ok()).count();
    if matches == 0 {
        return Err(SignatureError::Mismatch);
    }
    // Judged last, so that only who knows the secret learns anything about our clock.
    let off_s = now_s.saturating_sub(signed_at_s);
    if off_s.saturating_abs() > TOLERANCE_S {
        return Err(SignatureError::Stale { off_s });
    }
    Ok(())
}

fn keyed(secret: &SecretString) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret.expose_secret().as_bytes()).expect("HMAC takes keys of any length")
}

struct Parsed<'a> {
    /// As it was written: that is what was signed.
    signed_at: &'a str,
    signed_at_s: i64,
    signatures: Vec<[u8; 32]>,
}

fn parse(header: &str) -> Result<Parsed<'_>, SignatureError> {
    if header.len() > LONGEST_HEADER_BYTES {
        return Err(SignatureError::Malformed);
    }
    let (mut signed_at, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        let (key, value) = part.trim().split_once('=').ok_or(SignatureError::Malformed)?;
        match key {
            "t" if signed_at.is_some() => return Err(SignatureError::Malformed),
            "t" => signed_at = Some(value),
            "v1" if signatures.len() == MOST_SIGNATURES => return Err(SignatureError::Malformed),
            "v1" => signatures.push(from_hex(value).ok_or(SignatureError::Malformed)?),
            // Schemes that we do not know do not count.
            _ => {}
        }
    }
    let signed_at = signed_at.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let signed_at = signed_at.ok_or(SignatureError::Malformed)?;
    let signed_at_s = signed_at.parse().map_err(|_| SignatureError::Malformed)?;
    if signatures.is_empty() {
        return Err(SignatureError::Malformed);
    }
    Ok(Parsed { signed_at, signed_at_s, signatures })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const NOW_S: i64 = 1_700_000_000;
    // printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
    const SIGNED: &str = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";

    fn secret() -> SecretString {
        "whsec_test".into()
    }

    fn header(t: &str, signatures: &[&str]) -> String {
        signatures.iter().fold(format!("t={t}"), |header, signature| format!("{header},v1={signature}"))
    }

    #[test]
    fn what_was_signed_elsewhere_is_believed() {
        let other = "00".repeat(32);
        let upper = SIGNED.to_uppercase();
        for header in [
            header("1700000000", &[SIGNED]),
            header("1700000000", &[&upper]),
            header("1700000000", &[&other, SIGNED]),
            format!("t=1700000000, v1={SIGNED}"),
            format!("v0=whatever,v1={SIGNED},t=1700000000"),
        ] {
            assert_eq!(check(&header, BODY, &secret(), NOW_S), Ok(()), "{header}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let (good, other) = (header("1700000000", &[SIGNED]), "00".repeat(32));
        let truncated = &SIGNED[..62];
        let many = vec![SIGNED; MOST_SIGNATURES + 1];
        let long = format!("{good},x={}", "y".repeat(LONGEST_HEADER_BYTES));
        for (header, expected) in [
            ("", SignatureError::Malformed),
            ("t=1700000000", SignatureError::Malformed),
            (&header("", &[SIGNED]), SignatureError::Malformed),
            (&header("-1700000000", &[SIGNED]), SignatureError::Malformed),
            (&header("+1700000000", &[SIGNED]), SignatureError::Malformed),
            (&header("99999999999999999999", &[SIGNED]), SignatureError::Malformed),
            (&header("1700000000", &[truncated]), SignatureError::Malformed),
            (&header("1700000000", &["zz"]), SignatureError::Malformed),
            (&header("1700000000", &many), SignatureError::Malformed),
            (&format!("{good},t=1700000000"), SignatureError::Malformed),
            (&format!("{good},nonsense"), SignatureError::Malformed),
            (&long, SignatureError::Malformed),
            (&format!("v1={SIGNED}"), SignatureError::Malformed),
            (&header("1700000000", &[&other]), SignatureError::Mismatch),
            // The same second, written otherwise, is not what was signed.
            (&header("01700000000", &[SIGNED]), SignatureError::Mismatch),
            (&header("1700000001", &[SIGNED]), SignatureError::Mismatch),
        ] {
            assert_eq!(check(header, BODY, &secret(), NOW_S), Err(expected), "{header}");
        }
        assert_eq!(check(&good, br#"{"id": "evt_1"}"#, &secret(), NOW_S), Err(SignatureError::Mismatch));
        assert_eq!(check(&good, BODY, &"whsec_other".into(), NOW_S), Err(SignatureError::Mismatch));
    }

    #[test]
    fn the_time_counts_in_both_directions_and_to_the_second() {
        let good = header("1700000000", &[SIGNED]);
        for (now_s, expected) in [
            (NOW_S + TOLERANCE_S, Ok(())),
            (NOW_S - TOLERANCE_S, Ok(())),
            (NOW_S + TOLERANCE_S + 1, Err(SignatureError::Stale { off_s: TOLERANCE_S + 1 })),
            (NOW_S - TOLERANCE_S - 1, Err(SignatureError::Stale { off_s: -TOLERANCE_S - 1 })),
            (i64::MIN, Err(SignatureError::Stale { off_s: i64::MIN })),
        ] {
            assert_eq!(check(&good, BODY, &secret(), now_s), expected, "{now_s}");
        }
        // Who does not know the secret learns nothing of the clock.
        let forged = header("1600000000", &[SIGNED]);
        assert_eq!(check(&forged, BODY, &secret(), NOW_S), Err(SignatureError::Mismatch));
    }
}
