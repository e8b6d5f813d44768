//! The place document: what a visitor is told about its place, as CONTRACT writes it.

use queue::{SaleState, Turn};
use queue_token::SaleId;
use serde::{Serialize, Serializer};

use crate::line::room::SaleRoom;
use crate::line::view::{Eta, View};
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
#[derive(Debug, Clone, Serialize)]
pub struct PlaceDocument<'a> {
    #[serde(serialize_with = "as_text")]
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
}

/// Without the copy that the id's own way into JSON makes.
fn as_text<S: Serializer>(sale: &SaleId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(sale.as_str())
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
        eta_s: position.and_then(|position| view.eta(position, now_us)),
        called_per_min: view.outflow_per_min.unwrap_or(view.snapshot.settings.rate_per_min).round() as u64,
        poll_s: match position {
            Some(position) => view.poll_s(position, view.is_near(score), now_us, jitter),
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
