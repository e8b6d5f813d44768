//! What runs beside the requests. Each job is safe to run on any number of nodes, at any moment, twice.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::cancel_event;
use crate::app::deliver_announcements::deliver_announcements;
use crate::app::expire_holds::expire_holds;
use crate::app::receive_callback;
use crate::app::settle_payment::reconcile;
use crate::error::Error;
use crate::passes::chain;
use crate::services::Services;
use crate::storage::{callbacks, idempotency, outbox, payments, statistics};

/// Payments looked at per round, and how many at once.
const RECONCILE_BATCH: i64 = 64;
const RECONCILE_AT_ONCE: usize = 8;
/// How long kept answers are kept, how often and how many are forgotten.
const KEEP_ANSWERS_DAYS: u32 = 30;
const FORGET_EVERY: Duration = Duration::from_secs(60);
const FORGET_BATCH: i64 = 5000;

/// How long one round of a job may take; only a database that went mute takes so long.
const ROUND: Duration = Duration::from_secs(300);

/// How often it is looked whether tables have grown manifold.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How often cancelled events are looked for.
const CANCEL_EVERY: Duration = Duration::from_millis(500);

/// Starts all jobs, over connections of their own; they end when `stop` is cancelled.
pub fn start(services: &Services, tracker: &TaskTracker, stop: &CancellationToken) {
    let services = &services.background();
    let jobs = &services.config.jobs;
    let sweep = Duration::from_millis(jobs.sweep_every_ms);
    let reconcile = Duration::from_millis(jobs.reconcile_every_ms);
    tracker.spawn(every("sweep_holds", sweep, services.clone(), stop.clone(), sweep_holds));
    tracker.spawn(every("reconcile_payments", reconcile, services.clone(), stop.clone(), reconcile_payments));
    tracker.spawn(callbacks_and_then(reconcile, services.clone(), stop.clone()));
    tracker.spawn(announcements(reconcile, services.clone(), stop.clone()));
    tracker.spawn(every("cancel_events", CANCEL_EVERY, services.clone(), stop.clone(), cancel_events));
    tracker.spawn(every("refresh_statistics", COUNT_EVERY, services.clone(), stop.clone(), refresh_statistics));
    tracker.spawn(every("forget_answers", FORGET_EVERY, services.clone(), stop.clone(), forget_answers));
}

/// Runs a job again and again; a failure is logged and the next round tries anew.
async fn every<F>(
    name: &'static str,
    interval: Duration,
    services: Services,
    stop: CancellationToken,
    job: impl Fn(Services) -> F + Send,
) where
    F: Future<Output = Result<(), Error>> + Send,
{
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        if let Err(error) = round(job(services.clone())).await {
            tracing::warn!(job = name, error = %chain(&error), "the job failed; it will be tried again");
            metrics::counter!("usher_booking_job_failures_total", "job" => name).increment(1);
        }
    }
}

/// A round of a job, given up when it takes too long: what it left is found by the next.
async fn round<T>(job: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |late: tokio::time::error::Elapsed| {
        Err(Error::Unavailable { what: "the database", source: late.into(), retry: false })
    };
    tokio::time::timeout(ROUND, job).await.unwrap_or_else(late)
}

/// Works off callbacks as soon as they come, and looks for those that another node left.
async fn callbacks_and_then(interval: Duration, services: Services, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = services.callbacks.came.notified() => {}
            () = tokio::time::sleep(interval) => {}
        }
        if let Err(error) = round(receive_callback::work_off(&services)).await {
            tracing::warn!(error = %chain(&error), "callbacks are worked off later");
            metrics::counter!("usher_booking_job_failures_total", "job" => "callbacks").increment(1);
        }
    }
}

/// Delivers announcements; a node that stops in order delivers what is due before it goes.
async fn announcements(interval: Duration, services: Services, stop: CancellationToken) {
    loop {
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(interval) => false,
        };
        if let Err(error) = round(deliver_announcements(&services)).await {
            tracing::warn!(error = %chain(&error), "announcements are delivered later");
            metrics::counter!("usher_booking_job_failures_total", "job" => "announcements").increment(1);
        }
        if stopping {
            return;
        }
    }
}

async fn cancel_events(services: Services) -> Result<(), Error> {
    cancel_event::go_on(&services).await
}

async fn sweep_holds(services: Services) -> Result<(), Error> {
    let swept = expire_holds(&services).await?;
    if swept > 0 {
        tracing::debug!(swept, "lapsed holds");
        metrics::counter!("usher_booking_holds_expired_total").increment(swept as u64);
    }
    Ok(())
}

async fn reconcile_payments(services: Services) -> Result<(), Error> {
    // A lease longer than a look mostly takes: another node gets the payment only when this one died or hangs.
    let lease_ms = services.config.payments.provider_timeout_ms.saturating_mul(2).saturating_add(5000);
    let lease_s = u32::try_from(lease_ms.div_ceil(1000)).unwrap_or(60);
    let due = payments::take_due(&services.db, RECONCILE_BATCH, lease_s).await?;
    let services = &services;
    stream::iter(due)
        .for_each_concurrent(RECONCILE_AT_ONCE, |payment| async move {
            // What fails is told, counted and looked at again by whoever failed.
            let _ = reconcile(services, &payment).await;
        })
        .await;
    Ok(())
}

async fn refresh_statistics(services: Services) -> Result<(), Error> {
    statistics::refresh(&services.db).await.map(|_| ())
}

async fn forget_answers(services: Services) -> Result<(), Error> {
    let forgotten = idempotency::forget(&services.db, KEEP_ANSWERS_DAYS, FORGET_BATCH).await?;
    tracing::debug!(forgotten, "kept answers");
    callbacks::forget(&services.db, KEEP_ANSWERS_DAYS, FORGET_BATCH).await?;
    let (waiting, aside) = outbox::counts(&services.db).await?;
    metrics::gauge!("usher_booking_outbox_waiting").set(waiting as f64);
    metrics::gauge!("usher_booking_outbox_aside").set(aside as f64);
    Ok(())
}
