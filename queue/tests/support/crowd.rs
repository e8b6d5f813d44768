//! A crowd that keeps a line busy while its servers are hurt, and remembers everything it was told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use queue::{Clock, Line, LineError, Standing};
use queue_token::{Device, SaleId, Score, VisitorId};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::observation::Observation;
use super::operations::visitor_id;
use crate::model::Spot;

/// How long one operation may stay without success.
const PATIENCE: Duration = Duration::from_secs(30);
/// A turn as it was told: number, time and the score it was called from.
type Told = (u64, u64, u64);

/// What a crowd was told.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Whoever joined, with the first score it heard.
    pub(crate) joined: BTreeMap<VisitorId, u64>,
    /// Whoever heard that its turn had come.
    pub(crate) turns: BTreeMap<VisitorId, Told>,
    /// Calls that failed as outages and were repeated.
    pub(crate) outages: u32,
    /// The longest time from an operation's first attempt to its success.
    pub(crate) slowest: Duration,
}

/// Several gateways' worth of visitors who join, are called, claim and leave, until told to stop.
pub(crate) struct Crowd {
    tasks: JoinSet<Record>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Crowd {
    /// Sets a crowd on a sale through these lines. `first` keeps crowds of one sale apart.
    pub(crate) fn start(lines: &[Line], sale: &SaleId, first: u32) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut tasks = JoinSet::new();
        for (line, number) in lines.iter().cycle().take(2 * lines.len()).zip(first..) {
            let newcomers = number * 1_000_000..(number + 1) * 1_000_000;
            let gateway = Gateway { line: line.clone(), sale: sale.clone(), record: Record::default() };
            tasks.spawn(gateway.work(newcomers, stopped.clone()));
        }
        Self { tasks, stop }
    }

    /// Ends it when all that was begun has succeeded.
    pub(crate) async fn stop(mut self) -> Record {
        self.stop.send_replace(true);
        let mut all = Record::default();
        while let Some(one) = self.tasks.join_next().await {
            let mut one = one.expect("a crowd without a complaint");
            all.joined.append(&mut one.joined);
            all.turns.append(&mut one.turns);
            all.outages += one.outages;
            all.slowest = all.slowest.max(one.slowest);
        }
        all
    }
}

struct Gateway {
    line: Line,
    sale: SaleId,
    record: Record,
}

impl Gateway {
    async fn work(
        mut self,
        mut newcomers: std::ops::Range<u32>,
        stopped: tokio::sync::watch::Receiver<bool>,
    ) -> Record {
        let (line, sale) = (self.line.clone(), self.sale.clone());
        let mut polling: Vec<(VisitorId, Score)> = Vec::new();
        while !*stopped.borrow() {
            let batch: Vec<VisitorId> = newcomers.by_ref().take(3).map(visitor_id).collect();
            let standings = self.insist(|| line.join(&sale, Score::default(), &batch, Clock::Server)).await;
            for (&visitor, standing) in batch.iter().zip(standings) {
                let score = score_of(&standing).expect("whoever joined stands somewhere");
                self.record.joined.insert(visitor, score.get());
                polling.push((visitor, score));
                self.note(visitor, standing);
            }
            self.insist(|| line.admit(&sale, Clock::Server)).await;
            let asked: Vec<_> = polling.iter().take(40).copied().collect();
            let standings = self.insist(|| line.seen(&sale, &asked, Clock::Server)).await;
            for (&(visitor, _), standing) in asked.iter().zip(standings) {
                if let Standing::Called { .. } | Standing::Inside { .. } = standing {
                    self.note(visitor, standing);
                    self.insist(|| line.claim(&sale, visitor, Device::FIRST, Clock::Server)).await;
                    self.insist(|| line.depart(&sale, visitor, None, Clock::Server)).await;
                    polling.retain(|&(polls, _)| polls != visitor);
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.record
    }

    fn note(&mut self, visitor: VisitorId, standing: Standing) {
        if let Standing::Called { turn, .. } | Standing::Inside { turn, .. } = standing {
            self.record.turns.insert(visitor, (turn.seq, turn.called_us, turn.score.get()));
        }
    }

    /// Repeats what fails, as a gateway may; anything but an outage is a defect.
    async fn insist<T, F>(&mut self, operation: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, LineError>>,
    {
        let began = Instant::now();
        loop {
            match operation().await {
                Ok(done) => {
                    self.record.slowest = self.record.slowest.max(began.elapsed());
                    return done;
                }
                Err(error) => {
                    assert!(error.is_outage(), "an outage at most: {error:?}");
                    assert!(began.elapsed() < PATIENCE, "still after {PATIENCE:?}: {error:?}");
                    self.record.outages += 1;
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

fn score_of(standing: &Standing) -> Option<Score> {
    match standing {
        Standing::Waiting { score, .. } | Standing::Away { score } => Some(*score),
        Standing::Called { turn, .. } | Standing::Inside { turn, .. } => Some(turn.score),
        _ => None,
    }
}

impl Record {
    /// Everybody who joined is in exactly one place, at the score they were told, and nobody else is there.
    pub(crate) fn is_all_of(&self, seen: &Observation) {
        let mut places: BTreeMap<VisitorId, Vec<Spot>> = BTreeMap::new();
        seen.spots.iter().for_each(|&(visitor, spot)| places.entry(visitor).or_default().push(spot));
        for (visitor, score) in &self.joined {
            let spots = places.remove(visitor).unwrap_or_default();
            match spots[..] {
                [Spot::Waiting { score: kept } | Spot::Away { score: kept }] => assert_eq!(kept, *score, "{visitor}"),
                [Spot::Called { turn, .. } | Spot::Inside { turn, .. }] => assert_eq!(turn.score.get(), *score),
                [Spot::Spent { left: true, .. }] => {
                    assert!(self.turns.contains_key(visitor), "{visitor} left uncalled");
                }
                _ => panic!("{visitor} joined at {score} and is at {spots:?}"),
            }
        }
        assert!(places.is_empty(), "nobody told us of {places:?}");
        assert!(seen.orphans.is_empty(), "facts without a visitor: {:?}", seen.orphans);
    }

    /// No number was given to two visitors, and the order of the numbers is the order of the scores among those who
    /// waited to be called.
    pub(crate) fn turns_are_single(&self) {
        let mut turns: Vec<Told> = self.turns.values().copied().collect();
        turns.sort_unstable();
        assert!(turns.windows(2).all(|pair| pair[0].0 < pair[1].0), "a number was given twice");
        assert!(turns.windows(2).all(|pair| pair[0].2 < pair[1].2), "somebody was called before an earlier one");
    }

    /// At most so many were called as burst and rate allow in the time that passed, and in `more` beyond it.
    pub(crate) fn is_within(&self, burst: u64, rate_milli: u64, more: Duration) {
        let times = || self.turns.values().map(|turn| turn.1);
        let span = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        let earned = (u128::from(span) + more.as_micros()) * u128::from(rate_milli) / 60_000_000_000;
        assert!(self.turns.len() as u128 <= u128::from(burst) + earned, "{} called", self.turns.len());
    }
}
