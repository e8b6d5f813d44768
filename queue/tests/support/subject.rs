//! What is tested: a line that takes calls and can be looked at. A real Redis behind the typed wrappers, or a model.

use queue::snapshot::Snapshot;
use queue::{Clock, LineError};
use queue_token::SaleId;
use stack::RedisLayout;

use super::observation::Observation;
use super::operations::{Call, Reply};
use super::server::Server;
use crate::model::{Model, WHY};

/// The sale under test and one that nobody ever configures.
const SALES: [&str; 2] = ["rush", "elsewhere"];

/// A line under test.
pub(crate) trait Subject {
    /// Forgets everything, for the next run.
    fn reset(&mut self);
    /// Does it, on the sale under test or on the unknown one.
    fn apply(&mut self, known: bool, call: &Call, now_us: u64) -> Reply;
    /// The snapshot as a gateway gets it.
    fn snapshot(&mut self, max_age_ms: u64, now_us: u64) -> Option<Snapshot>;
    /// Everybody's spot, read past the operations.
    fn observe(&mut self) -> Observation;
}

/// A model as the line under test, flawless or not.
#[derive(Debug, Default)]
pub(crate) struct Modelled {
    sale: Model,
    elsewhere: Model,
    fresh: Model,
}

impl Modelled {
    pub(crate) fn new(model: Model) -> Self {
        Self { sale: model.clone(), elsewhere: Model::default(), fresh: model }
    }
}

impl Subject for Modelled {
    fn reset(&mut self) {
        *self = Self::new(self.fresh.clone());
    }

    fn apply(&mut self, known: bool, call: &Call, now_us: u64) -> Reply {
        let model = if known { &mut self.sale } else { &mut self.elsewhere };
        match call {
            Call::Configure { settings, opens_at_us, expect } => {
                Reply::Configured(model.configure(settings, *opens_at_us, *expect, now_us))
            }
            Call::Govern { seq, factor_milli, cause } => {
                Reply::Governed(model.govern(*seq, *factor_milli, *cause, now_us))
            }
            Call::Join { visitors, floor } => Reply::Standings(model.join(*floor, visitors, now_us)),
            Call::Admit => Reply::Ticked(model.admit(now_us)),
            Call::Seen { visitors } => Reply::Standings(model.seen(visitors, now_us)),
            Call::Claim { visitor, device } => Reply::Standings(vec![model.claim_on(*visitor, *device, now_us)]),
            Call::Renew { visitors } => Reply::Renewed(model.renew(visitors, now_us)),
            Call::Depart { visitor, device } => Reply::Standings(vec![model.depart_on(*visitor, *device, now_us)]),
            Call::Offer { shown, code } => Reply::Offered(model.offer(*shown, *code, now_us)),
            Call::Take { code, taker } => Reply::Taken(model.take(*code, *taker, now_us)),
            Call::Snapshot { max_age_ms } => Reply::Snapshot(Box::new(model.snapshot(*max_age_ms, now_us))),
            Call::Lose => {
                model.lose();
                Reply::Lost
            }
        }
    }

    fn snapshot(&mut self, max_age_ms: u64, now_us: u64) -> Option<Snapshot> {
        self.sale.snapshot(max_age_ms, now_us)
    }

    fn observe(&mut self) -> Observation {
        Observation::of_model(&self.sale)
    }
}

/// A real Redis.
pub(crate) struct Real {
    server: Server,
    sales: [SaleId; 2],
}

impl Real {
    pub(crate) fn start() -> Self {
        Self::start_as(RedisLayout::Single)
    }

    pub(crate) fn start_as(layout: RedisLayout) -> Self {
        let server = Server::start_as(layout, &format!("{{{}}}", SALES[0]));
        Self { server, sales: SALES.map(|id| id.parse().expect("a sale id")) }
    }
}

impl Subject for Real {
    fn reset(&mut self) {
        flush(&self.server);
    }

    fn apply(&mut self, known: bool, call: &Call, now_us: u64) -> Reply {
        if matches!(call, Call::Lose) {
            flush(&self.server);
            return Reply::Lost;
        }
        let (sale, clock) = (&self.sales[usize::from(!known)], Clock::Micros(now_us));
        self.server.runtime.block_on(on_line(&self.server.line, sale, call, clock)).expect("the line answers")
    }

    fn snapshot(&mut self, max_age_ms: u64, now_us: u64) -> Option<Snapshot> {
        let snapshot = self.server.line.snapshot(&self.sales[0], max_age_ms, Clock::Micros(now_us));
        self.server.runtime.block_on(snapshot).expect("the line answers")
    }

    fn observe(&mut self) -> Observation {
        let observed = Observation::of_redis(&mut self.server.raw, &self.sales[0]);
        self.server.runtime.block_on(observed)
    }
}

/// Redis loses everything.
pub(crate) fn flush(server: &Server) {
    let mut raw = server.raw.clone();
    server.runtime.block_on(redis::cmd("FLUSHALL").query_async::<()>(&mut raw)).expect("flushed");
}

/// One call through the typed wrappers.
async fn on_line(line: &queue::Line, sale: &SaleId, call: &Call, clock: Clock) -> Result<Reply, LineError> {
    Ok(match call {
        Call::Configure { settings, opens_at_us, expect } => {
            Reply::Configured(match line.configure(sale, settings, *opens_at_us, *expect, clock).await {
                Err(LineError::Conflict { current }) => Err(current),
                other => Ok(other?),
            })
        }
        Call::Govern { seq, factor_milli, cause } => {
            Reply::Governed(match line.govern(sale, *seq, *factor_milli, *cause, WHY, clock).await {
                Err(LineError::UnknownSale) => None,
                other => Some(other?),
            })
        }
        Call::Join { visitors, floor } => Reply::Standings(line.join(sale, *floor, visitors, clock).await?),
        Call::Admit => Reply::Ticked(match line.admit(sale, clock).await {
            Err(LineError::UnknownSale) => None,
            other => Some(other?),
        }),
        Call::Seen { visitors } => Reply::Standings(line.seen(sale, visitors, clock).await?),
        Call::Claim { visitor, device } => Reply::Standings(vec![line.claim(sale, *visitor, *device, clock).await?]),
        Call::Renew { visitors } => Reply::Renewed(line.renew(sale, visitors, clock).await?),
        Call::Depart { visitor, device } => Reply::Standings(vec![line.depart(sale, *visitor, *device, clock).await?]),
        Call::Offer { shown, code } => Reply::Offered(line.offer(sale, *shown, *code, clock).await?),
        Call::Take { code, taker } => Reply::Taken(line.take(sale, *code, *taker, clock).await?),
        Call::Snapshot { max_age_ms } => Reply::Snapshot(Box::new(line.snapshot(sale, *max_age_ms, clock).await?)),
        Call::Lose => Reply::Lost,
    })
}
