//! A crowd in a line, played on the queue library as a gateway would: without HTTP, so that a million fit on one machine.

use anyhow::{Result, bail};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use queue::configure::Expect;
use queue::{Clock, Line, LineOptions, Settings, Standing, join, seen};
use queue_token::{SaleId, Score, VisitorId};
use stack::redis::{Redis, RedisOptions};

use crate::cores::Core;

/// As many as the largest measurements have in line.
pub(crate) const MILLION: usize = 1_000_000;
/// Batches under way at once: several gateways, each with one.
const AT_ONCE: usize = 4;

/// Somebody in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Who.
    pub(crate) visitor: VisitorId,
    /// The spot.
    pub(crate) score: Score,
}

/// One sale's line.
pub(crate) struct Crowd {
    /// The line's Redis.
    pub(crate) line: Line,
    /// The sale.
    pub(crate) sale: SaleId,
}

/// A private Redis in memory alone, on the core of what is measured.
///
/// # Errors
/// When it does not come up.
pub(crate) fn redis() -> Result<Redis> {
    let redis = Redis::start(&RedisOptions { aof: stack::redis::Aof::Off, ..RedisOptions::default() })?;
    if let Some(pid) = redis.node().pid() {
        Core::Measured.take(pid)?;
    }
    Ok(redis)
}

/// The bytes that Redis says it uses.
///
/// # Errors
/// When it does not say.
pub(crate) fn used_bytes(redis: &Redis) -> Result<f64> {
    let info = redis.command(&["INFO", "memory"])?;
    let line = info.iter().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.map(str::trim).unwrap_or_default().parse()?)
}

impl Crowd {
    /// Connects to the line of a sale.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn at(url: &str, sale: &str) -> Result<Self> {
        Ok(Self { line: Line::connect(url, &LineOptions::default()).await?, sale: sale.parse()? })
    }

    /// Creates the sale, or changes it.
    ///
    /// # Errors
    /// When the settings are refused.
    pub(crate) async fn configure(&self, settings: &str, expect: Expect) -> Result<()> {
        let settings: Settings = serde_json::from_str(settings)?;
        self.line.configure(&self.sale, &settings, None, expect, Clock::Server).await?;
        Ok(())
    }

    /// So many visitors join, in batches as a gateway's; answers them in their order.
    ///
    /// # Errors
    /// When one is not taken.
    pub(crate) async fn join(&self, visitors: usize) -> Result<Vec<Waiting>> {
        let mut joined = Vec::with_capacity(visitors);
        while joined.len() < visitors {
            let few = join::BATCH_MAX.min(visitors - joined.len());
            let batch: Vec<VisitorId> = (0..few).map(|_| VisitorId::from_bytes(rand::random())).collect();
            let standings = self.line.join(&self.sale, Score::default(), &batch, Clock::Server).await?;
            for (visitor, standing) in batch.into_iter().zip(standings) {
                let Standing::Waiting { score, .. } = standing else { bail!("a visitor who joined is {standing:?}") };
                joined.push(Waiting { visitor, score });
            }
        }
        Ok(joined)
    }

    /// These visitors ask, in batches as a gateway's, a few of them under way at once; answers where they stand.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn seen(&self, visitors: &[Waiting]) -> Result<Vec<Standing>> {
        let ask = async |batch: &[Waiting]| {
            let batch: Vec<(VisitorId, Score)> = batch.iter().map(|one| (one.visitor, one.score)).collect();
            self.line.seen(&self.sale, &batch, Clock::Server).await
        };
        let batches = stream::iter(visitors.chunks(seen::BATCH_MAX)).map(ask).buffered(AT_ONCE);
        Ok(batches.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }
}
