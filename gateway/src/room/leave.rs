//! `DELETE /_usher/sales/{sale}/place`: the visitor leaves; its place or slot is free at once.

use queue::Standing;

use crate::line::room::SaleRoom;
use crate::line::view::View;
use crate::room::guarded::unavailable;
use crate::room::join::place_refusal;
use crate::room::{Answer, Asked, Gate};

/// Answers the route: 204, also when asked again.
pub async fn leave(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View) -> Answer {
    let style = gate.cookies();
    let found = gate.place(asked, &room.id);
    let place = match found {
        Ok((place, _)) => place,
        Err(refusal) => return place_refusal(asked, refusal),
    };
    match room.depart(place.visitor, Some(place.device)).await {
        // The place lives on, on the visitor's other device; this one forgets it.
        Ok(Standing::Moved) => {}
        Ok(_) => gate.credentials.note_left(&[place.visitor], asked.now_s(), view.snapshot.settings.pass_ttl_s),
        Err(error) => {
            tracing::warn!(%error, "a visitor could not leave");
            return unavailable(asked);
        }
    }
    let [place, pass] = style.forget(&room.id);
    Answer::empty(204).header("set-cookie", place).header("set-cookie", pass).outcome("left")
}
