//! Ten thousand look at one live map while a thousand seats a second change: how long after a hold was asked for does
//! the last viewer see it, what does a viewer cost in memory, and do snapshots and plans keep their bars meanwhile.
//!
//! A delay counts from before the request for the hold was sent until a viewer has read the whole frame with it, for
//! every change and every viewer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::Effort;
use crate::cores::resident_bytes;
use crate::hall::{EVENT, Hall};
use crate::row::{Bar, Row};

const VIEWERS: usize = 10_000;
const CHANGES_PER_S: usize = 1_000;
/// Connections that are made at once.
const AT_ONCE: usize = 200;
/// Requests for holds that may be under way.
const HOLDS_AT_ONCE: usize = 256;
/// How often a newcomer reads event, plan and snapshot.
const NEWCOMERS: Duration = Duration::from_millis(50);
/// How long viewers may take to see the end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Room for the frames that a viewer may read at once.
const BUFFER: usize = 4096;

/// When a viewer had read which version.
type Arrivals = Vec<(i64, Instant)>;

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    let (viewers, seconds) = if effort.quick { (1_000, 5) } else { (VIEWERS, 20) };
    let room = format!("live.max_viewers={}", viewers + 100);
    let hall = Hall::open(&[&room, "holds.ttl_s=3600"])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(look(&hall, viewers, seconds))
}

async fn look(hall: &Hall, viewers: usize, seconds: usize) -> Result<Vec<Row>> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build()?;
    let seats = hall.seats(&client).await?;
    let before = resident_bytes(hall.pid()).context("the memory of a process can only be read on Linux")?;
    let (stop, stopped) = watch::channel(i64::MAX);
    let address = hall.url().trim_start_matches("http://").to_owned();
    let connect = (0..viewers).map(|_| connect(&address));
    let streams: Vec<Result<TcpStream>> = stream::iter(connect).buffer_unordered(AT_ONCE).collect().await;
    let mut watching = Vec::with_capacity(viewers);
    for stream in streams {
        watching.push(tokio::spawn(watch_map(stream?, stopped.clone())));
    }
    let connected = resident_bytes(hall.pid()).unwrap_or(before);

    let asking = tokio::spawn(ask(hall.url().to_owned(), client.clone(), stopped.clone()));
    let held = hold(hall, &client, seats.into_iter().take(seconds * CHANGES_PER_S).collect()).await?;
    let last = i64::try_from(held.len()).unwrap_or(i64::MAX);
    stop.send(last)?;
    let answers = asking.await??;
    let after = resident_bytes(hall.pid()).unwrap_or(before);
    let mut arrivals = Vec::with_capacity(viewers);
    for viewer in watching {
        arrivals.push(tokio::time::timeout(PATIENCE, viewer).await.context("a viewer never saw the end")???);
    }
    let delays = Delays::of(&held, &arrivals);
    let per_viewer = |bytes: u64| bytes.saturating_sub(before) as f64 / viewers as f64 / 1024.0;
    eprintln!(
        "#   {viewers} viewers, {} changes at {:.0}/s in {:.0} frames each; p50 {} ms, p99 {} ms, most {} ms",
        held.len(),
        rate(&held),
        arrivals.iter().map(Vec::len).sum::<usize>() as f64 / viewers as f64,
        delays.at(0.5),
        delays.at(0.99),
        delays.at(1.0),
    );
    eprintln!("#   a viewer takes {:.1} KiB idle, {:.1} KiB after the sale", per_viewer(connected), per_viewer(after));
    eprintln!("#   meanwhile {} snapshots, packed plans, plans and events were read", answers.total);
    Ok(vec![
        Row::alone("live_map_answers_p99", "ms", answers.at(0.99) as f64, Bar::AtMost(200.0)),
        Row::alone("live_map_delay_p99_10k", "ms", delays.at(0.99) as f64, Bar::AtMost(1000.0)),
        Row::alone("live_map_memory_per_viewer", "KiB", per_viewer(after), Bar::None),
    ])
}

/// Follows the map, until the first bytes of the stream are there.
async fn connect(address: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /v1/events/{EVENT}/seats/stream HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 1024];
    let count = stream.read(&mut head).await?;
    ensure!(
        head[..count].starts_with(b"HTTP/1.1 200"),
        "a viewer was answered {}",
        String::from_utf8_lossy(&head[..count])
    );
    Ok(stream)
}

/// Reads frames until the last version is there; notes when each had come.
async fn watch_map(mut stream: TcpStream, mut last: watch::Receiver<i64>) -> Result<Arrivals> {
    let (mut arrivals, mut buffer) = (Arrivals::new(), Vec::with_capacity(BUFFER));
    loop {
        if arrivals.last().is_some_and(|(version, _)| version >= &*last.borrow()) {
            return Ok(arrivals);
        }
        tokio::select! {
            read = stream.read_buf(&mut buffer) => ensure!(read? > 0, "a stream ended"),
            changed = last.changed() => changed?,
        }
        // A frame ends with an empty line.
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            if let Some(version) = version_of(&buffer[..end])? {
                arrivals.push((version, Instant::now()));
            }
            buffer.drain(..end + 2);
        }
    }
}

/// The version of a change; nothing for other frames.
fn version_of(frame: &[u8]) -> Result<Option<i64>> {
    let head = String::from_utf8_lossy(&frame[..frame.len().min(80)]);
    ensure!(!head.contains("event: reset"), "a viewer was told to start anew");
    let Some((_, rest)) = head.split_once("event: change\nid: ") else { return Ok(None) };
    Ok(Some(rest.split('\n').next().unwrap_or_default().parse()?))
}

/// Holds one seat after another at the rate, and answers when each was asked for.
async fn hold(hall: &Hall, client: &reqwest::Client, seats: Vec<String>) -> Result<Vec<Instant>> {
    let url = format!("{}/v1/events/{EVENT}/holds", hall.url());
    let began = Instant::now();
    let hold = |(index, seat): (usize, String)| {
        let (client, url) = (client.clone(), url.clone());
        async move {
            let due = began + Duration::from_secs_f64(index as f64 / CHANGES_PER_S as f64);
            tokio::time::sleep_until(due.into()).await;
            let asked = Instant::now();
            let answer = client.post(url).json(&json!({ "seats": [seat] })).send().await?;
            ensure!(answer.status() == 201, "a hold was answered {}", answer.status());
            Ok(asked)
        }
    };
    let asked = stream::iter(seats.into_iter().enumerate()).map(hold).buffer_unordered(HOLDS_AT_ONCE);
    let mut asked: Vec<Instant> = asked.collect::<Vec<Result<Instant>>>().await.into_iter().collect::<Result<_>>()?;
    asked.sort();
    Ok(asked)
}

/// Reads what a newcomer reads, one after the other, until the end; answers how long each took.
async fn ask(url: String, client: reqwest::Client, stopped: watch::Receiver<i64>) -> Result<Delays> {
    let mut delays = Delays { counts: BTreeMap::new(), total: 0 };
    while *stopped.borrow() == i64::MAX {
        for rest in ["", "/seats", "/plan/packed", "/seats", "/plan"] {
            let began = Instant::now();
            let answer = client.get(format!("{url}/v1/events/{EVENT}{rest}")).send().await?;
            ensure!(answer.status() == 200, "{rest} was answered {}", answer.status());
            answer.bytes().await?;
            delays.note(began.elapsed());
        }
        tokio::time::sleep(NEWCOMERS).await;
    }
    Ok(delays)
}

fn rate(asked: &[Instant]) -> f64 {
    match (asked.first(), asked.last()) {
        (Some(first), Some(last)) => asked.len() as f64 / (*last - *first).as_secs_f64().max(0.001),
        _ => 0.0,
    }
}

/// Delays by the millisecond.
struct Delays {
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Delays {
    /// Each change is one version, in the order in which it was asked for but for a few milliseconds. A viewer saw it
    /// with the first frame whose version is not below.
    fn of(asked: &[Instant], arrivals: &[Arrivals]) -> Self {
        let mut delays = Self { counts: BTreeMap::new(), total: 0 };
        for viewer in arrivals {
            let mut from = 0;
            for (version, at) in viewer {
                let to = usize::try_from(*version).unwrap_or(0).clamp(from, asked.len());
                asked[from..to].iter().for_each(|asked| delays.note(at.saturating_duration_since(*asked)));
                from = to;
            }
        }
        delays
    }

    fn note(&mut self, delay: Duration) {
        *self.counts.entry(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)).or_default() += 1;
        self.total += 1;
    }

    /// The delay below which this share of all lies, in milliseconds.
    fn at(&self, share: f64) -> u64 {
        let mut left = (self.total as f64 * share).ceil() as u64;
        for (ms, count) in &self.counts {
            left = left.saturating_sub(*count);
            if left == 0 {
                return *ms;
            }
        }
        0
    }
}
