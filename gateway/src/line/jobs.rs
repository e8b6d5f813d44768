//! The jobs that keep the rooms going: connect, look for sales, read files, refresh snapshots, tick, govern.
//!
//! Any gateway may tick; there is no leader to lose. Every round is bounded by its own timeout, so that one slow
//! answer delays but never piles up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use queue::{Clock, Line, LineError, LineOptions};
use queue_token::SaleId;
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::config::Config;
use crate::file_sales::FileSales;
use crate::govern::Governor;
use crate::keys::Keys;
use crate::limits::ClientLimits;
use crate::line::in_flight::InFlight;
use crate::line::room::SaleRoom;
use crate::line::rooms::Rooms;

/// Between two attempts to connect.
const CONNECT_RETRY: Duration = Duration::from_millis(250);
/// Between two looks at the key file, and two sweeps of the limits.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Between two looks at the sales' files; a file acts when two looks find it the same.
const FILES: Duration = Duration::from_millis(250);
/// Between two looks at how the origin is.
const GOVERNING: Duration = Duration::from_secs(1);

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
    /// The origin's say on the rate.
    pub governor: Governor,
    /// The sales that stand in files.
    pub files: Arc<FileSales>,
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
        self.files.sync(&self.rooms).await;
        ready.notify_ready();
        tokio::select! {
            () = self.find_repeatedly(&line) => {}
            () = self.look_repeatedly() => {}
            () = self.tick_repeatedly() => {}
            () = self.govern_repeatedly() => {}
            () = self.read_files_repeatedly() => {}
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

    async fn govern_repeatedly(&self) {
        let mut times = interval(GOVERNING);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            self.governor.round(&self.rooms.all()).await;
        }
    }

    async fn read_files_repeatedly(&self) {
        let mut times = interval(FILES);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            self.files.sync(&self.rooms).await;
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

/// Calls whoever's turn it is.
async fn tick(room: &SaleRoom) {
    match room.line().admit(&room.id, Clock::Server).await {
        Ok(tick) if tick.called > 0 => {
            metrics::counter!("usher_gateway_called_total", "sale" => room.id.to_string()).increment(tick.called);
        }
        Ok(_) | Err(LineError::UnknownSale) => {}
        Err(error) => drop(room.note::<()>(Err(error))),
    }
}

/// One sale that cannot be read must not keep all others closed; rooms note outages themselves.
fn told(sale: &SaleId, looked: &Result<bool, LineError>) {
    match looked {
        Err(error) if !error.is_outage() => tracing::error!(%sale, error = ?error, "a sale cannot be read"),
        _ => {}
    }
}
