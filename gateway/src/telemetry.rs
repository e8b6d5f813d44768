//! Logs, metrics and the wall clock of this process.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Seconds of the Unix epoch.
pub fn now_s() -> u64 {
    since_epoch().as_secs()
}

/// Milliseconds of the Unix epoch.
pub fn now_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds of the Unix epoch.
pub fn now_us() -> u64 {
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// RFC 3339 in UTC with microseconds.
pub fn rfc3339_us(us: u64) -> String {
    let us = i64::try_from(us).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(us).map(|t| format!("{t:.6}")).unwrap_or_default()
}

/// RFC 3339 in UTC with seconds.
pub fn rfc3339_ms(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map(|t| format!("{t:.0}")).unwrap_or_default()
}

/// JSON lines on standard error; the level comes from `RUST_LOG`.
pub fn init_logs() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,pingora_core=warn,pingora_proxy=warn,pingora_load_balancing=warn"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Installs the process's metrics recorder.
///
/// # Errors
/// When another recorder is installed already.
pub fn init_metrics() -> anyhow::Result<PrometheusHandle> {
    const BUCKETS_S: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS_S)?
        .install_recorder()?;
    metrics::describe_counter!("usher_gateway_requests_total", "requests by what became of them");
    metrics::describe_histogram!("usher_gateway_request_seconds", "time to answer a request");
    metrics::describe_counter!("usher_gateway_connections_refused_total", "connections beyond an address's share");
    metrics::describe_counter!("usher_gateway_called_total", "visitors called by this gateway's ticks");
    metrics::describe_counter!("usher_gateway_line_errors_total", "operations on the line that failed");
    metrics::describe_gauge!("usher_gateway_waiting", "visitors in the line");
    metrics::describe_gauge!("usher_gateway_inside", "visitors inside");
    metrics::describe_gauge!("usher_gateway_rate_in_force_per_min", "calls a minute that the origin leaves");
    Ok(handle)
}

/// The metrics of requests with one outcome.
#[derive(Clone)]
struct Counted {
    outcome: &'static str,
    requests: Counter,
    seconds: Histogram,
}

/// Counts an answered request. Looking a metric up costs more than counting, so it is done once for each outcome; there
/// are as many as there are words for them in the code.
pub fn count_request(outcome: &'static str, seconds: f64) {
    static KNOWN: LazyLock<ArcSwap<Vec<Counted>>> = LazyLock::new(ArcSwap::default);
    let count = |known: &Counted| {
        known.requests.increment(1);
        known.seconds.record(seconds);
    };
    if let Some(known) = KNOWN.load().iter().find(|known| known.outcome == outcome) {
        return count(known);
    }
    let requests = metrics::counter!("usher_gateway_requests_total", "outcome" => outcome);
    let seconds = metrics::histogram!("usher_gateway_request_seconds", "outcome" => outcome);
    let new = Counted { outcome, requests, seconds };
    count(&new);
    // Two that are first at the same time both note it; both count the same metric.
    KNOWN.rcu(|known| known.iter().cloned().chain([new.clone()]).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(rfc3339_us(1_800_000_000_000_123), "2027-01-15T08:00:00.000123Z");
        assert_eq!(rfc3339_ms(1_800_000_000_999), "2027-01-15T08:00:00Z");
    }
}
