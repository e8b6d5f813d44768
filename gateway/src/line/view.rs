//! What a snapshot means for fans: the sale's state now, a position, an estimate, when to ask again. Pure.

use queue::SaleState;
use queue::snapshot::{Ranks, Snapshot};
use queue_token::Score;
use serde::Serialize;

use crate::line::estimate::{Estimate, Look, Wait};
use crate::routes::Guards;

/// Outflow is measured over this long.
const OUTFLOW_WINDOW_US: u64 = 60_000_000;
/// An outflow measured over less than this says nothing yet.
const OUTFLOW_MIN_US: u64 = 10_000_000;
/// The line's horizon: whoever is called within this time at the full rate, and at least so many ranks.
const HORIZON_S: f64 = 90.0;
const HORIZON_RANKS_MIN: f64 = 100.0;
/// A calm lasts at most so long, whatever the clocks did since.
const CALM_US: u64 = 5_000_000;
/// A snapshot older than this says nothing about the moment.
const STALE_MAX_MS: u64 = 5_000;
/// Near the front, visitors must ask again well before their presence lapses.
const NEAR_POLL_MAX_S: f64 = 4.0;
/// Longest way of a snapshot that another overtakes.
const OVERTAKEN_MS: u64 = 2_000;
/// While Redis does not answer, whoever is near asks at least this often: presence is shown soon after it is back.
pub const UNHEARD_POLL_MAX_S: u64 = 2;

/// A snapshot with what follows from it.
#[derive(Debug, Clone)]
pub struct View {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Its guards, ready to match.
    pub guards: Guards,
    /// When a scheduled sale opens, in microseconds.
    pub opens_at_us: Option<u64>,
    /// Visitors called per minute, measured; `None` until enough was seen.
    pub outflow_per_min: Option<f64>,
    /// This gateway's clock when the snapshot came, in milliseconds.
    pub received_ms: u64,
    /// The rank table and horizon that fans are told from: the snapshot's, or, while the line regroups after a loss,
    /// the last ones from before it, so that nobody's position jumps to the front and back.
    told: (Ranks, Option<Score>),
    history: Vec<(u64, u64)>,
    estimate: Estimate,
}

/// How long the wait will be, in seconds: one time in ten less than `p10`, one in ten more than `p90`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Eta {
    /// Lower bound.
    pub p10: u64,
    /// Upper bound.
    pub p90: u64,
}

impl View {
    /// The view of a new snapshot after an earlier one.
    pub fn new(snapshot: Snapshot, before: Option<&Self>, received_ms: u64) -> Self {
        let mut history: Vec<(u64, u64)> = before.map(|view| view.history.clone()).unwrap_or_default();
        // A sale that was lost starts counting anew, and a clock may step back: then the past says nothing.
        let now = (snapshot.at_us, snapshot.numbers.called_total);
        history.retain(|(at, called)| *at < now.0 && *at + OUTFLOW_WINDOW_US >= now.0 && *called <= now.1);
        // A lull, a pause or other settings say nothing about how fast a full line moves.
        let moves = snapshot.settings.state == SaleState::Open || snapshot.settings.state == SaleState::Scheduled;
        let same = before.is_some_and(|view| view.snapshot.version == snapshot.version);
        if snapshot.numbers.waiting == 0 || !moves || !same {
            history.clear();
        }
        history.push(now);
        let (first_us, first_called) = history[0];
        let span_us = now.0 - first_us;
        let outflow_per_min =
            (span_us >= OUTFLOW_MIN_US).then(|| (now.1 - first_called) as f64 * 60_000_000.0 / span_us as f64);
        let told = match before {
            Some(before) if snapshot.at_us < snapshot.whole_at_us => before.told.clone(),
            _ => (snapshot.ranks.clone(), snapshot.horizon),
        };
        let opens_at_us = snapshot.settings.opens_at.as_deref().and_then(parse_time_us);
        let guards = Guards::new(&snapshot.settings.hosts, &snapshot.settings.paths);
        let look = look(&snapshot, opens_at_us);
        let estimate = match before {
            Some(before) => before.estimate.clone().after(look),
            None => Estimate::new(look),
        };
        Self { snapshot, guards, opens_at_us, outflow_per_min, received_ms, told, history, estimate }
    }

    /// Whether a snapshot that comes now was overtaken on its way: it is from before a loss of which this view knows. A line
    /// that goes on from there all the same, as after a clock stepped back, is believed a little later.
    pub fn overtook(&self, snapshot: &Snapshot, now_ms: u64) -> bool {
        snapshot.generation < self.snapshot.generation && now_ms.saturating_sub(self.received_ms) < OVERTAKEN_MS
    }

    /// The sale's state at a time of this gateway: a scheduled sale whose time has come is open.
    pub fn state(&self, now_us: u64) -> SaleState {
        match (self.snapshot.settings.state, self.opens_at_us) {
            (SaleState::Scheduled, Some(opens_us)) if now_us >= opens_us => SaleState::Open,
            (state, _) => state,
        }
    }

    /// Whether a visitor with this score is near the front and must ask again soon.
    pub fn is_near(&self, score: Score) -> bool {
        // While the line regroups it moves on under the horizon that is told.
        let is_within = |horizon: &Score| score <= *horizon;
        self.told.1.as_ref().is_none_or(is_within) || self.snapshot.horizon.as_ref().is_some_and(is_within)
    }

    /// Whether the line has to hear of a poll with this score: near the front, and from everybody until a line that
    /// lost something is whole again.
    pub fn concerns_the_line(&self, score: Score) -> bool {
        self.is_regrouping() || self.is_near(score)
    }

    /// Whether the line lost something and is not whole again yet.
    pub fn is_regrouping(&self) -> bool {
        self.snapshot.at_us < self.snapshot.whole_at_us
    }

    /// Whether calling rests until those near the front are back.
    pub fn is_calm(&self) -> bool {
        self.snapshot.at_us < self.snapshot.calm_until_us
    }

    /// Position in the line, from 1, and how many are behind.
    pub fn position(&self, score: Score) -> (u64, u64) {
        let position = self.told.0.ahead_of(score) + 1;
        (position, self.snapshot.numbers.waiting.saturating_sub(position))
    }

    /// The expected wait at a position: from now while the sale is open, with the time until it opens while it is
    /// scheduled, and `None` while nobody can know.
    pub fn eta(&self, position: u64, now_us: u64) -> Option<Eta> {
        let until_us = match (self.state(now_us), self.opens_at_us) {
            (SaleState::Open, _) => self.snapshot.calm_until_us.saturating_sub(self.snapshot.at_us).min(CALM_US),
            (SaleState::Scheduled, Some(opens_us)) => opens_us.saturating_sub(now_us),
            _ => return None,
        };
        if self.snapshot.rate_in_force_per_min <= 0.0 {
            return None;
        }
        let since_look_s = (now_us / 1000).saturating_sub(self.received_ms).min(STALE_MAX_MS) as f64 / 1000.0;
        Some(Eta::after(until_us as f64 / 1e6, self.estimate.wait(position, since_look_s)))
    }

    /// When to ask again, in seconds. `jitter` is a random number from -1 to 1.
    pub fn poll_s(&self, position: u64, near: bool, now_us: u64, jitter: f64) -> u64 {
        self.poll_after_s(self.eta(position, now_us), position, near, now_us, jitter)
    }

    /// The same for whoever was just told how long it will take.
    pub fn poll_after_s(&self, eta: Option<Eta>, position: u64, near: bool, now_us: u64, jitter: f64) -> u64 {
        let soon_enough_s = soon_enough_s(position, self.snapshot.settings.rate_per_min);
        let middle = match eta {
            Some(eta) if self.state(now_us) == SaleState::Open => (eta.p90 as f64 / 30.0).clamp(2.0, 60.0),
            // The origin has stopped an open sale. It may go on at full rate at any moment: then whoever is near has shown
            // presence, and the others ask as often as if it had gone on.
            None if self.state(now_us) == SaleState::Open && !near => soon_enough_s.clamp(2.0, 60.0),
            _ => 20.0,
        };
        let until_open_s = self
            .opens_at_us
            .filter(|_| self.state(now_us) == SaleState::Scheduled)
            .map(|opens_us| opens_us.saturating_sub(now_us) as f64 / 1e6);
        let middle = match until_open_s {
            // Before the opening nobody is called. Those in front look again as it opens, the others spread
            // over the time until silence counts, at most a minute.
            Some(left_s) if near => left_s.clamp(2.0, middle),
            Some(left_s) if left_s < middle => {
                let half_s = (soon_enough_s / 2.0).min(30.0);
                return (left_s + half_s * (1.0 + jitter.clamp(-1.0, 1.0))).max(1.0) as u64;
            }
            _ => middle,
        };
        let middle = middle.min(if near { NEAR_POLL_MAX_S } else { soon_enough_s });
        (middle * (1.0 + 0.15 * jitter.clamp(-1.0, 1.0))).round().max(1.0) as u64
    }
}

/// How soon somebody behind the horizon must ask again, so that silence does not count before. Ghosts ahead can make the
/// front come faster than measured, but not faster than one horizon in five seconds, of which the first may have passed.
fn soon_enough_s(position: u64, rate_per_min: f64) -> f64 {
    let horizons = position as f64 / (rate_per_min * HORIZON_S / 60.0).max(HORIZON_RANKS_MIN);
    let thirtieth_of_the_wait_s = position as f64 * 2.0 / rate_per_min;
    thirtieth_of_the_wait_s.min(NEAR_POLL_MAX_S * (horizons - 1.0).max(1.0)).max(2.0)
}

impl Eta {
    /// The wait that begins after so many seconds, in whole seconds; never both ends in one.
    fn after(until_s: f64, wait: Wait) -> Self {
        let whole = |seconds: f64| (until_s + seconds).round() as u64;
        let (p10, p90) = (whole(wait.p10), whole(wait.p90));
        if p90 > p10 {
            return Self { p10, p90 };
        }
        let p10 = (until_s + wait.p50).floor() as u64;
        Self { p10, p90: p10 + 1 }
    }
}

/// What the estimate learns from a snapshot.
fn look(snapshot: &Snapshot, opens_at_us: Option<u64>) -> Look {
    let numbers = snapshot.numbers;
    let opened = match snapshot.settings.state {
        SaleState::Open => true,
        SaleState::Scheduled => opens_at_us.is_some_and(|opens_us| snapshot.at_us >= opens_us),
        SaleState::Paused | SaleState::SoldOut | SaleState::Closed => false,
    };
    let calm = snapshot.at_us < snapshot.calm_until_us;
    Look {
        at_us: snapshot.at_us,
        generation: snapshot.generation,
        regrouping: snapshot.at_us < snapshot.whole_at_us,
        open: opened && !calm && snapshot.rate_in_force_per_min > 0.0,
        rate_per_min: snapshot.rate_in_force_per_min,
        max_inside: snapshot.settings.max_inside,
        pass_ttl_s: snapshot.settings.pass_ttl_s,
        waiting: numbers.waiting,
        away: numbers.away,
        occupied: numbers.called + numbers.inside,
        joined_total: numbers.joined_total,
        called_total: numbers.called_total,
        expired_total: numbers.expired_total,
    }
}

/// RFC 3339 to microseconds of the Unix epoch.
pub fn parse_time_us(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_microsecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use queue::Settings;
    use queue::govern::Governed;
    use queue::snapshot::Numbers;

    fn snapshot(at_us: u64, called_total: u64, settings: &str) -> Snapshot {
        let settings: Settings = serde_json::from_str(settings).unwrap();
        Snapshot {
            version: 1,
            rate_in_force_per_min: settings.rate_per_min,
            settings,
            at_us,
            last_score: Score::default(),
            numbers: Numbers { waiting: 5_000, called_total, ..Numbers::default() },
            horizon: Score::new(500),
            ranks: Ranks::new((1..=1000).collect(), vec![], 0, 5_000),
            generation: 1,
            calm_until_us: 0,
            whole_at_us: 0,
            left: Vec::new(),
            governed: Governed::default(),
            file_digest: None,
        }
    }

    const OPEN: &str = r#"{"rate_per_min": 600, "max_inside": 100}"#;

    #[test]
    fn outflow_is_measured_over_a_minute() {
        let mut view = View::new(snapshot(1_000_000, 0, OPEN), None, 0);
        assert_eq!(view.outflow_per_min, None);
        for second in 2..=100u64 {
            view = View::new(snapshot(second * 1_000_000, second * 5, OPEN), Some(&view), 0);
        }
        assert_eq!(view.outflow_per_min, Some(300.0));
        assert!(view.history.len() <= 61, "the past is bounded");
        // A Redis that lost everything counts from zero: no negative outflow.
        let lost = View::new(snapshot(101_000_000, 0, OPEN), Some(&view), 0);
        assert_eq!(lost.outflow_per_min, None);
        // Nor does an empty line say how fast a full one moves.
        let mut lull = snapshot(101_000_000, 500, OPEN);
        lull.numbers.waiting = 0;
        assert_eq!(View::new(lull, Some(&view), 0).outflow_per_min, None);
    }

    #[test]
    fn the_estimate_brackets_the_mean_and_is_absent_while_nothing_moves() {
        let roomy = r#"{"rate_per_min": 600, "max_inside": 100000}"#;
        let view = View::new(snapshot(1, 0, roomy), None, 0);
        let eta = view.eta(600, 1).unwrap();
        assert!(eta.p10 > 10 && eta.p90 < 120, "{eta:?}");
        assert!(eta.p10 < 60 && 60 <= eta.p90, "{eta:?}");
        let paused = r#"{"rate_per_min": 600, "max_inside": 100, "state": "paused"}"#;
        assert_eq!(View::new(snapshot(1, 0, paused), None, 0).eta(600, 1), None);
        let mut stopped = snapshot(1, 0, OPEN);
        stopped.rate_in_force_per_min = 0.0;
        assert_eq!(View::new(stopped, None, 0).eta(600, 1), None, "the origin wants nobody");
    }

    #[test]
    fn before_the_opening_the_wait_begins_with_it() {
        let settings =
            r#"{"rate_per_min":600,"max_inside":100000,"state":"scheduled","opens_at":"2027-01-15T08:00:00Z"}"#;
        let view = View::new(snapshot(1, 0, settings), None, 0);
        let opens_us = 1_800_000_000_000_000;
        let (early, open) = (view.eta(600, opens_us - 100_000_000).unwrap(), view.eta(600, opens_us).unwrap());
        assert_eq!((early.p10, early.p90), (open.p10 + 100, open.p90 + 100));
        assert!(open.p10 < 60 && open.p90 >= 60, "{open:?}");
    }

    #[test]
    fn a_range_is_whole_seconds_and_never_empty() {
        let wait = |p10, p50, p90| Wait { p10, p50, p90 };
        let cases = [
            ((0.0, 0.05, 0.1), (0, 1)),
            ((3.4, 3.45, 3.49), (3, 4)),
            ((3.4, 3.6, 3.7), (3, 4)),
            ((9.6, 12.0, 15.2), (10, 15)),
        ];
        for ((p10, p50, p90), (low, high)) in cases {
            assert_eq!(Eta::after(0.0, wait(p10, p50, p90)), Eta { p10: low, p90: high });
        }
    }

    #[test]
    fn a_scheduled_sale_opens_by_itself() {
        let settings = r#"{"rate_per_min":1,"max_inside":1,"state":"scheduled","opens_at":"2027-01-15T08:00:00Z"}"#;
        let view = View::new(snapshot(1, 0, settings), None, 0);
        let opens_us = 1_800_000_000_000_000;
        assert_eq!(view.state(opens_us - 1), SaleState::Scheduled);
        assert_eq!(view.state(opens_us), SaleState::Open);
        assert_eq!(view.poll_s(1, true, opens_us - 3_000_000, 0.0), 3);
        let far = [-1.0, 0.0, 1.0].map(|jitter| view.poll_s(9_000, false, opens_us - 5_000_000, jitter));
        assert_eq!(far, [5, 35, 65], "spread over a minute");
    }

    #[test]
    fn polls_are_frequent_near_the_front_and_rare_behind() {
        let view = View::new(snapshot(1, 0, OPEN), None, 0);
        assert_eq!(view.poll_s(1, true, 1, 0.0), 2);
        assert!((4..=6).contains(&view.poll_s(1_500, false, 1, 0.0)));
        assert_eq!(view.poll_s(100_000, false, 1, 0.0), 60);
        let slow = View::new(snapshot(1, 0, r#"{"rate_per_min": 1, "max_inside": 1}"#), None, 0);
        assert_eq!(slow.poll_s(90, true, 1, 0.0), 4, "presence must not lapse near the front");
        assert_eq!(slow.poll_s(150, false, 1, 0.0), 4, "a clump of ghosts ahead may be gone in one tick");
        assert!(slow.poll_s(500, false, 1, 1.0) < 5 * 4, "silence counts at the earliest after four horizons");
        for jitter in [-1.0, 1.0] {
            let s = view.poll_s(100_000, false, 1, jitter);
            assert!((51..=69).contains(&s), "{s}");
        }
    }

    #[test]
    fn a_stopped_sale_is_asked_no_more_often_than_one_that_goes_on() {
        let going = View::new(snapshot(1, 0, OPEN), None, 0);
        let mut stopped = snapshot(1, 0, OPEN);
        stopped.rate_in_force_per_min = 0.0;
        let stopped = View::new(stopped, None, 0);
        for position in [1_200, 2_000, 5_000, 30_000, 1_000_000] {
            let (stop, go) = (stopped.poll_s(position, false, 1, 0.0), going.poll_s(position, false, 1, 0.0));
            assert!((go..=60).contains(&stop), "{position}: {stop} s, {go} s while it goes on");
        }
        assert_eq!(stopped.poll_s(1, true, 1, 0.0), 4, "presence must not lapse");
    }

    #[test]
    fn a_line_that_lost_something_tells_what_it_knew() {
        let before = View::new(snapshot(1_000_000, 0, OPEN), None, 0);
        let mut lost = snapshot(2_000_000, 0, OPEN);
        (lost.generation, lost.calm_until_us, lost.whole_at_us) = (2, 7_000_000, 142_000_000);
        (lost.ranks, lost.horizon) = (Ranks::new(vec![700], vec![], 0, 1), None);
        let view = View::new(lost.clone(), Some(&before), 0);
        let score = |n| Score::new(n).unwrap();
        assert!(view.is_calm() && view.is_regrouping());
        assert_eq!(view.position(score(700)).0, 700, "not suddenly the first");
        assert!(view.concerns_the_line(score(900)) && !view.is_near(score(900)), "heard, but not hurried");
        lost.horizon = Some(score(900));
        let view = View::new(lost.clone(), Some(&view), 0);
        assert!(view.is_near(score(900)) && !view.is_near(score(901)), "the front comes nearer meanwhile");
        lost.at_us = 142_000_000;
        let whole = View::new(lost, Some(&view), 0);
        assert_eq!(whole.position(score(700)).0, 1);
        assert!(!whole.is_regrouping());
    }

    #[test]
    fn positions_come_from_the_table() {
        let view = View::new(snapshot(1, 0, OPEN), None, 0);
        assert_eq!(view.position(Score::new(1).unwrap()), (1, 4_999));
        assert_eq!(view.position(Score::new(700).unwrap()), (700, 4_300));
        assert!(view.is_near(Score::new(500).unwrap()) && !view.is_near(Score::new(501).unwrap()));
    }
}
