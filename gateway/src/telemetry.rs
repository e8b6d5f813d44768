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

/// RFC 3339 in UTC with microseconds; empty beyond the year 9999.
pub fn rfc3339_us(us: u64) -> String {
    let mut text = rfc3339(us / 1_000_000);
    if text.pop().is_some() {
        text.push('.');
        push_digits(&mut text, us % 1_000_000, 100_000);
        text.push('Z');
    }
    text
}

/// RFC 3339 in UTC with seconds; empty beyond the year 9999.
pub fn rfc3339_ms(ms: u64) -> String {
    rfc3339(ms / 1000)
}

/// Each poll tells two times, so they are written without a formatter.
fn rfc3339(s: u64) -> String {
    /// The end of the last whole day that every library can tell.
    const END_S: u64 = 253_402_128_000;
    let mut text = String::with_capacity("2027-01-15T08:00:00.000000Z".len());
    if s >= END_S {
        return text;
    }
    let (year, month, day) = civil(s / 86_400);
    let s = s % 86_400;
    push_digits(&mut text, year, 1000);
    for (mark, value) in [('-', month), ('-', day), ('T', s / 3600), (':', s / 60 % 60), (':', s % 60)] {
        text.push(mark);
        push_digits(&mut text, value, 10);
    }
    text.push('Z');
    text
}

/// Year, month and day so many days after 1970-01-01. Counts from a first of March, so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Appends a number with leading zeros; `first` is what its first digit counts.
fn push_digits(text: &mut String, value: u64, first: u64) {
    let mut counts = first;
    while counts > 0 {
        text.push(char::from(b'0' + (value / counts % 10) as u8));
        counts /= 10;
    }
}

/// The id of a new request: 32 hexadecimal digits.
pub fn new_request_id() -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(rand::random::<[u8; 16]>()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    String::from_utf8_lossy(&digits).into_owned()
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
        assert_eq!(rfc3339_us(u64::MAX), "");
    }

    proptest::proptest! {
        #[test]
        fn times_are_written_as_the_library_writes_them(us in 0..253_402_128_000_000_000_u64) {
            let time = jiff::Timestamp::from_microsecond(us as i64).unwrap();
            assert_eq!(rfc3339_us(us), format!("{time:.6}"));
            assert_eq!(rfc3339_ms(us / 1000), format!("{time:.0}"));
        }
    }

    #[test]
    fn request_ids_are_32_digits_and_differ() {
        let (one, two) = (new_request_id(), new_request_id());
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, two);
    }
}
