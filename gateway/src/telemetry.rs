//! Logs, metrics and the wall clock of this process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    let Some(second) = second(us / 1_000_000) else { return String::new() };
    let mut text = [b'.'; 27];
    text[..19].copy_from_slice(&second);
    text[20..26].copy_from_slice(&digits::<6>(us % 1_000_000));
    text[26] = b'Z';
    String::from_utf8_lossy(&text).into_owned()
}

/// RFC 3339 in UTC with seconds; empty beyond the year 9999.
pub fn rfc3339_ms(ms: u64) -> String {
    let Some(second) = second(ms / 1000) else { return String::new() };
    let mut text = [b'Z'; 20];
    text[..19].copy_from_slice(&second);
    String::from_utf8_lossy(&text).into_owned()
}

/// A second without its zone. Each poll tells two times, so they are written without a formatter.
fn second(s: u64) -> Option<[u8; 19]> {
    /// The end of the last whole day that every library can tell.
    const END_S: u64 = 253_402_128_000;
    if s >= END_S {
        return None;
    }
    let mut text = *b"0000-00-00T00:00:00";
    let (year, month, day) = civil(s / 86_400);
    text[..4].copy_from_slice(&digits::<4>(year));
    let s = s % 86_400;
    for (at, value) in [(5, month), (8, day), (11, s / 3600), (14, s / 60 % 60), (17, s % 60)] {
        text[at..at + 2].copy_from_slice(&digits::<2>(value));
    }
    Some(text)
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

/// The last digits of a number, with leading zeros.
fn digits<const N: usize>(mut left: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (left % 10) as u8;
        left /= 10;
    }
    digits
}

/// The id of a new request: 32 hexadecimal digits. A name and no secret: requests are counted from a random number on, and
/// the count is stirred in two ways, each of which gives every count another half.
pub fn new_request_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static FROM: LazyLock<[u64; 2]> = LazyLock::new(rand::random);
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut digits = [0; 32];
    for (half, from) in digits.chunks_exact_mut(16).zip(*FROM) {
        let mut left = stirred(count.wrapping_add(from));
        for digit in half {
            *digit = DIGITS[(left >> 60) as usize];
            left <<= 4;
        }
    }
    String::from_utf8_lossy(&digits).into_owned()
}

/// Another number for every number, far from those of its neighbours (the last step of SplitMix64).
fn stirred(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
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
struct Counted {
    outcome: &'static str,
    requests: Counter,
    seconds: Histogram,
}

impl Counted {
    fn new(outcome: &'static str) -> Self {
        let requests = metrics::counter!("usher_gateway_requests_total", "outcome" => outcome);
        let seconds = metrics::histogram!("usher_gateway_request_seconds", "outcome" => outcome);
        Self { outcome, requests, seconds }
    }

    fn count(&self, seconds: f64) {
        self.requests.increment(1);
        self.seconds.record(seconds);
    }
}

/// As many outcomes are remembered; the code has fewer words for them.
const OUTCOMES: usize = 32;

/// Counts an answered request. Looking a metric up costs more than counting, so it is done once for each outcome.
pub fn count_request(outcome: &'static str, seconds: f64) {
    static KNOWN: [OnceLock<Counted>; OUTCOMES] = [const { OnceLock::new() }; OUTCOMES];
    let known = KNOWN.iter().map(|known| known.get_or_init(|| Counted::new(outcome)));
    match known.into_iter().find(|known| known.outcome == outcome) {
        Some(known) => known.count(seconds),
        None => Counted::new(outcome).count(seconds),
    }
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
        let many: std::collections::HashSet<_> = (0..10_000).map(|_| new_request_id()).collect();
        assert_eq!(many.len(), 10_000);
    }

    #[test]
    fn every_outcome_is_counted_however_many_there_are() {
        for i in 0..2 * OUTCOMES {
            count_request(Box::leak(format!("outcome {i}").into_boxed_str()), 0.1);
        }
    }
}
