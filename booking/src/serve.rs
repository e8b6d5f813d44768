//! Listening and stopping in order.

use std::time::Duration;

use anyhow::Context;
use axum::Router;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::deliver_announcements::deliver_announcements;
use crate::passes::chain;
use crate::patience::Patient;
use crate::services::Services;
use crate::{feed, http, jobs};

/// How long requests and jobs may take to end after a signal.
const DRAIN: Duration = Duration::from_secs(5);
const UPKEEP: Duration = Duration::from_secs(5);
/// Seconds; the buckets of all latencies.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers requests, and runs the jobs unless the configuration says otherwise.
    Serve,
    /// Runs the jobs.
    Work,
}

/// Runs a role until a signal comes.
///
/// # Errors
/// When a secret cannot be read or an address cannot be listened on.
pub async fn run(services: Services, role: Role) -> anyhow::Result<()> {
    let metrics = install_metrics()?;
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let admin = listen(&services.config.admin_listen).await?;
    let public = match role {
        Role::Serve => Some(listen(&services.config.listen).await?),
        Role::Work => None,
    };
    let runs_jobs = role == Role::Work || services.config.jobs.run;
    if runs_jobs {
        jobs::start(&services, &tracker, &stop);
    }
    feed::start_bell(&services, &tracker, &stop)?;
    tracker.spawn(keep_up(metrics.clone(), services.clone(), stop.clone()));
    let keys = { (services.clone(), stop.clone()) };
    tracker.spawn(async move {
        tokio::select! {
            () = keys.1.cancelled() => {}
            () = keys.0.passes.keep_fresh() => {}
        }
    });
    tracker.spawn(serve(admin, http::admin(services.clone(), metrics), stop.clone()));
    if let Some(listener) = public {
        tracing::info!(address = %listener.local_addr()?, "serving");
        tracker.spawn(serve(listener, http::public(services.clone()), stop.clone()));
    }
    tracker.close();
    wait_for_signal().await?;
    tracing::info!("stopping");
    stop.cancel();
    services.feeds.close();
    let drained = async {
        tracker.wait().await;
        services.tasks.close();
        services.tasks.wait().await;
        // What the last payments announced.
        if runs_jobs && let Err(error) = deliver_announcements(&services.background()).await {
            tracing::warn!(error = %chain(&error), "announcements are left to other nodes");
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some requests or payments did not end in time");
    }
    Ok(())
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))
}

async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let served = axum::serve(Patient(listener), routes).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "serving ended");
    }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?;
    builder.install_recorder().context("installing the metrics recorder")
}

async fn keep_up(metrics: PrometheusHandle, services: Services, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPKEEP) => {}
        }
        metrics.run_upkeep();
        metrics::gauge!("usher_booking_pool_connections").set(f64::from(services.db.size()));
        metrics::gauge!("usher_booking_pool_idle").set(services.db.num_idle() as f64);
    }
}
