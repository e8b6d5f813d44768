//! Fans who hold a seat, book it and pay, one step after the other, again and again; and who used which share of the
//! processor time for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cores::{family_used_s, used_s};
use crate::counter::Counter;
use crate::rounds::quantile;
use crate::wire::Wire;

/// Fans at the same time, each with a connection of its own.
pub(crate) const FANS: usize = 64;
/// How long payments may take to be settled after the last answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The processor time of each part, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    node: f64,
    postgres: f64,
    provider: f64,
    client: f64,
}

impl Used {
    /// What each part has used until now.
    ///
    /// # Errors
    /// Where the system does not say.
    pub(crate) fn now(counter: &Counter) -> Result<Self> {
        let pids = counter.pids();
        let known = || {
            Some(Self {
                node: used_s(pids.booking[0])?,
                postgres: family_used_s(pids.postgres)?,
                provider: used_s(pids.psp)?,
                client: used_s(std::process::id())?,
            })
        };
        known().context("the processor time of a process can only be read on Linux")
    }

    /// What was used since then for each of so many, in words.
    pub(crate) fn each_since(self, before: Self, count: usize) -> String {
        let ms = |now: f64, before: f64| (now - before) * 1000.0 / count.max(1) as f64;
        let (node, postgres) = (ms(self.node, before.node), ms(self.postgres, before.postgres));
        let (provider, client) = (ms(self.provider, before.provider), ms(self.client, before.client));
        let all = node + postgres + provider + client;
        format!(
            "{all:.3} ms of processor time each: node {node:.3}, Postgres {postgres:.3}, provider {provider:.3}, \
             client {client:.3}"
        )
    }
}

/// What a round came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sold {
    /// Confirmed bookings per second.
    pub(crate) per_s: f64,
    /// How long one in a hundred took longer than, from asking for the hold to being confirmed.
    pub(crate) p99_ms: f64,
}

/// How long each step took, in milliseconds.
#[derive(Debug, Default)]
struct Steps {
    hold: Vec<f64>,
    book: Vec<f64>,
    pay: Vec<f64>,
}

/// Sells seats of a fresh event for so many seconds. What was sold is compared with the tables afterwards.
///
/// # Errors
/// When a step is answered with anything but success, or the tables say otherwise.
pub(crate) async fn sell(counter: &Counter, event: &str, seats: &Arc<Vec<String>>, seconds: u32) -> Result<Sold> {
    let before = Used::now(counter)?;
    let (next, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let until = began + Duration::from_secs(seconds.into());
    let mut fans = JoinSet::new();
    for _ in 0..FANS {
        let wire = Wire::to(counter.url()).await?;
        fans.spawn(fan(wire, event.to_owned(), Arc::clone(seats), Arc::clone(&next), until));
    }
    let mut all = Steps::default();
    while let Some(steps) = fans.join_next().await {
        let Steps { hold, book, pay } = steps??;
        all.hold.extend(hold);
        all.book.extend(book);
        all.pay.extend(pay);
    }
    let took_s = began.elapsed().as_secs_f64();
    let after = Used::now(counter)?;
    let bookings = all.pay.len();
    let whole: Vec<f64> = all.hold.iter().zip(&all.book).zip(&all.pay).map(|((a, b), c)| a + b + c).collect();
    let p99 = |figures: &[f64]| quantile(figures.to_vec(), 0.99);
    let sold = Sold { per_s: bookings as f64 / took_s, p99_ms: p99(&whole) };
    eprintln!(
        "#   {:.0} bookings a second, p50 {:.0} ms, p99 {:.0} ms (hold {:.0}, book {:.0}, pay {:.0}); {}",
        sold.per_s,
        quantile(whole.clone(), 0.5),
        sold.p99_ms,
        p99(&all.hold),
        p99(&all.book),
        p99(&all.pay),
        after.each_since(before, bookings),
    );
    check(counter, event, bookings).await?;
    Ok(sold)
}

async fn fan(
    mut wire: Wire,
    event: String,
    seats: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    until: Instant,
) -> Result<Steps> {
    let mut steps = Steps::default();
    while Instant::now() < until {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let seat = seats.get(number).context("all seats are sold; the round is too long")?;
        let began = Instant::now();
        let wish = json!({ "seats": [seat] }).to_string();
        let holds = format!("/v1/events/{event}/holds");
        let held = step(&mut wire, &holds, &key(&event, "hold", number), &wish, 201).await?;
        let buyer = format!("authorization: Buyer {}\r\n", text(&held, "buyer")?);
        let holding = Instant::now();
        let order = json!({ "hold": held["hold"], "buyer": { "name": "Ada", "email": "ada@example.org" } });
        let bookings = format!("/v1/events/{event}/bookings");
        let lines = format!("{buyer}{}", key(&event, "book", number));
        let booking = step(&mut wire, &bookings, &lines, &order.to_string(), 201).await?;
        let booked = Instant::now();
        let confirm = format!("{bookings}/{}/confirm", text(&booking, "booking")?);
        let lines = format!("{buyer}{}", key(&event, "pay", number));
        let card = r#"{"payment":{"method":"sandbox","token":"tok_ok"}}"#;
        let paid = step(&mut wire, &confirm, &lines, card, 200).await?;
        ensure!(paid["state"] == "confirmed", "a paid booking is {}", paid["state"]);
        let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1000.0;
        steps.hold.push(ms(began, holding));
        steps.book.push(ms(holding, booked));
        steps.pay.push(ms(booked, Instant::now()));
    }
    Ok(steps)
}

/// Whoever sends a request sends it with a key, so that it may be repeated.
fn key(event: &str, what: &str, number: usize) -> String {
    format!("idempotency-key: {event}-{what}-{number:024}\r\n")
}

async fn step(wire: &mut Wire, path: &str, lines: &str, body: &str, expected: u16) -> Result<Value> {
    let (status, answer) = wire.post(path, lines, body.as_bytes()).await?;
    if status != expected {
        bail!("{path} was answered {status}: {}", String::from_utf8_lossy(answer));
    }
    Ok(serde_json::from_slice(answer)?)
}

fn text<'a>(document: &'a Value, member: &str) -> Result<&'a str> {
    document[member].as_str().with_context(|| format!("no {member} in {document}"))
}

/// Every booking has its ticket and its money.
async fn check(counter: &Counter, event: &str, bookings: usize) -> Result<()> {
    let count = |rows: &str| -> Result<usize> {
        Ok(counter.sql(&format!("select count(*) from {rows} and event_id = '{event}'"))?.parse()?)
    };
    let until = Instant::now() + PATIENCE;
    while count("payment where state <> 'captured'")? > 0 {
        ensure!(Instant::now() < until, "not all payments were settled within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (sold, tickets) = (count("seat where state = 3")?, count("ticket where state = 'valid'")?);
    ensure!((sold, tickets) == (bookings, bookings), "{bookings} were told, {sold} sold, {tickets} have tickets");
    Ok(())
}
