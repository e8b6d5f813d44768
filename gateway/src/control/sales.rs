//! `GET /control/sales`, `GET|PUT /control/sales/{sale}`: settings with their version, and live numbers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use queue::configure::Expect;
use queue::govern::FULL_MILLI;
use queue::{Clock, LineError, Settings};
use queue_token::SaleId;
use serde_json::{Value, json};

use crate::control::{Desk, refuse};
use crate::line::room::SaleRoom;
use crate::line::view::{View, parse_time_us};
use crate::problem::{Kind, Problem};
use crate::room::document::sale_state;
use crate::telemetry;

/// All sales.
pub async fn list(State(desk): State<Arc<Desk>>) -> Response {
    let items: Vec<Value> =
        desk.rooms.all().iter().filter_map(|room| room.view().map(|view| document(&desk, room, &view))).collect();
    let file_faults: Vec<Value> =
        desk.files.faults().into_iter().map(|(file, fault)| json!({"file": file, "fault": fault})).collect();
    axum::Json(json!({"items": items, "next": null, "file_faults": file_faults})).into_response()
}

/// One sale.
pub async fn show(State(desk): State<Arc<Desk>>, Path(sale): Path<String>) -> Response {
    match known(&desk, &sale) {
        Ok((room, view)) => with_version(&document(&desk, &room, &view), view.snapshot.version),
        Err(problem) => refuse(*problem),
    }
}

/// Creates a sale or replaces its settings; `If-Match` names the version that must stand.
pub async fn put(State(desk): State<Arc<Desk>>, Path(sale): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let settings = match Settings::parse_strictly(&body) {
        Ok(settings) => settings,
        Err(fault) => return refuse(invalid(&fault.pointer, &fault.detail)),
    };
    let expect = match headers.get("if-match").map(|value| value.to_str().unwrap_or_default()) {
        None | Some("*") => Expect::Any,
        Some(tag) => match tag.trim_matches('"').parse() {
            Ok(version) => Expect::Version(version),
            Err(_) => return refuse(invalid("", "If-Match must be a version number")),
        },
    };
    match store(&desk, &sale, &settings, expect).await {
        Ok((room, view)) => with_version(&document(&desk, &room, &view), view.snapshot.version),
        Err(problem) => refuse(*problem),
    }
}

/// Checks and stores settings, then reads the sale again so that this gateway acts on them at once.
///
/// # Errors
/// The problem to answer.
pub async fn store(
    desk: &Desk,
    sale: &str,
    settings: &Settings,
    expect: Expect,
) -> Result<(Arc<SaleRoom>, Arc<View>), Box<Problem>> {
    let sale: SaleId = sale.parse().map_err(|error: queue_token::IdError| Box::new(invalid("", &error.to_string())))?;
    if let Err(faults) = settings.check() {
        let errors: Vec<Value> =
            faults.iter().map(|fault| json!({"pointer": fault.pointer, "detail": fault.detail})).collect();
        let problem = Problem::new(Kind::Invalid, "The settings are out of bounds.");
        return Err(Box::new(problem.members(json!({"errors": errors}))));
    }
    let opens_at_us = match settings.opens_at.as_deref() {
        None => None,
        Some(text) => match parse_time_us(text) {
            Some(us) => Some(us),
            None => return Err(Box::new(invalid("/opens_at", "must be an RFC 3339 time"))),
        },
    };
    let line = desk.rooms.line().ok_or_else(|| Box::new(unreachable()))?;
    // Listed first: a sale that is listed and not yet configured is skipped, one the other way round is lost.
    line.list_sale(&sale).await.map_err(outage)?;
    let stored = line.configure(&sale, settings, opens_at_us, expect, Clock::Server).await.map_err(outage)?;
    desk.rooms.refresh(&sale, 0).await.map_err(outage)?;
    tracing::info!(%sale, version = stored, state = settings.state.as_str(), rate_per_min = settings.rate_per_min,
        "settings stored");
    known(desk, sale.as_str())
}

/// A known sale with its view.
///
/// # Errors
/// The problem to answer.
pub fn known(desk: &Desk, sale: &str) -> Result<(Arc<SaleRoom>, Arc<View>), Box<Problem>> {
    sale.parse()
        .ok()
        .and_then(|sale| desk.rooms.get(&sale))
        .and_then(|room| room.view().map(|view| (room, view)))
        .ok_or_else(|| Box::new(Problem::new(Kind::NotFound, "There is no such sale.")))
}

/// The document of a sale: settings, version, live numbers, the origin's say, what is wrong with its file.
pub fn document(desk: &Desk, room: &SaleRoom, view: &View) -> Value {
    let numbers = &view.snapshot.numbers;
    let mut document = json!({
        "sale": room.id,
        "version": view.snapshot.version,
        "sale_state": sale_state(room, view, telemetry::now_us()),
        "waiting": numbers.waiting,
        "near": numbers.near,
        "away": numbers.away,
        "called": numbers.called,
        "inside": numbers.inside,
        "joined_total": numbers.joined_total,
        "called_total": numbers.called_total,
        "claimed_total": numbers.claimed_total,
        "departed_total": numbers.departed_total,
        "expired_total": numbers.expired_total,
        "called_per_min": view.outflow_per_min.unwrap_or(0.0).round() as u64,
        "age_ms": telemetry::now_ms().saturating_sub(view.received_ms),
        "governor": governor(view),
        "file_digest": view.snapshot.file_digest,
        "file_fault": desk.files.fault(&room.id),
    });
    if let (Value::Object(members), Ok(Value::Object(settings))) =
        (&mut document, serde_json::to_value(&view.snapshot.settings))
    {
        members.extend(settings);
        members.insert("burst".to_owned(), json!(view.snapshot.settings.burst()));
    }
    document
}

/// The origin's say on the rate; `null` when it has none and nothing of it is left.
fn governor(view: &View) -> Value {
    let governed = &view.snapshot.governed;
    if view.snapshot.settings.health_path.is_none() && governed.factor_milli == FULL_MILLI {
        return Value::Null;
    }
    json!({
        "factor": governed.factor_milli as f64 / 1000.0,
        "why": if governed.seq == 0 { "Full rate: nothing stands against it." } else { &governed.why },
        "changed_at": (governed.changed_us > 0).then(|| telemetry::rfc3339_us(governed.changed_us)),
        "rate_in_force_per_min": view.snapshot.rate_in_force_per_min,
    })
}

fn with_version(document: &Value, version: u64) -> Response {
    ([("etag", format!("\"{version}\""))], axum::Json(document)).into_response()
}

fn invalid(pointer: &str, detail: &str) -> Problem {
    let members = json!({"errors": [{"pointer": pointer, "detail": detail}]});
    Problem::new(Kind::Invalid, "The request is not what this route takes.").members(members)
}

fn unreachable() -> Problem {
    Problem::new(Kind::Unavailable, "The line cannot be reached now; nothing was changed.").retry_after(2)
}

fn outage(error: LineError) -> Box<Problem> {
    Box::new(match error {
        LineError::Conflict { current } => {
            Problem::new(Kind::VersionConflict, "The settings have changed since; read them again.")
                .members(json!({"version": current}))
        }
        error => {
            tracing::warn!(error = ?error, "settings could not be stored");
            unreachable()
        }
    })
}
