//! `DELETE /_usher/sales/{sale}/place`: the visitor leaves; its place or slot is free at once.

use crate::line::room::SaleRoom;
use crate::line::view::View;
use crate::room::guarded::unavailable;
use crate::room::join::place_refusal;
use crate::room::{Answer, Asked, Gate};

/// Answers the route: 204, also when asked again.
pub async fn leave(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View) -> Answer {
    let style = gate.cookies();
    let found = gate.place(asked, &room.id);
    let visitor = match found {
        Ok((place, _)) => place.visitor,
        Err(refusal) => return place_refusal(asked, refusal),
    };
    if let Err(error) = room.depart(visitor).await {
        tracing::warn!(%error, "a visitor could not leave");
        return unavailable(asked);
    }
    gate.credentials.note_left(&[visitor], asked.now_s(), view.snapshot.settings.pass_ttl_s);
    let [place, pass] = style.forget(&room.id);
    Answer::empty(204).header("set-cookie", place).header("set-cookie", pass).outcome("left")
}
