//! Goal: the tokens stay what other languages were told they are, and nothing else is taken for one.
//! Method: `vectors.json` holds keys, tokens and verdicts that any JWT library can check; the same file is
//! checked here, bit flips and forgeries included. HMAC and Ed25519 signatures are deterministic, so the
//! tokens are compared byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use queue_token::{
    Device, Keyring, KeyringFile, Pass, PassId, PassVerifier, Place, SaleId, Score, TokenError, VisitorId,
};
use serde_json::{Value, json};

const NOW_S: u64 = 1_800_000_000;

fn keyring() -> (KeyringFile, Keyring) {
    let mut entropy = [0u8; 64];
    for (i, byte) in entropy.iter_mut().enumerate() {
        *byte = i as u8;
    }
    let file = KeyringFile::generate(1_700_000_000, &entropy);
    let ring = Keyring::new(&file, NOW_S).unwrap();
    (file, ring)
}

fn place() -> Place {
    Place {
        sale: "demo".parse().unwrap(),
        visitor: VisitorId::from_bytes(*b"visitor-00000001"),
        score: Score::new(1_800_000_000_000_123).unwrap(),
        device: Device::FIRST,
        issued_at_s: NOW_S,
        expires_at_s: NOW_S + 86_400,
    }
}

fn pass() -> Pass {
    Pass {
        sale: "demo".parse().unwrap(),
        visitor: VisitorId::from_bytes(*b"visitor-00000001"),
        id: PassId::from_bytes(*b"pass-00000000001"),
        issued_at_s: NOW_S,
        expires_at_s: NOW_S + 600,
    }
}

/// The same place on the visitor's second device.
fn moved_place() -> Place {
    Place { device: Device::new(1).unwrap(), ..place() }
}

/// Signs any header and claims with the vectors' own HMAC secret.
fn forge(header: &Value, claims: &Value) -> String {
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut secret = [0u8; 32];
    for (i, byte) in secret.iter_mut().enumerate() {
        *byte = i as u8;
    }
    let key = jsonwebtoken::EncodingKey::from_secret(&secret);
    let mac = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{signed}.{mac}")
}

#[test]
fn published_vectors_hold() {
    let (file, ring) = keyring();
    let made = json!({
        "now_s": NOW_S,
        "keys": serde_json::from_str::<Value>(&file.to_json().unwrap()).unwrap(),
        "jwks": serde_json::from_str::<Value>(&ring.jwks_json(NOW_S)).unwrap(),
        "place": ring.sign_place(&place(), NOW_S).unwrap(),
        "place_moved": ring.sign_place(&moved_place(), NOW_S).unwrap(),
        "pass": ring.sign_pass(&pass(), NOW_S).unwrap(),
    });
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors.json");
    if std::env::var_os("WRITE_VECTORS").is_some() {
        std::fs::write(path, format!("{made:#}\n")).unwrap();
    }
    let published: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(made, published, "tokens changed: other languages rely on tests/vectors.json");
}

#[test]
fn what_was_signed_is_read_back() {
    let (_, ring) = keyring();
    let token = ring.sign_place(&place(), NOW_S).unwrap();
    assert_eq!(ring.verify_place(&token, NOW_S), Ok(place()));
    let token = ring.sign_place(&moved_place(), NOW_S).unwrap();
    assert_eq!(ring.verify_place(&token, NOW_S), Ok(moved_place()));
    let token = ring.sign_pass(&pass(), NOW_S).unwrap();
    assert_eq!(ring.verify_pass(&token, NOW_S), Ok(pass()));
    let published = PassVerifier::from_jwks_json(&ring.jwks_json(NOW_S)).unwrap();
    assert_eq!(published.verify(&token, NOW_S), Ok(pass()));
}

#[test]
fn expiry_is_judged_by_the_time_passed_in() {
    let (_, ring) = keyring();
    let token = ring.sign_pass(&pass(), NOW_S).unwrap();
    assert!(ring.verify_pass(&token, NOW_S + 601).is_ok(), "two seconds of leeway");
    assert_eq!(ring.verify_pass(&token, NOW_S + 602), Err(TokenError::Expired));
    assert_eq!(ring.verify_pass(&token, NOW_S - 3), Err(TokenError::NotYetValid));
}

#[test]
fn any_flipped_bit_is_refused() {
    let (_, ring) = keyring();
    for token in [ring.sign_place(&place(), NOW_S).unwrap(), ring.sign_pass(&pass(), NOW_S).unwrap()] {
        for index in 0..token.len() {
            for bit in 0..7 {
                let mut bytes = token.clone().into_bytes();
                bytes[index] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                assert!(ring.verify_place(&changed, NOW_S).is_err(), "place, byte {index} bit {bit}");
                assert!(ring.verify_pass(&changed, NOW_S).is_err(), "pass, byte {index} bit {bit}");
            }
        }
    }
}

#[test]
fn one_kind_is_never_taken_for_the_other() {
    let (_, ring) = keyring();
    let place = ring.sign_place(&place(), NOW_S).unwrap();
    let pass = ring.sign_pass(&pass(), NOW_S).unwrap();
    assert!(ring.verify_pass(&place, NOW_S).is_err());
    assert!(ring.verify_place(&pass, NOW_S).is_err());
}

#[test]
fn forged_headers_and_claims_are_refused() {
    let (_, ring) = keyring();
    let header = json!({"typ": "usher-place+jwt", "alg": "HS256", "kid": "place-1700000000"});
    let claims = json!({"iss": "usher", "aud": "usher-gateway", "sub": place().visitor.to_string(), "sale": "demo",
        "scr": 5, "iat": NOW_S, "exp": NOW_S + 60});
    assert!(ring.verify_place(&forge(&header, &claims), NOW_S).is_ok(), "the forger's own baseline is valid");

    let with = |base: &Value, key: &str, value: Value| {
        let mut changed = base.clone();
        changed[key] = value;
        changed
    };
    let headers = [
        ("alg", json!("none")),
        ("alg", json!("HS512")),
        ("alg", json!("EdDSA")),
        ("typ", json!("JWT")),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!(7)),
        ("crit", json!(["exp"])),
    ];
    for (key, value) in headers {
        let token = forge(&with(&header, key, value.clone()), &claims);
        assert!(ring.verify_place(&token, NOW_S).is_err(), "header {key}={value}");
    }
    let bad_claims = [
        ("exp", json!("9999999999")),
        ("exp", json!(1.5)),
        ("exp", json!(-1)),
        ("iat", json!(null)),
        ("scr", json!(9_007_199_254_740_992u64)),
        ("scr", json!(-5)),
        ("dev", json!(1024)),
        ("dev", json!(-1)),
        ("dev", json!("1")),
        ("aud", json!("usher-origin")),
        ("iss", json!("somebody")),
        ("sale", json!("Demo")),
        ("sub", json!("short")),
    ];
    for (key, value) in bad_claims {
        let token = forge(&header, &with(&claims, key, value.clone()));
        assert!(ring.verify_place(&token, NOW_S).is_err(), "claim {key}={value}");
    }
    for missing in ["exp", "iat", "sub", "sale", "scr", "aud", "iss"] {
        let mut less = claims.clone();
        less.as_object_mut().unwrap().remove(missing);
        assert!(ring.verify_place(&forge(&header, &less), NOW_S).is_err(), "claim {missing} missing");
    }
    let duplicate = claims.to_string().replacen("{", "{\"exp\":1,", 1);
    let part = |s: &str| URL_SAFE_NO_PAD.encode(s);
    let raw = format!("{}.{}.x", part(&header.to_string()), part(&duplicate));
    assert!(ring.verify_place(&raw, NOW_S).is_err());
    assert_eq!(ring.verify_place(&"a".repeat(4096), NOW_S), Err(TokenError::TooLong));
    for junk in ["", ".", "..", "a.b.c", "....", "\u{0}"] {
        assert!(ring.verify_place(junk, NOW_S).is_err(), "{junk:?}");
    }
}

#[test]
fn the_public_key_is_no_hmac_secret() {
    let (_, ring) = keyring();
    let jwks: Value = serde_json::from_str(&ring.jwks_json(NOW_S)).unwrap();
    let public = URL_SAFE_NO_PAD.decode(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.typ = Some("usher-pass+jwt".to_owned());
    header.kid = Some("pass-1700000000".to_owned());
    let claims = json!({"iss": "usher", "aud": "usher-origin", "sub": place().visitor.to_string(), "sale": "demo",
        "jti": place().visitor.to_string(), "iat": NOW_S, "exp": NOW_S + 60});
    let key = jsonwebtoken::EncodingKey::from_secret(&public);
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    assert_eq!(ring.verify_pass(&token, NOW_S), Err(TokenError::Malformed("algorithm")));
}

#[test]
fn rotation_overlaps() {
    let (file, old) = keyring();
    let file = file.rotated(NOW_S + 60, NOW_S + 1_000, &[9u8; 64]);
    let ring = Keyring::new(&file, NOW_S).unwrap();
    let pass = Pass { expires_at_s: NOW_S + 5_000, ..pass() };

    let before = ring.sign_pass(&pass, NOW_S + 59).unwrap();
    assert!(old.verify_pass(&before, NOW_S + 59).is_ok(), "the old key signs until the new one may");
    let after = ring.sign_pass(&pass, NOW_S + 60).unwrap();
    assert_eq!(old.verify_pass(&after, NOW_S + 60), Err(TokenError::UnknownKey));
    assert!(ring.pass_verifier(NOW_S).unwrap().verify(&after, NOW_S + 60).is_ok(), "published before it signs");

    assert!(ring.verify_pass(&before, NOW_S + 1_000).is_ok(), "the overlap");
    assert_eq!(ring.verify_pass(&before, NOW_S + 1_001), Err(TokenError::UnknownKey));
    let published = ring.pass_verifier(NOW_S + 1_001).unwrap();
    assert!(!published.knows("pass-1700000000"));
    assert_eq!(published.verify(&before, NOW_S + 1_001), Err(TokenError::UnknownKey));
}

#[test]
fn a_key_file_says_what_is_wrong_and_debug_tells_no_secret() {
    let (file, ring) = keyring();
    let text = file.to_json().unwrap();
    let secret = serde_json::from_str::<Value>(&text).unwrap()["place"][0]["secret"].as_str().unwrap().to_owned();
    assert!(!format!("{file:?} {ring:?}").contains(&secret));
    let broken = text.replacen(&secret, "AAAA", 1);
    let error = Keyring::new(&KeyringFile::from_json(&broken).unwrap(), NOW_S).unwrap_err();
    assert!(error.to_string().contains("place-1700000000"), "{error}");
    assert!(KeyringFile::from_json("{\"place\":[]}").is_err());
    let retired = file.rotated(NOW_S + 50, NOW_S - 10, &[1u8; 64]);
    let error = Keyring::new(&retired, NOW_S).unwrap_err();
    assert!(error.to_string().contains("no place key"), "{error}");
    let _: SaleId = "demo".parse().unwrap();
}
