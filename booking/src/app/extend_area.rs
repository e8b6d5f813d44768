//! More places in an area. An area never shrinks: what was promised to the waiting stays true.

use booking_domain::{AreaId, EventId};
use serde_json::json;
use sqlx::PgConnection;

use super::once::{Done, Once, once};
use crate::error::{Error, Refusal};
use crate::services::Services;
use crate::storage::areas;
use crate::storage::stock::{self, Act};

/// Most places of an area.
pub const MAX_CAPACITY: i32 = 10_000_000;

/// How large the area shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// So many places in all.
    To(i32),
    /// So many more.
    By(i32),
}

/// What an organiser asks for.
#[derive(Debug, Clone)]
pub struct ExtendRequest {
    /// The event.
    pub event: EventId,
    /// The area.
    pub area: AreaId,
    /// How large it shall be.
    pub growth: Growth,
    /// Whose hand it is.
    pub actor: String,
    /// The request that asks for it.
    pub request_id: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    /// The event's version of the change; none when nothing changed.
    pub version: Option<i64>,
    /// How many places the area has.
    pub capacity: i32,
}

/// Gives an area more places.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such area; [`Refusal::Invalid`] when it would become too large;
/// [`Refusal::Conflict`] when it would shrink; that the database cannot be had.
pub async fn extend_area(
    services: &Services,
    request: ExtendRequest,
    repeat: Option<Once<Extended>>,
) -> Result<Done<Extended>, Error> {
    let event = request.event.clone();
    let done = once(&services.db, repeat, move |conn| {
        let request = request.clone();
        Box::pin(async move { extend(conn, &request).await })
    });
    let done = done.await?;
    services.events.stale(&event);
    services.feeds.terms_changed(&event);
    Ok(done)
}

async fn extend(conn: &mut PgConnection, request: &ExtendRequest) -> Result<Extended, Error> {
    let locked = areas::lock(conn, &request.event, &[request.area.as_str().to_owned()]).await?;
    let before = locked.into_iter().next().ok_or(Refusal::NotFound { what: "area" })?;
    let (pointer, capacity) = match request.growth {
        Growth::To(capacity) => ("/capacity", Some(capacity)),
        Growth::By(places) => ("/add", before.capacity.checked_add(places)),
    };
    let capacity = capacity.filter(|capacity| *capacity <= MAX_CAPACITY);
    let capacity =
        capacity.ok_or_else(|| Refusal::invalid(pointer, format!("an area has at most {MAX_CAPACITY} places")))?;
    if capacity < before.capacity {
        let detail = format!("the area has {} places already; it cannot shrink", before.capacity);
        return Err(Refusal::Conflict { detail, state: "larger" }.into());
    }
    if capacity == before.capacity {
        return Ok(Extended { version: None, capacity });
    }
    let detail = json!({ "area": before.area, "from": before.capacity, "to": capacity });
    let act = Act { actor: &request.actor, request_id: &request.request_id, detail };
    let version = stock::enlarge(conn, &request.event, &before, capacity, &act).await?;
    Ok(Extended { version: Some(version), capacity })
}
