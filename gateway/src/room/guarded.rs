//! A request for something that a sale guards: through with a pass, else into the line.

use std::sync::Arc;

use queue::seen::Shown;

use crate::admission::{Facts, Step, Verdict, first_step, verdict};
use crate::credentials::HeldPass;
use crate::line::room::SaleRoom;
use crate::line::view::View;
use crate::negotiate::{Form, form};
use crate::problem::{Kind, Problem};
use crate::room::document::{PlaceDocument, State, place_document};
use crate::room::{Answer, Asked, Entry, Gate, HeldPlace, Outcome, entry, join, kept_fresh, page};

/// Decides a guarded request.
pub async fn decide(gate: &Gate, asked: &Asked<'_>, room: &Arc<SaleRoom>, view: &Arc<View>) -> Outcome {
    let (style, ring) = (gate.cookies(), || gate.keys.ring());
    let pass = gate.credentials.pass(&asked.head.headers, style, Some(&room.id), ring, asked.now_s());
    if let Some(held) = pass {
        return through(gate, asked, room, view, held).await;
    }
    let place = gate.place(asked, &room.id).map(|(place, token)| HeldPlace { place, token: token.to_owned() });
    // A bad place on a guarded path is no place: the visitor gets a new one.
    let place = place.ok();
    let facts = Facts {
        pass: false,
        place: place.as_ref().map(|held| gate.place_fact(view, &held.place, asked.now_s())),
        state: view.state(asked.now_us),
        line_up: room.is_up(),
        outage: view.snapshot.settings.outage,
    };
    if let Some(held) = &place
        && let Err(wait_s) = gate.limits.poll(held.place.visitor)
    {
        return Outcome::Answer(too_often(asked, wait_s));
    }
    match (first_step(&facts), place) {
        (Step::AskLine, Some(held)) => ask(gate, asked, room, view, held).await,
        (Step::Show, Some(held)) => waiting(gate, asked, room, view, &held, None),
        (Step::Join | Step::JoinAlone, _) if only_looks_ahead(asked) => Outcome::Answer(no_place_for(asked)),
        (Step::Join, _) => join_and_decide(gate, asked, room, view, false).await,
        (Step::JoinAlone, _) => join_and_decide(gate, asked, room, view, true).await,
        (Step::Closed, _) => Outcome::Answer(closed(asked, room, view)),
        (Step::LetThrough, _) => Outcome::Enter(Entry { pass: None, cookies: Vec::new(), fresh: false, place: None }),
        _ => Outcome::Answer(unavailable(asked)),
    }
}

/// A request that nobody waits for: a preflight, or a browser that fetches before it is asked to.
fn only_looks_ahead(asked: &Asked<'_>) -> bool {
    let ahead = |name| asked.header(name).is_some_and(|value| value.contains("prefetch"));
    asked.head.method == http::Method::OPTIONS || ahead("sec-purpose") || ahead("purpose")
}

/// The answer to such a request: it takes no place.
fn no_place_for(asked: &Asked<'_>) -> Answer {
    Problem::new(Kind::Waiting, "There is a line here; this request takes no place in it.")
        .retry_after(1)
        .answer(asked.path(), asked.request_id)
        .outcome("waiting")
}

/// A live pass goes through; past half its life its slot is prolonged with it.
async fn through(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View, held: Arc<HeldPass>) -> Outcome {
    let left_s = held.pass.expires_at_s.saturating_sub(asked.now_s());
    let unchanged = |pass| Entry { pass: Some(pass), cookies: Vec::new(), fresh: false, place: None };
    if left_s * 2 > view.snapshot.settings.pass_ttl_s {
        return Outcome::Enter(unchanged(held));
    }
    match room.renew(held.pass.visitor, held.pass.expires_at_s * 1000).await {
        Ok(Some(expires_ms)) => match entry::prolong(gate, &held.pass, expires_ms, asked.now_s()) {
            Ok(longer) => Outcome::Enter(entered(gate, room, longer, None, asked.now_s())),
            Err(error) => {
                tracing::error!(%error, "a pass could not be prolonged");
                Outcome::Enter(unchanged(held))
            }
        },
        // The slot was given back or used up: the pass no longer counts.
        Ok(None) => {
            gate.credentials.note_left(&[held.pass.visitor], asked.now_s(), left_s);
            join_and_decide(gate, asked, room, view, false).await
        }
        // A pass stays good while Redis is away.
        Err(_) => Outcome::Enter(unchanged(held)),
    }
}

/// The entry of a visitor whose pass was just signed.
pub fn entered(gate: &Gate, room: &SaleRoom, pass: Arc<HeldPass>, place: Option<&HeldPlace>, now_s: u64) -> Entry {
    let style = gate.cookies();
    let max_age_s = pass.pass.expires_at_s.saturating_sub(now_s);
    let mut cookies = vec![style.set_pass(&room.id, &pass.token, max_age_s)];
    if let Some(held) = place {
        cookies.push(style.set_place(&room.id, &held.token, gate.config.line.place_life_s));
    }
    Entry { pass: Some(pass), cookies, fresh: true, place: place.map(|held| held.token.clone()) }
}

async fn ask(gate: &Gate, asked: &Asked<'_>, room: &Arc<SaleRoom>, view: &Arc<View>, held: HeldPlace) -> Outcome {
    let standing = match room.seen(Shown::from(&held.place)).await {
        Ok(standing) => standing,
        Err(error) => {
            tracing::debug!(%error, "presence could not be noted");
            return waiting(gate, asked, room, view, &held, None);
        }
    };
    match verdict(&standing) {
        Verdict::Claim | Verdict::Enter => claim(gate, asked, room, view, &held, false).await,
        Verdict::Moved => Outcome::Answer(moved(asked, room)),
        Verdict::Over => join_and_decide(gate, asked, room, view, false).await,
        Verdict::Wait | Verdict::Closed => {
            let ahead = match standing {
                queue::Standing::Waiting { ahead, .. } => Some(ahead),
                _ => None,
            };
            waiting(gate, asked, room, view, &held, ahead)
        }
    }
}

async fn claim(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View, held: &HeldPlace, new: bool) -> Outcome {
    match entry::claim(gate, room, held, asked.now_s()).await {
        Ok((State::Moved, _)) => Outcome::Answer(moved(asked, room)),
        Ok((_, Some(pass))) => Outcome::Enter(entered(gate, room, pass, new.then_some(held), asked.now_s())),
        Ok((state, None)) => {
            let document = place_document(room, view, held, state, None, asked.now_us, jitter());
            Outcome::Answer(show(gate, asked, room, &document))
        }
        Err(error) => {
            tracing::warn!(%error, "a turn could not be claimed");
            waiting(gate, asked, room, view, held, None)
        }
    }
}

async fn join_and_decide(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View, alone: bool) -> Outcome {
    match join::take_place(gate, asked, room, view, alone).await {
        Ok(join::Taken::Called(held)) => claim(gate, asked, room, view, &held, true).await,
        Ok(join::Taken::Waiting(held, ahead)) => waiting(gate, asked, room, view, &held, ahead),
        Ok(join::Taken::Closed) => Outcome::Answer(closed(asked, room, view)),
        Err(answer) => Outcome::Answer(*answer),
    }
}

/// What somebody is told who waits on.
fn waiting(
    gate: &Gate,
    asked: &Asked<'_>,
    room: &SaleRoom,
    view: &View,
    held: &HeldPlace,
    ahead: Option<u64>,
) -> Outcome {
    let fresh = kept_fresh(gate, held, asked.now_s());
    let held = fresh.as_ref().unwrap_or(held);
    let document = place_document(room, view, held, State::Waiting { ahead }, None, asked.now_us, jitter());
    Outcome::Answer(show(gate, asked, room, &document))
}

/// The waiting room's answer: a page for a person, 429 for a program. The place comes along in both.
fn show(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, document: &PlaceDocument<'_>) -> Answer {
    let answer = match form(asked.header("accept")) {
        Form::Html => page::waiting(asked, document),
        Form::Json => {
            let members = serde_json::from_slice(&document.to_json()).unwrap_or_default();
            let detail = "You are in line; your place is kept. Ask again at the place route when poll_s is over.";
            Problem::new(Kind::Waiting, detail)
                .members(members)
                .retry_after(document.poll_s)
                .answer(asked.path(), asked.request_id)
        }
    };
    answer
        .header("set-cookie", gate.cookies().set_place(&room.id, document.place, gate.config.line.place_life_s))
        .header("usher-place", document.place.to_owned())
        .header("vary", "accept, cookie, authorization")
        .outcome("waiting")
}

/// The answer of a sale that takes nobody.
pub fn closed(asked: &Asked<'_>, room: &SaleRoom, view: &View) -> Answer {
    let state = view.state(asked.now_us);
    let message = view.snapshot.settings.message.clone();
    match form(asked.header("accept")) {
        Form::Html => page::closed(state, message.as_deref()),
        Form::Json => Problem::new(Kind::SaleClosed, "This sale takes nobody now.")
            .members(serde_json::json!({"sale": room.id, "sale_state": state.as_str(), "message": message}))
            .answer(asked.path(), asked.request_id),
    }
    .outcome("closed")
}

/// The answer to a device that its place has moved on from.
fn moved(asked: &Asked<'_>, room: &SaleRoom) -> Answer {
    match form(asked.header("accept")) {
        Form::Html => page::moved(&room.id),
        Form::Json => {
            let detail = "Your place is now on your other device. For another place, join the line anew.";
            Problem::new(Kind::PlaceMoved, detail)
                .members(serde_json::json!({"sale": room.id, "moved": true}))
                .answer(asked.path(), asked.request_id)
        }
    }
    .outcome("moved")
}

/// The answer while the sale cannot be served.
pub fn unavailable(asked: &Asked<'_>) -> Answer {
    match form(asked.header("accept")) {
        Form::Html => page::notice(503, "The waiting room cannot take you in at the moment.", 5),
        Form::Json => {
            let detail = "The waiting room cannot take you in at the moment. A place you already have is safe.";
            Problem::new(Kind::Unavailable, detail).retry_after(5).answer(asked.path(), asked.request_id)
        }
    }
    .outcome("unavailable")
}

/// The answer to a client that asks too often.
pub fn too_often(asked: &Asked<'_>, wait_s: u64) -> Answer {
    match form(asked.header("accept")) {
        Form::Html => page::notice(429, "Many requests come from where you are.", wait_s.max(5)),
        Form::Json => Problem::new(Kind::RateLimited, "You ask too often; nothing is lost. Ask again later.")
            .retry_after(wait_s)
            .answer(asked.path(), asked.request_id),
    }
    .outcome("limited")
}

/// A random number from -1 to 1.
pub fn jitter() -> f64 {
    rand::random::<f64>() * 2.0 - 1.0
}
