//! The jobs that keep the rooms going: connect, look for sales, refresh snapshots, tick.
//!
//! Any gateway may tick; there is no leader to lose. Every round is bounded by its own timeout, so that one slow
//! answer delays but never piles up. Whatever waits for a disk or for the origin is a service of its own
//! ([`crate::file_sales`], [`crate::govern`]): here is the one thread that all calls of the line's Redis go through.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use queue::{Clock, Line, LineError, LineOptions, admit};
use queue_token::SaleId;
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::config::Config;
use crate::keys::Keys;
use crate::limits::ClientLimits;
use crate::line::in_flight::InFlight;
use crate::line::room::SaleRoom;
use crate::line::rooms::Rooms;

/// Between two attempts to connect.
const CONNECT_RETRY: Duration = Duration::from_millis(250);
/// Between two looks at the key file, and two sweeps of the limits.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Most calls of the tick in a row.
const CALLS_MAX: usize = 4;

/// Everything the jobs need.
pub struct Jobs {
    /// The configuration.
    pub config: Arc<Config>,
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// The signing keys.
    pub keys: Arc<Keys>,
    /// The client limits.
    pub limits: Arc<ClientLimits>,
}

#[async_trait]
impl BackgroundService for Jobs {
    /// Connects before it reports ready, so that no port opens on a gateway that cannot know what is guarded.
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let line = tokio::select! {
            line = self.connect() => line,
            _ = shutdown.changed() => return,
        };
        self.rooms.connect(line.clone(), Handle::current());
        while let Err(error) = self.look_at_all(&line).await {
            tracing::warn!(%error, "cannot read the sales yet");
            tokio::select! {
                () = sleep(CONNECT_RETRY) => {}
                _ = shutdown.changed() => return,
            }
        }
        ready.notify_ready();
        tokio::select! {
            () = self.find_repeatedly(&line) => {}
            () = self.look_repeatedly() => {}
            () = self.tick_repeatedly() => {}
            () = self.keep_house() => {}
            _ = shutdown.changed() => {}
        }
    }
}

impl Jobs {
    async fn connect(&self) -> Line {
        loop {
            match Line::connect(&self.config.redis_url, &LineOptions::default()).await {
                Ok(line) => return line,
                Err(error) => {
                    tracing::warn!(error = ?error, "the line's Redis is not ready");
                    sleep(CONNECT_RETRY).await;
                }
            }
        }
    }

    /// Looks at every sale once, before anybody is served.
    async fn look_at_all(&self, line: &Line) -> Result<(), LineError> {
        let sales = line.sales().await?;
        for (sale, looked) in sales.iter().zip(join_all(sales.iter().map(|sale| self.rooms.look(sale))).await) {
            match looked {
                Err(error) if error.is_outage() => return Err(error),
                looked => told(sale, &looked),
            }
        }
        Ok(())
    }

    /// Looks for sales that another gateway was told of.
    async fn find_repeatedly(&self, line: &Line) {
        let mut times = interval(Duration::from_millis(self.config.line.snapshot_ms));
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            match line.sales().await {
                Ok(mut sales) => {
                    sales.retain(|sale| self.rooms.get(sale).is_none());
                    join_all(sales.iter().map(|sale| async { told(sale, &self.rooms.look(sale).await) })).await;
                }
                Err(error) => tracing::debug!(%error, "could not read the list of sales"),
            }
        }
    }

    /// Looks at every sale that is known, also at one that Redis may have forgotten.
    async fn look_repeatedly(&self) {
        let looks = InFlight::default();
        let mut times = interval(Duration::from_millis(self.config.line.snapshot_ms));
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            for room in self.rooms.all() {
                let Some(round) = looks.begin(&room.id) else { continue };
                let rooms = self.rooms.clone();
                tokio::spawn(async move {
                    told(&room.id, &rooms.look(&room.id).await);
                    drop(round);
                });
            }
        }
    }

    async fn tick_repeatedly(&self) {
        let ticks = InFlight::default();
        let mut times = interval(Duration::from_millis(self.config.line.tick_ms));
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            for room in self.rooms.all() {
                let Some(round) = ticks.begin(&room.id) else { continue };
                tokio::spawn(async move {
                    tick(&room).await;
                    drop(round);
                });
            }
        }
    }

    async fn keep_house(&self) {
        let mut times = interval(HOUSEKEEPING);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            if self.keys.reload_if_changed() {
                self.rooms.forget_passes();
            }
            self.limits.sweep();
        }
    }
}

/// Calls whoever's turn it is; more than once where one call is not enough for the rate.
async fn tick(room: &SaleRoom) {
    for _ in 0..CALLS_MAX {
        match room.line().admit(&room.id, Clock::Server).await {
            Ok(tick) => {
                if tick.called > 0 {
                    metrics::counter!("usher_gateway_called_total", "sale" => room.id.to_string())
                        .increment(tick.called);
                }
                if tick.called < admit::CALL_MAX {
                    return;
                }
            }
            Err(LineError::UnknownSale) => return,
            Err(error) => return drop(room.note::<()>(Err(error))),
        }
    }
}

/// One sale that cannot be read must not keep all others closed; rooms note outages themselves.
fn told(sale: &SaleId, looked: &Result<bool, LineError>) {
    match looked {
        Err(error) if !error.is_outage() => tracing::error!(%sale, error = ?error, "a sale cannot be read"),
        _ => {}
    }
}
