//! Goal: what the quick way accepts, the library accepts as the same place; and the quick way takes what we sign.
//! Method: tokens of ours with anything done to their text, and claims of any kind under a good signature.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Keyring, KeyringFile, VisitorId};

const NOW_S: u64 = 1_800_000_000;
const KID: &str = "place-1700000000";

fn ring() -> Keyring {
    Keyring::new(&KeyringFile::generate(1_700_000_000, &[7; 64]), NOW_S).unwrap()
}

fn quick(token: &str, now_s: u64) -> Option<Place> {
    QuickKey::new(KID, &[7; 32], u64::MAX).unwrap().verify(token, now_s)
}

fn place(score: u64, device: u16, life_s: u64) -> Place {
    Place {
        sale: "demo".parse().unwrap(),
        visitor: VisitorId::from_bytes(*b"visitor-00000001"),
        score: Score::new(score).unwrap(),
        device: Device::new(device).unwrap(),
        issued_at_s: NOW_S,
        expires_at_s: NOW_S + life_s,
    }
}

/// Any header and claims under the ring's own signature.
fn signed(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap().chain_update(&text).finalize().into_bytes();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac))
}

/// The header as we write it, members in this order.
fn header() -> String {
    format!(r#"{{"typ":"usher-place+jwt","alg":"HS256","kid":"{KID}"}}"#)
}

/// The claims, members in the order in which we write them.
fn claims() -> Vec<(&'static str, Value)> {
    let visitor = place(1, 0, 1).visitor.to_string();
    vec![
        ("iss", json!("usher")),
        ("aud", json!("usher-gateway")),
        ("sub", json!(visitor)),
        ("sale", json!("demo")),
        ("scr", json!(5)),
        ("iat", json!(NOW_S)),
        ("exp", json!(NOW_S + 60)),
    ]
}

fn text(claims: &[(&str, Value)]) -> String {
    let members: Vec<_> = claims.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// The quick way may leave a good one to the library, but never takes a bad one, nor reads it in another way.
fn agree(token: &str, now_s: u64) {
    let slow = ring().verify_unusual_place(token, now_s);
    if let Some(place) = quick(token, now_s) {
        assert_eq!(slow.as_ref(), Ok(&place), "{token}");
    }
    assert_eq!(ring().verify_place(token, now_s), slow, "{token}");
}

#[test]
fn what_we_sign_is_taken_quickly_until_it_is_over_or_its_key_is() {
    for place in [place(1_800_000_000_000_123, 0, 60), place(9_007_199_254_740_991, 1023, 60)] {
        let token = ring().sign_place(&place, NOW_S).unwrap();
        assert_eq!(quick(&token, NOW_S), Some(place.clone()));
        assert_eq!(quick(&token, NOW_S + 61), Some(place), "two seconds of leeway");
        assert_eq!(quick(&token, NOW_S + 62), None);
        let retired = QuickKey::new(KID, &[7; 32], NOW_S - 1).unwrap();
        assert_eq!(retired.verify(&token, NOW_S), None);
        assert_eq!(QuickKey::new(KID, &[8; 32], u64::MAX).unwrap().verify(&token, NOW_S), None);
        assert_eq!(QuickKey::new("other", &[7; 32], u64::MAX).unwrap().verify(&token, NOW_S), None);
    }
}

#[test]
fn odd_claims_and_headers_under_a_good_signature_are_judged_alike() {
    // Changed where it stands, or as we would write a device, or at the end.
    let with = |key: &'static str, value: Value| {
        let mut changed = claims();
        let at = changed.iter().position(|(known, _)| *known == key);
        match (at, key) {
            (Some(at), _) => changed[at].1 = value,
            (None, "dev") => changed.insert(5, (key, value)),
            (None, _) => changed.push((key, value)),
        }
        text(&changed)
    };
    let plain = text(&claims());
    let mut cases = vec![
        (header(), plain.clone()),
        (header(), format!(" {plain}\n")),
        (header(), format!("{plain}x")),
        (header(), plain.replace("usher", "\\u0075sher")),
        (header(), plain.replacen('{', "{\"exp\":1,", 1)),
        (header(), plain.replacen('{', "{\"new\":[1,{}],", 1)),
        (header(), plain.replace(":5,", ":05,")),
        (header(), plain.replace(":5,", ":18446744073709551617,")),
        (header(), plain.replace(":5,", ":5,\"dev\":1023,")),
        (header(), plain.replace(":5,", ":5,\"dev\":1024,")),
        (header(), plain.replace(":5,", ":5,\"dev\":65537,")),
        (header(), plain.replace(":5,", ":5,\"scr\":6,")),
        (header(), plain.replace(":5,", ":5e0,")),
        (header(), plain.replace("demo", "demo\\\"")),
        (header(), plain.replace("demo\"", "demo\",\"sale\":\"demo\"")),
        (header().replace("HS256", "none"), plain.clone()),
        (header().replace(':', " : "), plain.clone()),
        (header().replacen('{', "{\"crit\":[\"exp\"],", 1), plain),
    ];
    let odd = [json!(null), json!(-1), json!(1.5), json!("1"), json!(""), json!(["usher-gateway"]), json!(u64::MAX)];
    for key in ["iss", "aud", "sub", "sale", "scr", "dev", "iat", "exp", "nbf"] {
        cases.extend(odd.iter().map(|value| (header(), with(key, value.clone()))));
        let mut less = claims();
        less.retain(|(known, _)| *known != key);
        cases.push((header(), text(&less)));
    }
    let mut turned = claims();
    turned.rotate_left(1);
    cases.push((header(), text(&turned)));
    let mut taken = 0;
    for (header, claims) in cases {
        let token = signed(&header, &claims);
        agree(&token, NOW_S);
        taken += usize::from(quick(&token, NOW_S).is_some());
    }
    assert!((3..30).contains(&taken), "the good ones, and those alone: {taken}");
}

proptest! {
    #[test]
    fn a_changed_token_is_judged_alike(
        score in 0..=Score::MAX.get(),
        device in 0..=1023u16,
        life_s in 0..100u64,
        later_s in 0..110u64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, "[ -~]"), 0..3),
    ) {
        let mut token = ring().sign_place(&place(score, device, life_s), NOW_S).unwrap();
        for (index, kind, text) in changes {
            let at = index.index(token.len());
            match kind {
                0 => token.replace_range(at..=at, &text),
                1 => token.insert_str(at, &text),
                2 => drop(token.remove(at)),
                _ => token.truncate(at.max(1)),
            }
        }
        agree(&token, NOW_S + later_s);
    }

    #[test]
    fn any_claims_under_a_good_signature_are_judged_alike(claims in "\\PC{0,80}", tail in "[ -~]{0,4}") {
        let token = signed(&header(), &claims);
        agree(&token, NOW_S);
        agree(&format!("{token}{tail}"), NOW_S);
    }
}
