//! Our own routes, each handed to its file in [`crate::room`]; the same for the edge and for the proxy.

use bytes::Bytes;

use crate::problem::{Kind, Problem};
use crate::room::{Answer, Asked, Gate, arrive, join, leave, offer, place, status, take};
use crate::routes::OwnRoute;

/// Answers a request to a route of ours. `body` is `None` when none was read.
pub async fn answer(gate: &Gate, asked: &Asked<'_>, route: OwnRoute, body: Option<&[u8]>) -> Answer {
    let problem = |kind, detail: &str| Problem::new(kind, detail).answer(asked.path(), asked.request_id);
    let sale = match &route {
        OwnRoute::Keys => {
            let keys = Bytes::from(gate.keys.ring().jwks_json(asked.now_s()));
            return Answer::new(200, "application/jwk-set+json", keys).replace("cache-control", "public, max-age=60");
        }
        OwnRoute::NotFound => return problem(Kind::NotFound, "There is no such route."),
        OwnRoute::MethodNotAllowed(allowed) => {
            return problem(Kind::MethodNotAllowed, "This route knows other methods.").header("allow", *allowed);
        }
        OwnRoute::Join(sale) | OwnRoute::Place(sale) | OwnRoute::Leave(sale) | OwnRoute::Status(sale) => sale,
        OwnRoute::Offer(sale) | OwnRoute::Arrive(sale) | OwnRoute::Take(sale) => sale,
    };
    let Some((room, view)) = gate.rooms.get(sale).and_then(|room| room.view().map(|view| (room, view))) else {
        return problem(Kind::NotFound, "There is no such sale.");
    };
    match route {
        OwnRoute::Join(_) => join::join(gate, asked, &room, &view).await,
        OwnRoute::Place(_) => place::place(gate, asked, &room, &view).await,
        OwnRoute::Leave(_) => leave::leave(gate, asked, &room, &view).await,
        OwnRoute::Offer(_) => offer::offer(gate, asked, &room).await,
        OwnRoute::Arrive(_) => arrive::arrive(&room),
        OwnRoute::Take(_) => take::take(gate, asked, &room, &view, body).await,
        _ => status::status(asked, &room, &view),
    }
}
