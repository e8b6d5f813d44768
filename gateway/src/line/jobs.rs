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
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::config::Config;
use crate::file_sales::FileSales;
use crate::govern::Governor;
use crate::keys::Keys;
use crate::limits::ClientLimits;
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
            () = self.look_repeatedly(&line) => {}
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

    async fn look_at_all(&self, line: &Line) -> Result<(), LineError> {
        let mut sales = line.sales().await?;
        // Redis may have forgotten sales that we still know.
        sales.extend(self.rooms.all().iter().map(|room| room.id.clone()));
        sales.sort();
        sales.dedup();
        for (sale, looked) in sales.iter().zip(join_all(sales.iter().map(|sale| self.rooms.look(sale))).await) {
            match looked {
                Ok(_) => {}
                Err(error) if error.is_outage() => return Err(error),
                // One sale that cannot be read must not keep all others closed.
                Err(error) => tracing::error!(%sale, error = ?error, "a sale cannot be read"),
            }
        }
        Ok(())
    }

    async fn look_repeatedly(&self, line: &Line) {
        let mut times = interval(Duration::from_millis(self.config.line.snapshot_ms));
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            if let Err(error) = self.look_at_all(line).await {
                // Rooms note their own failures; this is the list of sales.
                tracing::debug!(%error, "could not refresh all sales");
            }
        }
    }

    async fn tick_repeatedly(&self) {
        let mut times = interval(Duration::from_millis(self.config.line.tick_ms));
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            let rooms = self.rooms.all();
            join_all(rooms.iter().map(|room| async {
                match room.line().admit(&room.id, Clock::Server).await {
                    Ok(tick) => {
                        if tick.called > 0 {
                            metrics::counter!("usher_gateway_called_total", "sale" => room.id.to_string())
                                .increment(tick.called);
                        }
                    }
                    Err(LineError::UnknownSale) => {}
                    Err(error) => drop(room.note::<()>(Err(error))),
                }
            }))
            .await;
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
