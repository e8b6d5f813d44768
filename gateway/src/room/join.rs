//! `POST /_usher/sales/{sale}/join`: takes a place without touching anything guarded.

use queue::Standing;
use queue_token::Device;

use crate::admission::{Facts, PlaceFact, Step, first_step};
use crate::credentials;
use crate::line::room::SaleRoom;
use crate::line::view::View;
use crate::problem::{Kind, Problem};
use crate::room::document::{State, place_document};
use crate::room::guarded::{closed, jitter, too_often, unavailable};
use crate::room::{Answer, Asked, Gate, HeldPlace, new_visitor, place, sign_place};

/// What taking a place came to.
pub enum Taken {
    /// The turn came at once.
    Called(HeldPlace),
    /// In the line, with how many are before it when the line said so.
    Waiting(HeldPlace, Option<u64>),
    /// The sale takes nobody.
    Closed,
}

/// Takes a new place; while the line does not answer, by the sale's outage policy. `alone` does not ask the line.
///
/// # Errors
/// The answer to give instead.
pub async fn take_place(
    gate: &Gate,
    asked: &Asked<'_>,
    room: &SaleRoom,
    view: &View,
    alone: bool,
) -> Result<Taken, Box<Answer>> {
    gate.limits.join(asked.address).map_err(|wait_s| Box::new(too_often(asked, wait_s)))?;
    let visitor = new_visitor();
    let standing = match room.join_unless(alone, visitor).await {
        Ok(standing) => standing,
        Err(error) => {
            tracing::debug!(%error, "joining without the line");
            match view.snapshot.settings.outage {
                queue::settings::Outage::Closed => return Err(Box::new(unavailable(asked))),
                _ => Standing::Unknown,
            }
        }
    };
    let (score, called, ahead) = match standing {
        Standing::Waiting { score, ahead } => (score, false, Some(ahead)),
        Standing::Called { turn, .. } | Standing::Inside { turn, .. } => (turn.score, true, None),
        Standing::Away { score } => (score, false, None),
        Standing::Closed => return Ok(Taken::Closed),
        // The line does not know the sale, or did not answer: our own clock gives the spot, and the first poll
        // near the front brings it into the line.
        Standing::Absent | Standing::Unknown | Standing::Left | Standing::Expired | Standing::Moved => {
            (room.score_alone(asked.now_us), false, None)
        }
    };
    room.raise_floor(score);
    let held = sign_place(gate, &room.id, (visitor, score, Device::FIRST), asked.now_s()).map_err(|error| {
        tracing::error!(%error, "a place could not be signed");
        Box::new(unavailable(asked))
    })?;
    Ok(if called { Taken::Called(held) } else { Taken::Waiting(held, ahead) })
}

/// Answers the route: 201 with a new place, 200 with the same one for whoever has a valid place.
pub async fn join(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View) -> Answer {
    let known = gate.place(asked, &room.id);
    if let Ok((known, token)) = known {
        let held = HeldPlace { place: known, token: token.to_owned() };
        let (answer, over) = place::look(gate, asked, room, view, &held).await;
        // A used-up place is no place: the visitor takes a new one below.
        if !over {
            return answer;
        }
    }
    let facts = Facts {
        pass: false,
        place: None::<PlaceFact>,
        state: view.state(asked.now_us),
        line_up: room.is_up(),
        outage: view.snapshot.settings.outage,
    };
    let step = first_step(&facts);
    match step {
        Step::Closed => return closed(asked, room, view),
        Step::Unavailable => return unavailable(asked),
        _ => {}
    }
    // An open door needs no place; whoever asks for one all the same does not wait for the line.
    let alone = matches!(step, Step::JoinAlone | Step::LetThrough);
    match take_place(gate, asked, room, view, alone).await {
        Ok(Taken::Called(held)) => place::claimed(gate, asked, room, view, &held, 201).await,
        Ok(Taken::Waiting(held, ahead)) => {
            let document = place_document(room, view, &held, State::Waiting { ahead }, None, asked.now_us, jitter());
            place::answer(gate, room, &held, &document, None, 201)
        }
        Ok(Taken::Closed) => closed(asked, room, view),
        Err(answer) => *answer,
    }
    .outcome("joined")
}

/// The refusal when a place is needed and none can be used.
pub fn place_refusal(asked: &Asked<'_>, refusal: credentials::PlaceRefusal) -> Answer {
    use credentials::PlaceRefusal;
    let (kind, detail) = match refusal {
        PlaceRefusal::Missing => (Kind::PlaceRequired, "No place was sent; join the line first."),
        PlaceRefusal::OtherSale => (Kind::Forbidden, "This place belongs to another sale."),
        PlaceRefusal::Expired => (Kind::PlaceRequired, "This place has expired; join the line again."),
        PlaceRefusal::Invalid | PlaceRefusal::UnknownKey => {
            (Kind::PlaceRequired, "This place is not valid here; join the line again.")
        }
    };
    Problem::new(kind, detail).answer(asked.path(), asked.request_id)
}
