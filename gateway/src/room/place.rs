//! `GET /_usher/sales/{sale}/place`: where the visitor stands; claims when its turn has come.

use queue::Standing;
use queue::seen::Shown;

use crate::admission::{Facts, Step, Verdict, first_step, verdict};
use crate::credentials::HeldPass;
use crate::line::room::SaleRoom;
use crate::line::view::View;
use crate::room::document::{PlaceDocument, State, place_document};
use crate::room::guarded::{jitter, too_often, unavailable};
use crate::room::join::place_refusal;
use crate::room::{Answer, Asked, Gate, HeldPlace, entry, kept_fresh};

/// Answers the route.
pub async fn place(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View) -> Answer {
    let found = gate.place(asked, &room.id);
    match found {
        Ok((place, token)) => {
            let held = HeldPlace { place, token: token.to_owned() };
            look(gate, asked, room, view, &held).await.0
        }
        Err(refusal) => place_refusal(asked, refusal),
    }
}

/// The document of a visitor with a place, and whether that place is over.
pub async fn look(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View, held: &HeldPlace) -> (Answer, bool) {
    match gate.limits.poll(held.place.visitor) {
        Ok(()) => told(gate, asked, room, view, held).await,
        Err(wait_s) => (too_often(asked, wait_s), false),
    }
}

/// The same, however often the visitor asks.
pub async fn told(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View, held: &HeldPlace) -> (Answer, bool) {
    let facts = Facts {
        pass: false,
        place: Some(gate.place_fact(view, &held.place, asked.now_s())),
        state: view.state(asked.now_us),
        line_up: room.is_up(),
        outage: view.snapshot.settings.outage,
    };
    let show = |state| {
        // Only a place that still waits is worth more time: one that is used up must end with its memory.
        let waits = matches!(state, State::Waiting { .. });
        let fresh = if waits { kept_fresh(gate, held, asked.now_s()) } else { None };
        let shown = fresh.as_ref().unwrap_or(held);
        let document = place_document(room, view, shown, state, None, asked.now_us, jitter());
        let answer = answer(gate, room, shown, &document, None, 200);
        if fresh.is_none() {
            return answer;
        }
        answer.header("set-cookie", gate.cookies().set_place(&room.id, &shown.token, gate.config.line.place_life_s))
    };
    match first_step(&facts) {
        // A sale that takes nobody still owes an answer to those who stand in its line or were called.
        Step::AskLine => {}
        Step::Closed if room.is_up() => {}
        Step::Unavailable => return (unavailable(asked), false),
        _ => return (show(State::Waiting { ahead: None }), false),
    }
    let standing = match room.seen(Shown::from(&held.place)).await {
        Ok(standing) => standing,
        Err(error) => {
            tracing::debug!(%error, "presence could not be noted");
            return (show(State::Waiting { ahead: None }), false);
        }
    };
    match (verdict(&standing), standing) {
        (Verdict::Claim | Verdict::Enter, _) => (claimed(gate, asked, room, view, held, 200).await, false),
        (Verdict::Moved, _) => (show(State::Moved), true),
        (Verdict::Over, Standing::Left) => (show(State::Left), true),
        (Verdict::Over, _) => (show(State::Expired), true),
        (_, Standing::Waiting { ahead, .. }) => (show(State::Waiting { ahead: Some(ahead) }), false),
        _ => (show(State::Waiting { ahead: None }), false),
    }
}

/// Claims and answers with what came of it.
pub async fn claimed(
    gate: &Gate,
    asked: &Asked<'_>,
    room: &SaleRoom,
    view: &View,
    held: &HeldPlace,
    status: u16,
) -> Answer {
    let (state, pass) = match entry::claim(gate, room, held, asked.now_s()).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::warn!(%error, "a turn could not be claimed");
            (State::Waiting { ahead: None }, None)
        }
    };
    let token = pass.as_ref().map(|pass| &*pass.token);
    let document = place_document(room, view, held, state, token, asked.now_us, jitter());
    answer(gate, room, held, &document, pass.as_deref(), status)
}

/// The document as an answer, with its cookies and headers.
pub fn answer(
    gate: &Gate,
    room: &SaleRoom,
    held: &HeldPlace,
    document: &PlaceDocument<'_>,
    pass: Option<&HeldPass>,
    status: u16,
) -> Answer {
    let style = gate.cookies();
    let mut answer = Answer::new(status, "application/json", document.to_json())
        .header("retry-after", document.poll_s.to_string())
        .header("usher-place", held.token.clone())
        .outcome(if pass.is_some() { "claimed" } else { "polled" });
    if status == 201 {
        answer = answer.header("set-cookie", style.set_place(&room.id, &held.token, gate.config.line.place_life_s));
    }
    if let Some(pass) = pass {
        let max_age_s = pass.pass.expires_at_s.saturating_sub(pass.pass.issued_at_s);
        answer = answer
            .header("set-cookie", style.set_pass(&room.id, &pass.token, max_age_s))
            .header("usher-pass", pass.token.to_string());
    }
    answer
}
