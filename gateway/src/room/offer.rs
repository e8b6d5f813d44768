//! `POST /_usher/sales/{sale}/place/code`: a code and a link that take the place to another device.

use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use queue::Code;
use queue::offer::Offered;
use queue::seen::Shown;
use serde::Serialize;

use crate::line::room::SaleRoom;
use crate::negotiate::{Form, form};
use crate::problem::{Kind, Problem};
use crate::room::guarded::{too_often, unavailable};
use crate::room::join::place_refusal;
use crate::room::{Answer, Asked, Gate, page};
use crate::telemetry::rfc3339_ms;

/// So often is another code tried when one leads to somebody else's place already.
const TRIES: usize = 3;

/// The answer: what to type or open on the other device.
#[derive(Debug, Serialize)]
pub struct CodeDocument {
    sale: String,
    /// Eight characters in two groups.
    pub code: String,
    /// A path on this host. The code is its fragment, so that no server and no log sees it.
    pub link: String,
    /// The whole link as a picture that phones read, in SVG.
    pub qr: Option<String>,
    expires_at: String,
    /// How long the code lives from now on.
    pub expires_in_s: u64,
}

/// Answers the route.
pub async fn offer(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom) -> Answer {
    let found = gate.place(asked, &room.id);
    let place = match found {
        Ok((place, _)) => place,
        Err(refusal) => return place_refusal(asked, refusal),
    };
    if let Err(wait_s) = gate.limits.poll(place.visitor) {
        return too_often(asked, wait_s);
    }
    let (style, ring) = (gate.cookies(), || gate.keys.ring());
    let pass = gate.credentials.pass(&asked.head.headers, style, Some(&room.id), ring, asked.now_s());
    if pass.is_some_and(|held| held.pass.visitor == place.visitor) {
        // Redis may have forgotten who is inside; the pass has not.
        return refused(asked, Offered::Inside);
    }
    for _ in 0..TRIES {
        match room.offer(Shown::from(&place), Code::from_bits(rand::random())).await {
            Ok(Offered::Code { code, until_ms }) => return told(gate, asked, room, code, until_ms),
            Ok(Offered::InUse) => {}
            Ok(other) => return refused(asked, other),
            Err(error) => {
                tracing::warn!(%error, "a code could not be noted");
                return unavailable(asked);
            }
        }
    }
    unavailable(asked)
}

fn told(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, code: Code, until_ms: u64) -> Answer {
    let link = format!("/_usher/sales/{}/return#{code}", room.id);
    let whole = whole(asked, &link, gate.config.secure_cookies);
    let document = CodeDocument {
        sale: room.id.to_string(),
        code: code.to_string(),
        link,
        qr: picture(&whole),
        expires_at: rfc3339_ms(until_ms),
        expires_in_s: until_ms.saturating_sub(asked.now_us / 1000) / 1000,
    };
    match form(asked.header("accept")) {
        Form::Html => page::code(&document, &whole),
        Form::Json => Answer::json(200, &document),
    }
    .outcome("offered")
}

/// The link with the host that the visitor knows us by.
fn whole(asked: &Asked<'_>, link: &str, secure: bool) -> String {
    let host = asked.header("host").or_else(|| asked.head.uri.authority().map(|authority| authority.as_str()));
    format!("http{}://{}{link}", if secure { "s" } else { "" }, host.unwrap_or_default())
}

fn picture(text: &str) -> Option<String> {
    // No picture of a link that is too long for one: the text is there.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let drawn = code.render::<svg::Color<'_>>().min_dimensions(160, 160).build();
    drawn.find("<svg").map(|start| drawn[start..].to_owned())
}

/// Why this place gets no code.
fn refused(asked: &Asked<'_>, why: Offered) -> Answer {
    let (kind, state, detail) = match why {
        Offered::Moved => (Kind::PlaceMoved, "left", "Your place is already on your other device."),
        Offered::Called => (Kind::PlaceStays, "called", "It is your turn: go in here and now."),
        Offered::Inside => (Kind::PlaceStays, "inside", "You are inside already; a pass stays where it is."),
        Offered::Left => (Kind::PlaceStays, "left", "This place was given up."),
        Offered::Expired => (Kind::PlaceStays, "expired", "This place was used."),
        Offered::Final => (Kind::PlaceStays, "waiting", "This place has moved too often; it stays where it is."),
        Offered::Full | Offered::InUse | Offered::Absent | Offered::Code { .. } => return unavailable(asked),
    };
    let members = serde_json::json!({"state": state, "moved": why == Offered::Moved});
    match form(asked.header("accept")) {
        Form::Html => page::said(kind.status(), detail),
        Form::Json => Problem::new(kind, detail).members(members).answer(asked.path(), asked.request_id),
    }
}

#[cfg(test)]
mod tests {
    use super::picture;

    #[test]
    fn the_picture_is_one_small_drawing_of_ours() {
        let drawn = picture("https://tickets.example/_usher/sales/demo/return#ABCD-2345").unwrap();
        assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>") && drawn.len() < 12_000, "{}", drawn.len());
        assert!(!drawn.contains("script") && !drawn.contains("example"), "no text of the link is in it");
        assert_eq!(picture(&"x".repeat(5_000)), None);
    }
}
