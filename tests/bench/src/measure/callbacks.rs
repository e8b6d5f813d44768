//! Callbacks of the provider: each signed, each another event, written to disk before it is answered; about payments that
//! the node has, so that it also works them off meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stack::psp::{SIGNATURE, signature};
use tokio::task::JoinSet;

use crate::Effort;
use crate::counter::Counter;
use crate::rounds::{median, quantile};
use crate::row::{Bar, Row};
use crate::till::{FANS, Used, sell};
use crate::wire::Wire;

const PER_S: Bar = Bar::AtLeast(5000.0);
const HOOK: &str = "/v1/payments/sandbox/webhook";
/// How long the node may take to work off what it has accepted.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    // Short rounds: what is accepted has to be worked off before the next.
    let (rounds, seconds) = if effort.quick { (1, 2) } else { (3, 3) };
    let counter = Counter::open()?;
    let seats = Arc::new(counter.seats()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let event = counter.fresh()?;
    counter.warm_up(&event)?;
    runtime.block_on(sell(&counter, &event, &seats, 2))?;
    let payments = counter.sql("select reference || ' ' || provider_payment from payment where state = 'captured'")?;
    let tellers = Arc::new(Tellers {
        payments: payments.lines().map(str::to_owned).collect(),
        secret: counter.webhook_secret()?,
        told: AtomicU64::new(0),
    });
    ensure!(!tellers.payments.is_empty(), "nothing was sold to tell of");
    let (mut per_s, mut p99_ms) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let seconds = if round == 0 { 1 } else { seconds };
        let (rate, p99) = runtime.block_on(tell(&counter, &tellers, seconds))?;
        work_off(&counter)?;
        if round > 0 {
            per_s.push(rate);
            p99_ms.push(p99);
        }
    }
    Ok(vec![
        Row::alone("callbacks", "/s", median(per_s), PER_S),
        Row::alone("callbacks_p99", "ms", median(p99_ms), Bar::None),
    ])
}

/// What tellers share.
struct Tellers {
    /// Our name and the provider's of each payment.
    payments: Vec<String>,
    secret: String,
    told: AtomicU64,
}

async fn tell(counter: &Counter, tellers: &Arc<Tellers>, seconds: u32) -> Result<(f64, f64)> {
    let events = || counter.sql("select count(*) from provider_event");
    let (known, before, began) = (events()?.parse::<usize>()?, Used::now(counter)?, Instant::now());
    let until = began + Duration::from_secs(seconds.into());
    let mut telling = JoinSet::new();
    for _ in 0..FANS {
        telling.spawn(teller(Wire::to(counter.url()).await?, Arc::clone(tellers), until));
    }
    let mut took_ms = Vec::new();
    while let Some(done) = telling.join_next().await {
        took_ms.extend(done??);
    }
    let (count, per_s) = (took_ms.len(), took_ms.len() as f64 / began.elapsed().as_secs_f64());
    let used = Used::now(counter)?.each_since(before, count);
    let written = events()?.parse::<usize>()? - known;
    ensure!(written == count, "{count} callbacks were accepted and {written} written");
    let p99_ms = quantile(took_ms.clone(), 0.99);
    eprintln!("#   {per_s:.0} callbacks a second, p50 {:.1} ms, p99 {p99_ms:.1} ms; {used}", quantile(took_ms, 0.5));
    Ok((per_s, p99_ms))
}

async fn teller(mut wire: Wire, tellers: Arc<Tellers>, until: Instant) -> Result<Vec<f64>> {
    let mut took_ms = Vec::new();
    while Instant::now() < until {
        let number = tellers.told.fetch_add(1, Ordering::Relaxed);
        let at = usize::try_from(number)? % tellers.payments.len();
        let (body, lines) = callback(&tellers.payments[at], number, &tellers.secret)?;
        let began = Instant::now();
        let (status, answer) = wire.post(HOOK, &lines, body.as_bytes()).await?;
        ensure!(status == 200, "a callback was answered {status}: {}", String::from_utf8_lossy(answer));
        took_ms.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(took_ms)
}

/// A callback as the provider writes it, and the line that signs it.
fn callback(payment: &str, number: u64, secret: &str) -> Result<(String, String)> {
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let (reference, id) = payment.split_once(' ').unwrap_or_default();
    let body = format!(
        "{{\"id\":\"evt_{number:022}\",\"type\":\"payment.captured\",\"created\":{now_s},\"data\":{{\"payment\":{{\
         \"payment\":\"{id}\",\"reference\":\"{reference}\",\"amount\":4350,\"currency\":\"EUR\",\"status\":\"captured\",\
         \"captured\":4350,\"refunded\":0,\"decline_reason\":null}}}}}}"
    );
    let signed = signature(secret.as_bytes(), body.as_bytes(), i64::try_from(now_s)?);
    Ok((body, format!("{SIGNATURE}: {signed}\r\n")))
}

/// Waits until the node has asked about everything that it was told.
fn work_off(counter: &Counter) -> Result<()> {
    let (began, mut first) = (Instant::now(), None);
    loop {
        let left: usize = counter.sql("select count(*) from provider_event where due_at is not null")?.parse()?;
        let waited = *first.get_or_insert(left);
        if left == 0 {
            eprintln!("#   {waited} were left to be worked off, for {:.1} s", began.elapsed().as_secs_f64());
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{left} callbacks are not worked off after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
