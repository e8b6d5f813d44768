//! The place document: what a visitor is told about its place, as CONTRACT writes it.
//!
//! It is by far the most frequent answer, and most of it are ids and tokens without anything to escape; so its JSON is
//! written by hand ([`PlaceDocument::to_json`]), and this is the one place that says how it looks.

use bytes::Bytes;
use queue::{SaleState, Turn};
use queue_token::SaleId;

use crate::line::room::SaleRoom;
use crate::line::view::{Eta, UNHEARD_POLL_MAX_S, View};
use crate::room::HeldPlace;
use crate::telemetry::{rfc3339_ms, rfc3339_us};

/// Where the visitor stands, in the words of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In the line, with the position as far as it is known.
    Waiting {
        /// How many are before it, when the line itself said so.
        ahead: Option<u64>,
    },
    /// Its turn has come and could not be claimed yet.
    Called {
        /// Facts of the turn.
        turn: Turn,
        /// Until when it may claim, in milliseconds.
        deadline_ms: u64,
    },
    /// It holds a pass.
    Inside {
        /// Facts of the turn.
        turn: Turn,
        /// Until when the pass is live, in milliseconds.
        expires_ms: u64,
    },
    /// It gave its place back.
    Left,
    /// Its pass was used up.
    Expired,
    /// Another device of the visitor holds the place.
    Moved,
}

/// The place document.
#[derive(Debug, Clone)]
pub struct PlaceDocument<'a> {
    sale: &'a SaleId,
    visitor: String,
    /// Whether another device of the visitor holds the place; the state is `left` then.
    pub moved: bool,
    /// `pre | waiting | called | inside | left | expired`
    pub state: &'static str,
    /// `scheduled | open | paused | sold_out | closed | regrouping`
    pub sale_state: &'static str,
    /// Position in the line, from 1.
    pub position: Option<u64>,
    /// How many are behind.
    pub behind: Option<u64>,
    /// Expected wait.
    pub eta_s: Option<Eta>,
    /// Visitors called per minute.
    pub called_per_min: u64,
    /// When to ask again.
    pub poll_s: u64,
    claim_until: Option<String>,
    pass_expires_at: Option<String>,
    /// The organiser's message.
    pub message: Option<&'a str>,
    /// The place token.
    pub place: &'a str,
    /// The pass token.
    pub pass: Option<&'a str>,
    /// How old the numbers are.
    pub updated_at: String,
    /// The spot in the line: microseconds, unique, rising in order of arrival.
    score: u64,
    joined_at: String,
    called_at: Option<String>,
    called_seq: Option<u64>,
}

impl PlaceDocument<'_> {
    /// The sale it speaks of.
    pub fn sale(&self) -> &str {
        self.sale.as_str()
    }

    /// As JSON.
    pub fn to_json(&self) -> Bytes {
        let mut json = Json(Vec::with_capacity(USUAL_BYTES));
        json.plain("{\"sale\":", Some(self.sale.as_str()));
        json.plain(",\"visitor\":", Some(&self.visitor));
        json.word(",\"moved\":", if self.moved { "true" } else { "false" });
        json.plain(",\"state\":", Some(self.state));
        json.plain(",\"sale_state\":", Some(self.sale_state));
        json.number(",\"position\":", self.position);
        json.number(",\"behind\":", self.behind);
        match self.eta_s {
            Some(eta) => {
                json.number(",\"eta_s\":{\"p10\":", Some(eta.p10));
                json.number(",\"p90\":", Some(eta.p90));
                json.raw("}");
            }
            None => json.word(",\"eta_s\":", "null"),
        }
        json.number(",\"called_per_min\":", Some(self.called_per_min));
        json.number(",\"poll_s\":", Some(self.poll_s));
        json.plain(",\"claim_until\":", self.claim_until.as_deref());
        json.plain(",\"pass_expires_at\":", self.pass_expires_at.as_deref());
        json.text(",\"message\":", self.message);
        json.plain(",\"place\":", Some(self.place));
        json.plain(",\"pass\":", self.pass);
        json.plain(",\"updated_at\":", Some(&self.updated_at));
        json.number(",\"score\":", Some(self.score));
        json.plain(",\"joined_at\":", Some(&self.joined_at));
        json.plain(",\"called_at\":", self.called_at.as_deref());
        json.number(",\"called_seq\":", self.called_seq);
        json.raw("}");
        Bytes::from(json.0)
    }
}

/// Room for a document of a usual place.
const USUAL_BYTES: usize = 1024;

/// JSON on its way; `key` is what stands before a value, with its marks.
struct Json(Vec<u8>);

impl Json {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn word(&mut self, key: &str, word: &str) {
        self.raw(key);
        self.raw(word);
    }

    /// A text that by its nature holds nothing to escape: an id, a token, a time, a word of ours.
    fn plain(&mut self, key: &str, text: Option<&str>) {
        let Some(text) = text else { return self.word(key, "null") };
        debug_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')), "{text}");
        self.raw(key);
        self.0.push(b'"');
        self.raw(text);
        self.0.push(b'"');
    }

    /// Any text.
    fn text(&mut self, key: &str, text: Option<&str>) {
        let escaped = text.map(|text| serde_json::Value::from(text).to_string());
        self.word(key, escaped.as_deref().unwrap_or("null"));
    }

    fn number(&mut self, key: &str, number: Option<u64>) {
        let Some(mut left) = number else { return self.word(key, "null") };
        self.raw(key);
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while left > 0 || first == digits.len() {
            first -= 1;
            digits[first] += (left % 10) as u8;
            left /= 10;
        }
        self.0.extend_from_slice(&digits[first..]);
    }
}

/// The sale's state in the document's words.
pub fn sale_state(room: &SaleRoom, view: &View, now_us: u64) -> &'static str {
    if room.is_up() && !view.is_calm() { view.state(now_us).as_str() } else { "regrouping" }
}

/// The document of a visitor. `jitter` is a random number from -1 to 1.
pub fn place_document<'a>(
    room: &'a SaleRoom,
    view: &'a View,
    held: &'a HeldPlace,
    state: State,
    pass: Option<&'a str>,
    now_us: u64,
    jitter: f64,
) -> PlaceDocument<'a> {
    let score = held.place.score;
    let scheduled = view.state(now_us) == SaleState::Scheduled;
    let (word, position, turn) = match state {
        State::Waiting { ahead } => {
            // A line that is not whole again counts too few.
            let ahead = ahead.filter(|_| !view.is_regrouping());
            let known = ahead.map(|ahead| ahead + 1).unwrap_or_else(|| view.position(score).0);
            (if scheduled { "pre" } else { "waiting" }, Some(known), None)
        }
        State::Called { turn, .. } => ("called", None, Some(turn)),
        State::Inside { turn, .. } => ("inside", None, Some(turn)),
        State::Left | State::Moved => ("left", None, None),
        State::Expired => ("expired", None, None),
    };
    let eta_s = position.and_then(|position| view.eta(position, now_us));
    // Redis may have forgotten the facts of a turn; then there are none to show.
    let turn = turn.filter(|turn| turn.seq > 0);
    PlaceDocument {
        sale: &room.id,
        visitor: held.place.visitor.to_string(),
        moved: state == State::Moved,
        state: word,
        sale_state: sale_state(room, view, now_us),
        position,
        behind: position.map(|position| view.snapshot.numbers.waiting.saturating_sub(position)),
        eta_s,
        called_per_min: view.outflow_per_min.unwrap_or(view.snapshot.settings.rate_per_min).round() as u64,
        poll_s: match position {
            Some(position) => {
                let is_near = view.is_near(score);
                let poll_s = view.poll_after_s(eta_s, position, is_near, now_us, jitter);
                if is_near && !room.is_up() { poll_s.min(UNHEARD_POLL_MAX_S) } else { poll_s }
            }
            None => 2,
        },
        claim_until: match state {
            State::Called { deadline_ms, .. } => Some(rfc3339_ms(deadline_ms)),
            _ => None,
        },
        pass_expires_at: match state {
            State::Inside { expires_ms, .. } => Some(rfc3339_ms(expires_ms)),
            _ => None,
        },
        message: view.snapshot.settings.message.as_deref(),
        place: &held.token,
        pass,
        updated_at: rfc3339_ms(view.received_ms),
        score: score.get(),
        joined_at: rfc3339_us(score.get()),
        called_at: turn.map(|turn| rfc3339_us(turn.called_us)),
        called_seq: turn.map(|turn| turn.seq),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_json_says_what_the_document_says() {
        let sale: SaleId = "demo".parse().unwrap();
        let mut document = PlaceDocument {
            sale: &sale,
            visitor: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            moved: false,
            state: "waiting",
            sale_state: "open",
            position: Some(1),
            behind: Some(0),
            eta_s: Some(Eta { p10: 9, p90: 1_000 }),
            called_per_min: 300,
            poll_s: 12,
            claim_until: None,
            pass_expires_at: None,
            message: Some("\"Doors\" at 8\n\u{1f39f} \\ </script>"),
            place: "a.b-c_d.e",
            pass: None,
            updated_at: "2027-01-15T08:00:00Z".to_owned(),
            score: u64::MAX,
            joined_at: "2027-01-15T08:00:00.000123Z".to_owned(),
            called_at: None,
            called_seq: None,
        };
        let mut expected = json!({
            "sale": "demo", "visitor": "AAAAAAAAAAAAAAAAAAAAAA", "moved": false, "state": "waiting",
            "sale_state": "open", "position": 1, "behind": 0, "eta_s": {"p10": 9, "p90": 1000}, "called_per_min": 300,
            "poll_s": 12, "claim_until": null, "pass_expires_at": null, "message": "\"Doors\" at 8\n\u{1f39f} \\ </script>",
            "place": "a.b-c_d.e", "pass": null, "updated_at": "2027-01-15T08:00:00Z", "score": u64::MAX,
            "joined_at": "2027-01-15T08:00:00.000123Z", "called_at": null, "called_seq": null,
        });
        let said = |document: &PlaceDocument<'_>| serde_json::from_slice::<Value>(&document.to_json()).unwrap();
        assert_eq!(said(&document), expected);

        (document.moved, document.position, document.behind, document.eta_s) = (true, None, None, None);
        (document.message, document.pass, document.called_seq) = (None, Some("x.y.z"), Some(7));
        document.called_at = Some("2027-01-15T08:00:00.000123Z".to_owned());
        document.claim_until = Some("2027-01-15T08:00:00Z".to_owned());
        document.pass_expires_at = document.claim_until.clone();
        for key in ["position", "behind", "eta_s", "message"] {
            expected[key] = Value::Null;
        }
        for (key, value) in [("moved", json!(true)), ("pass", json!("x.y.z")), ("called_seq", json!(7))] {
            expected[key] = value;
        }
        expected["called_at"] = json!("2027-01-15T08:00:00.000123Z");
        for key in ["claim_until", "pass_expires_at"] {
            expected[key] = json!("2027-01-15T08:00:00Z");
        }
        assert_eq!(said(&document), expected);
    }
}
