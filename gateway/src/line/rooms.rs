//! All sales that this gateway knows, and which of them guards a path.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::Method;
use queue::configure::Expect;
use queue::snapshot::Snapshot;
use queue::{Clock, Line, LineError, Settings, renew};
use queue_token::SaleId;
use tokio::runtime::Handle;

use crate::credentials::Credentials;
use crate::line::room::SaleRoom;
use crate::line::view::{View, parse_time_us};
use crate::telemetry;

/// A snapshot younger than this (ms) is taken as it was published by whichever gateway.
const SNAPSHOT_AGE_MS: u64 = 400;

/// The rooms, by sale.
#[derive(Debug)]
pub struct Rooms {
    credentials: Arc<Credentials>,
    rooms: ArcSwap<HashMap<SaleId, Arc<SaleRoom>>>,
    opening: tokio::sync::Mutex<()>,
    line: OnceLock<(Line, Handle)>,
}

impl Rooms {
    /// No rooms yet. The credentials know which passes are live, when Redis has forgotten.
    pub fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials, rooms: ArcSwap::default(), opening: tokio::sync::Mutex::default(), line: OnceLock::new() }
    }

    /// Hands over the connection and the runtime in which rooms live. Once.
    pub fn connect(&self, line: Line, runtime: Handle) {
        // The jobs connect once; a second connection would change nothing.
        let _ = self.line.set((line, runtime));
    }

    /// The line, once connected.
    pub fn line(&self) -> Option<&Line> {
        self.line.get().map(|(line, _)| line)
    }

    /// A known sale.
    pub fn get(&self, sale: &SaleId) -> Option<Arc<SaleRoom>> {
        self.rooms.load().get(sale).cloned()
    }

    /// Forgets every remembered pass: the keys have changed.
    pub fn forget_passes(&self) {
        self.credentials.forget_all();
    }

    /// All known sales.
    pub fn all(&self) -> Vec<Arc<SaleRoom>> {
        let mut all: Vec<_> = self.rooms.load().values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// The sale that guards this request: the one with the longest matching path, then the first by name.
    pub fn guarding(
        &self,
        host: &str,
        method: &Method,
        readings: &[Vec<Cow<'_, str>>],
    ) -> Option<(Arc<SaleRoom>, Arc<View>)> {
        let rooms = self.rooms.load();
        let matches = rooms.values().filter_map(|room| {
            let view = room.view()?;
            let length = readings.iter().filter_map(|path| view.guards.matches(host, method, path)).max()?;
            Some((length, room, view))
        });
        matches
            .max_by(|(a, room_a, _), (b, room_b, _)| a.cmp(b).then(room_b.id.cmp(&room_a.id)))
            .map(|(_, room, view)| (room.clone(), view))
    }

    /// The sale that guards this path for some method.
    pub fn speaking_of(&self, host: &str, readings: &[Vec<Cow<'_, str>>]) -> Option<SaleId> {
        let rooms = self.rooms.load();
        let matches = rooms.values().filter_map(|room| {
            let view = room.view()?;
            let length = readings.iter().filter_map(|path| view.guards.speaks_of(host, path)).max()?;
            Some((length, room.id.clone()))
        });
        matches.max().map(|(_, sale)| sale)
    }

    /// Reads a sale's snapshot now; opens its room when it is new. Answers whether Redis knows the sale.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn refresh(&self, sale: &SaleId, max_age_ms: u64) -> Result<bool, LineError> {
        let Some((line, _)) = self.line.get() else { return Ok(false) };
        let known = self.get(sale);
        let read = line.snapshot(sale, max_age_ms, Clock::Server).await;
        let read = match &known {
            Some(room) => room.note(read)?,
            None => read?,
        };
        let Some(snapshot) = read else {
            if let Some(view) = known.and_then(|room| room.view()) {
                tracing::warn!(%sale, version = view.snapshot.version, "the line has lost the sale; bringing it back");
                self.put_back(sale, &view, Expect::Lost(view.snapshot.version)).await?;
            }
            return Ok(false);
        };
        let before = known.as_ref().and_then(|room| room.view());
        if before.as_ref().is_some_and(|before| before.overtook(&snapshot, telemetry::now_ms())) {
            return Ok(true);
        }
        if let Some(view) = &before
            && let Some(expect) = restored_settings(&view.snapshot, &snapshot)
        {
            tracing::warn!(%sale, ?expect, "the line has lost settings; putting them back");
            self.put_back(sale, view, expect).await?;
            // What was read is nothing to go by; the next look sees them.
            return Ok(true);
        }
        let room = match known {
            Some(room) => room,
            None => self.open(sale).await,
        };
        metrics::gauge!("usher_gateway_waiting", "sale" => sale.to_string()).set(snapshot.numbers.waiting as f64);
        metrics::gauge!("usher_gateway_inside", "sale" => sale.to_string()).set(snapshot.numbers.inside as f64);
        metrics::gauge!("usher_gateway_rate_in_force_per_min", "sale" => sale.to_string())
            .set(snapshot.rate_in_force_per_min);
        self.credentials.note_left(&snapshot.left, telemetry::now_s(), snapshot.settings.pass_ttl_s);
        if before.as_ref().is_some_and(|before| before.snapshot.generation != snapshot.generation) {
            self.restore_inside(&room);
        }
        room.set_view(View::new(snapshot, before.as_deref(), telemetry::now_ms()));
        Ok(true)
    }

    /// Reads a sale's snapshot as the jobs do each time.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn look(&self, sale: &SaleId) -> Result<bool, LineError> {
        self.refresh(sale, SNAPSHOT_AGE_MS).await
    }

    /// Redis has lost a sale, or settings, that we know: they go back.
    async fn put_back(&self, sale: &SaleId, view: &View, expect: Expect) -> Result<(), LineError> {
        let Some((line, _)) = self.line.get() else { return Ok(()) };
        let settings: &Settings = &view.snapshot.settings;
        let opens_at_us = settings.opens_at.as_deref().and_then(parse_time_us);
        line.list_sale(sale).await?;
        let digest = view.snapshot.file_digest.as_deref();
        match line.configure_from(digest, sale, settings, opens_at_us, expect, Clock::Server).await {
            // Another gateway was first.
            Ok(_) | Err(LineError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Redis may have forgotten who is inside: every live pass that this gateway has seen takes its slot back, so that
    /// the room that is left is not overestimated once calling begins again.
    fn restore_inside(&self, room: &Arc<SaleRoom>) {
        let passes = self.credentials.live_passes(&room.id, telemetry::now_s());
        tracing::warn!(sale = %room.id, passes = passes.len(), "the line may have lost something; regrouping");
        let (Some((_, runtime)), room) = (self.line.get(), room.clone()) else { return };
        runtime.spawn(async move {
            for batch in passes.chunks(renew::BATCH_MAX) {
                let renewed = room.line().renew(&room.id, batch, Clock::Server).await;
                if let Err(error) = room.note(renewed) {
                    tracing::warn!(%error, "live passes could not take their slots back");
                    return;
                }
            }
        });
    }

    async fn open(&self, sale: &SaleId) -> Arc<SaleRoom> {
        let _one_at_a_time = self.opening.lock().await;
        if let Some(room) = self.get(sale) {
            return room;
        }
        let (line, runtime) = self.line.get().expect("rooms are opened only once connected");
        let room = SaleRoom::open(sale, line, runtime);
        let mut rooms = HashMap::clone(&self.rooms.load());
        rooms.insert(sale.clone(), room.clone());
        self.rooms.store(Arc::new(rooms));
        tracing::info!(%sale, "sale found");
        room
    }
}

/// Under which condition the settings that a gateway knows go back to a line that was restored from older data.
pub fn restored_settings(known: &Snapshot, found: &Snapshot) -> Option<Expect> {
    let is_older = found.generation != known.generation && found.version < known.version;
    is_older.then_some(Expect::Restored { found: found.version, known: known.version })
}
