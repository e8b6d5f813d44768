//! A million wait, Redis loses everything, and everybody goes on asking: how long until visitors are called again, until
//! the line is whole, who was overtaken, and whose place was lost.
//!
//! Method: polls, looks at the sale and ticks are played on the queue library at the times and by the rules of a
//! gateway (`gateway/src/line`), in real time. Whoever finds itself called leaves, as with a pass.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use queue::configure::Expect;
use queue::snapshot::{Ranks, Snapshot};
use queue::{Clock, LineError, Standing};
use queue_token::Score;
use rand::RngExt;
use stack::redis::Redis;

use crate::Effort;
use crate::asking::{Wheel, interval_ms};
use crate::crowd::{Crowd, MILLION, Waiting, redis};
use crate::row::{Bar, Row};

const RATE_PER_MIN: f64 = 6_000.0;
const SETTINGS: &str = r#"{"rate_per_min": 6000, "max_inside": 10000000, "claim_window_s": 86400}"#;
/// How long the line moves before the loss, and how long it is watched after it: until it must be whole, and a little.
const BEFORE: Duration = Duration::from_secs(25);
const AFTER: Duration = Duration::from_secs(150);
/// Calling again: two seconds and the longest interval near the front.
const AGAIN_S: Bar = Bar::AtMost(2.0 + 5.0);
/// Twice the longest interval of all.
const WHOLE_S: Bar = Bar::AtMost(140.0);
/// Whoever was seen within this is present.
const PRESENCE_MS: u64 = 10_000;
/// When this program itself is later than this with a poll, it says nothing about the line.
const LATE_MAX: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(500);

/// One of the crowd.
struct Fan {
    waiting: Waiting,
    /// When it was seen after the loss, in milliseconds of the Unix epoch.
    seen_ms: Vec<u64>,
    /// When it was called, as the line told it: microseconds and number.
    called: Option<(u64, u64)>,
}

/// What a gateway knows between two looks.
struct View {
    snapshot: Snapshot,
    told: (Ranks, Option<Score>),
}

impl View {
    fn after(snapshot: Snapshot, before: Option<&Self>) -> Self {
        let regrouping = snapshot.at_us < snapshot.whole_at_us;
        let told = match before {
            Some(before) if regrouping => before.told.clone(),
            _ => (snapshot.ranks.clone(), snapshot.horizon),
        };
        Self { snapshot, told }
    }

    fn is_near(&self, score: Score) -> bool {
        self.told.1.is_none_or(|horizon| score <= horizon)
    }

    fn is_regrouping(&self) -> bool {
        self.snapshot.at_us < self.snapshot.whole_at_us
    }
}

struct Play {
    crowd: Crowd,
    fans: Vec<Fan>,
    wheel: Wheel,
    view: View,
    began: Instant,
    lost: Option<Instant>,
    seen: u64,
    called: u64,
    again_s: Option<f64>,
    whole_s: Option<f64>,
    /// Calls in each ten seconds after the loss.
    pace: Vec<u64>,
    /// The longest that a round of asking came too late.
    late: Duration,
}

pub(super) fn measure(_: Effort) -> Result<Vec<Row>> {
    let redis = redis()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut play = Play::begin(&redis).await?;
        play.go_on(BEFORE).await?;
        ensure!(play.called > 1_000, "the line does not move: {} called before the loss", play.called);
        eprintln!("#   before the loss: {} called, {} polls noted in {BEFORE:?}", play.called, play.seen);
        (play.seen, play.called, play.lost) = (0, 0, Some(Instant::now()));
        redis.command(&["CONFIG", "RESETSTAT"])?;
        redis.command(&["FLUSHALL"])?;
        ensure!(redis.command(&["DBSIZE"])? == ["0"], "the loss did not happen");
        play.go_on(AFTER).await?;
        play.told(&redis).await
    })
}

impl Play {
    async fn begin(redis: &Redis) -> Result<Self> {
        let crowd = Crowd::at(&redis.url(), "flushall").await?;
        crowd.configure(&SETTINGS.replace('{', r#"{"state": "paused", "#), Expect::Absent).await?;
        let joined = crowd.join(MILLION).await?;
        crowd.configure(SETTINGS, Expect::Any).await?;
        let snapshot = crowd.line.snapshot(&crowd.sale, 0, Clock::Server).await?.context("the sale is not there")?;
        let view = View::after(snapshot, None);
        let mut wheel = Wheel::new();
        for (number, waiting) in (0..).zip(&joined) {
            let interval_ms = interval_ms(u64::from(number) + 1, view.is_near(waiting.score), RATE_PER_MIN, 1.0);
            wheel.ask_in(number, rand::rng().random_range(0..interval_ms));
        }
        let fans = joined.into_iter().map(|waiting| Fan { waiting, seen_ms: Vec::new(), called: None }).collect();
        Ok(Self {
            crowd,
            fans,
            wheel,
            view,
            began: Instant::now(),
            lost: None,
            seen: 0,
            called: 0,
            again_s: None,
            whole_s: None,
            pace: Vec::new(),
            late: Duration::ZERO,
        })
    }

    /// Plays for so long: whoever is due asks, then the gateway's jobs take their turn.
    async fn go_on(&mut self, length: Duration) -> Result<()> {
        let until = Instant::now() + length;
        let (mut next_tick, mut next_look) = (Instant::now(), Instant::now());
        while Instant::now() < until {
            let step_ends = Instant::now() + STEP;
            self.ask().await?;
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tick().await?;
            }
            if Instant::now() >= next_look {
                next_look = Instant::now() + LOOK;
                self.look().await?;
            }
            self.late = self.late.max(Instant::now().saturating_duration_since(step_ends));
            tokio::time::sleep_until(step_ends.into()).await;
        }
        Ok(())
    }

    async fn ask(&mut self) -> Result<()> {
        let due = self.wheel.due_by(u64::try_from(self.began.elapsed().as_millis())?);
        let (view, regrouping) = (&self.view, self.view.is_regrouping());
        let mut heard = Vec::new();
        for who in due {
            // Whoever was called asks no more.
            if self.fans[who as usize].called.is_some() {
                continue;
            }
            let score = self.fans[who as usize].waiting.score;
            let near = view.is_near(score);
            if regrouping || near {
                heard.push(who);
            }
            let position = view.told.0.ahead_of(score) + 1;
            let jitter = rand::rng().random_range(-1.0..1.0);
            self.wheel.ask_in(who, interval_ms(position, near, RATE_PER_MIN, jitter));
        }
        self.seen += heard.len() as u64;
        let shown: Vec<Waiting> = heard.iter().map(|who| self.fans[*who as usize].waiting).collect();
        let standings = self.crowd.seen(&shown).await?;
        // By now all of them have been heard.
        let now_ms = now_ms()?;
        for (who, standing) in heard.into_iter().zip(standings) {
            let fan = &mut self.fans[who as usize];
            match standing {
                Standing::Called { turn, .. } if fan.called.is_none() => fan.called = Some((turn.called_us, turn.seq)),
                Standing::Waiting { .. } if self.lost.is_some() => fan.seen_ms.push(now_ms),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whoever stands before the last that was called asks once more: some were called since they asked.
    async fn hear_the_last(&mut self) -> Result<()> {
        let called = self.fans.iter().filter(|fan| fan.called.is_some());
        let furthest = called.map(|fan| fan.waiting.score).max();
        let unheard = |fan: &Fan| fan.called.is_none() && furthest.is_some_and(|score| fan.waiting.score < score);
        let asking: Vec<usize> = (0..self.fans.len()).filter(|who| unheard(&self.fans[*who])).collect();
        let shown: Vec<Waiting> = asking.iter().map(|who| self.fans[*who].waiting).collect();
        for (who, standing) in asking.into_iter().zip(self.crowd.seen(&shown).await?) {
            if let Standing::Called { turn, .. } = standing {
                self.fans[who].called = Some((turn.called_us, turn.seq));
            }
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<()> {
        match self.crowd.line.admit(&self.crowd.sale, Clock::Server).await {
            Ok(tick) => {
                self.called += tick.called;
                if let Some(since_s) = self.lost.map(|lost| lost.elapsed().as_secs_f64()) {
                    if tick.called > 0 {
                        self.again_s.get_or_insert(since_s);
                    }
                    let tens = (since_s / 10.0) as usize;
                    self.pace.resize(self.pace.len().max(tens + 1), 0);
                    self.pace[tens] += tick.called;
                }
                Ok(())
            }
            Err(LineError::UnknownSale) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn look(&mut self) -> Result<()> {
        let Crowd { line, sale } = &self.crowd;
        match line.snapshot(sale, 400, Clock::Server).await? {
            Some(snapshot) => {
                self.view = View::after(snapshot, Some(&self.view));
                if let Some(lost) = self.lost
                    && self.whole_s.is_none()
                    && self.missing() <= 0
                {
                    self.whole_s = Some(lost.elapsed().as_secs_f64());
                }
                Ok(())
            }
            None => self.crowd.configure(SETTINGS, Expect::Lost(self.view.snapshot.version)).await,
        }
    }

    /// How many more hold a place than the line knows of. Whoever was called before the loss and knows it has a pass.
    fn missing(&self) -> i64 {
        let numbers = self.view.snapshot.numbers;
        let known = numbers.waiting + numbers.away + numbers.called + numbers.inside;
        let lost_us = self.lost_us();
        let gone = self.fans.iter().filter(|fan| fan.called.is_some_and(|(at_us, _)| at_us < lost_us)).count();
        (self.fans.len() - gone) as i64 - known as i64
    }

    fn lost_us(&self) -> u64 {
        let since = self.lost.map_or(Duration::ZERO, |lost| lost.elapsed());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.saturating_sub(since).as_micros()).unwrap_or(u64::MAX)
    }

    async fn told(mut self, redis: &Redis) -> Result<Vec<Row>> {
        self.look().await?;
        self.hear_the_last().await?;
        let overtaken = overtaken(&self.fans, self.lost_us());
        let missing = self.missing().max(0);
        eprintln!("#   after the loss: {} called, {} polls noted in {AFTER:?}", self.called, self.seen);
        eprintln!("#   called in each ten seconds: {:?}; the rate is {}", self.pace, RATE_PER_MIN / 6.0);
        let stats = redis.command(&["INFO", "commandstats"])?;
        if let Some(calls) = stats.iter().find(|line| line.starts_with("cmdstat_fcall:")) {
            eprintln!("#   Redis: {}", calls.trim());
        }
        eprintln!("#   polls came at most {:.2} s late", self.late.as_secs_f64());
        ensure!(self.late <= LATE_MAX, "this machine cannot play a million: polls came {:?} late", self.late);
        eprintln!("#   calling rests 5 s after a loss by design, see docs/THE-LINE.md");
        let never = AFTER.as_secs_f64();
        Ok(vec![
            Row::alone("flushall_recovery_1m", "s", self.again_s.unwrap_or(never), AGAIN_S),
            Row::alone("flushall_line_whole_1m", "s", self.whole_s.unwrap_or(never), WHOLE_S),
            Row::alone("flushall_overtaken_1m", "", overtaken as f64, Bar::AtMost(0.0)),
            Row::alone("flushall_lost_places_1m", "", missing as f64, Bar::AtMost(0.0)),
        ])
    }
}

/// How many were present when somebody from behind them was called before them, after the loss.
fn overtaken(fans: &[Fan], lost_us: u64) -> usize {
    let mut calls: Vec<(u64, u64, u64)> = fans
        .iter()
        .filter_map(|fan| fan.called.map(|(at_us, seq)| (at_us, seq, fan.waiting.score.get())))
        .filter(|(at_us, ..)| *at_us >= lost_us)
        .collect();
    calls.sort_unstable();
    let furthest = calls.iter().map(|call| call.2).max().unwrap_or(0);
    let was_overtaken = |fan: &&Fan| {
        let score = fan.waiting.score.get();
        let turn = fan.called.unwrap_or((u64::MAX, u64::MAX));
        score < furthest
            && turn.0 >= lost_us
            && calls.iter().take_while(|call| (call.0, call.1) < turn).any(|(at_us, _, called)| {
                let at_ms = at_us / 1_000;
                let in_time = |ms: &u64| *ms < at_ms && at_ms < *ms + PRESENCE_MS;
                *called > score && fan.seen_ms.iter().any(in_time)
            })
    };
    fans.iter().filter(was_overtaken).count()
}

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use queue_token::VisitorId;

    fn fan(score: u64, seen_ms: &[u64], called: Option<(u64, u64)>) -> Fan {
        let waiting = Waiting { visitor: VisitorId::from_bytes([0; 16]), score: Score::new(score).expect("small") };
        Fan { waiting, seen_ms: seen_ms.to_vec(), called }
    }

    #[test]
    fn only_who_was_present_was_overtaken() {
        let first = fan(20, &[19_000], Some((20_000_000, 1)));
        for (behind, count) in [
            (fan(10, &[15_000], Some((20_100_000, 2))), 1),
            (fan(10, &[15_000], None), 1),
            (fan(10, &[5_000], None), 0),
            (fan(10, &[20_500], Some((21_000_000, 2))), 0),
            (fan(10, &[15_000], Some((19_900_000, 0))), 0),
            (fan(30, &[15_000], None), 0),
        ] {
            let fans = [fan(20, &first.seen_ms, first.called), behind];
            assert_eq!(overtaken(&fans, 0), count);
        }
    }
}
