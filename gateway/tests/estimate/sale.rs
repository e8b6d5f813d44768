//! A sale in simulated time, quick enough for a hundred thousand fans: it calls as the line does (bucket, room, silence
//! that counts only once asked), but keeps no places and loses nothing. What gateways see of it is a snapshot.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use queue::snapshot::{Numbers, Ranks, Snapshot};
use queue::{SaleState, Settings};
use queue_token::Score;
use rand::RngExt;
use rand::rngs::StdRng;

use super::crowd::{Fan, Scenario, Turn};
use super::order::Order;

/// The gateways' tick.
pub(crate) const TICK_S: f64 = 0.1;
/// Who was silent for longer is set aside.
const PRESENCE_S: f64 = 10.0;
/// Fans near the front ask this often, so silence begins on average half of it after the last word.
const ASKS_S: f64 = 4.0;
/// Silence counts below a horizon that has stood for so many ticks.
const ASK_TICKS: u64 = 50;
/// Calls of visitors who are not there any more lapse after this.
const CLAIM_WINDOW_S: f64 = 60.0;
/// The first second of the simulated clock, on the scale of real ones.
pub(crate) const START_US: u64 = 1_800_000_000_000_000;

/// Something due at a time, in microseconds since the start; earliest first.
type Due<T> = BinaryHeap<Reverse<(u64, T)>>;

fn pop_due<T: Ord + Copy>(due: &mut Due<T>, now_us: u64) -> Option<T> {
    let Reverse((at_us, what)) = *due.peek()?;
    if at_us > now_us {
        return None;
    }
    due.pop();
    Some(what)
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

/// The sale at a moment.
pub(crate) struct Sale<'a> {
    scenario: &'a Scenario,
    fans: &'a [Fan],
    pub(crate) tick: u64,
    pub(crate) line: Order,
    settings: Settings,
    permits: f64,
    turns_played: usize,
    arrived: usize,
    front: usize,
    returned: BTreeSet<usize>,
    away: BTreeSet<usize>,
    asked: usize,
    asking: usize,
    visits_end: Due<()>,
    calls_lapse: Due<usize>,
    leaves: Due<usize>,
    returns: Due<usize>,
    numbers: Numbers,
    version: u64,
    /// When each fan was called, in seconds.
    pub(crate) called_s: Vec<Option<f64>>,
}

impl<'a> Sale<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let json = format!(
            r#"{{"rate_per_min": {}, "max_inside": {}, "pass_ttl_s": 600}}"#,
            scenario.rate_per_min, scenario.max_inside
        );
        let fans = &scenario.fans;
        Self {
            scenario,
            fans,
            tick: 0,
            line: Order::new(fans.len()),
            settings: serde_json::from_str(&json).expect("settings"),
            permits: 1.0,
            turns_played: 0,
            arrived: 0,
            front: 0,
            returned: BTreeSet::new(),
            away: BTreeSet::new(),
            asked: 0,
            asking: 0,
            visits_end: Due::new(),
            calls_lapse: Due::new(),
            leaves: Due::new(),
            returns: Due::new(),
            numbers: Numbers::default(),
            version: 1,
            called_s: vec![None; fans.len()],
        }
    }

    pub(crate) fn now_s(&self) -> f64 {
        self.tick as f64 * TICK_S
    }

    pub(crate) fn is_open(&self) -> bool {
        self.settings.state == SaleState::Open
    }

    pub(crate) fn is_over(&self) -> bool {
        self.arrived == self.fans.len() && self.line.len() == 0
    }

    /// What a gateway reads.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let inside = self.visits_end.len() as u64;
        let numbers = Numbers { waiting: self.line.len(), away: self.away.len() as u64, inside, ..self.numbers };
        Snapshot {
            version: self.version,
            rate_in_force_per_min: self.settings.rate_per_min,
            settings: self.settings.clone(),
            at_us: START_US + micros(self.now_s()),
            last_score: Score::default(),
            numbers,
            horizon: None,
            ranks: Ranks::default(),
            generation: 1,
            calm_until_us: 0,
            whole_at_us: 0,
            left: Vec::new(),
            governed: queue::govern::Governed::default(),
            file_digest: None,
        }
    }

    /// One tick.
    pub(crate) fn step(&mut self, dice: &mut StdRng) {
        self.tick += 1;
        let (now_s, now_us) = (self.now_s(), micros(self.now_s()));
        while let Some((at_s, turn)) = self.scenario.turns.get(self.turns_played).filter(|turn| turn.0 <= now_s) {
            assert!(at_s.is_finite());
            self.turns_played += 1;
            self.version += 1;
            match turn {
                Turn::Rate(per_min) => self.settings.rate_per_min = *per_min,
                Turn::Pause => self.settings.state = SaleState::Paused,
                Turn::Resume => self.settings.state = SaleState::Open,
            }
        }
        while let Some(fan) = self.fans.get(self.arrived).filter(|fan| fan.joins_s <= now_s) {
            self.line.insert(self.arrived);
            self.numbers.joined_total += 1;
            if fan.leaves_s.is_finite() {
                self.leaves.push(Reverse((micros(fan.leaves_s), self.arrived)));
            }
            self.arrived += 1;
        }
        while let Some(fan) = pop_due(&mut self.leaves, now_us) {
            self.numbers.departed_total += u64::from(self.line.remove(fan));
        }
        while let Some(fan) = pop_due(&mut self.returns, now_us) {
            if self.away.remove(&fan) {
                self.line.insert(fan);
                self.returned.insert(fan);
            }
        }
        while pop_due(&mut self.visits_end, now_us).is_some() {}
        while let Some(fan) = pop_due(&mut self.calls_lapse, now_us) {
            self.numbers.expired_total += 1;
            self.away.insert(fan);
        }
        if self.is_open() {
            let per_s = self.settings.rate_per_min / 60.0;
            self.permits = (self.permits + per_s * TICK_S).min(per_s.ceil().max(1.0));
            while self.permits >= 1.0 && (self.visits_end.len() as u64) < self.settings.max_inside {
                if !self.pass_one(now_s, dice) {
                    break;
                }
            }
        }
        if self.tick.is_multiple_of(ASK_TICKS) {
            self.asked = self.asked.max(self.asking);
            let reach = ((self.settings.rate_per_min * 1.5).ceil() as u64).max(100);
            let beyond = Some(reach).filter(|reach| *reach < self.line.len());
            self.asking = beyond.and_then(|reach| self.line.at(reach)).unwrap_or(self.arrived);
        }
    }

    /// Calls or sets aside whoever is first; answers whether somebody was.
    fn pass_one(&mut self, now_s: f64, dice: &mut StdRng) -> bool {
        let first = loop {
            if let Some(fan) = self.returned.pop_first() {
                if self.line.contains(fan) {
                    break fan;
                }
                continue;
            }
            if self.front >= self.arrived {
                return false;
            }
            if self.line.contains(self.front) {
                break self.front;
            }
            self.front += 1;
        };
        let fan = &self.fans[first];
        let is_there = now_s < fan.silent_s || now_s >= fan.returns_s;
        let heard = is_there || now_s < fan.silent_s + PRESENCE_S - ASKS_S / 2.0 || now_s < fan.joins_s + PRESENCE_S;
        if heard {
            self.line.remove(first);
            self.permits -= 1.0;
            self.numbers.called_total += 1;
            self.called_s[first] = Some(now_s);
            let visit_s = if is_there { self.scenario.visit_s(dice) } else { CLAIM_WINDOW_S };
            self.visits_end.push(Reverse((micros(now_s + visit_s), ())));
            if !is_there {
                self.calls_lapse.push(Reverse((micros(now_s + visit_s), first)));
            }
            return true;
        }
        if first > self.asked {
            return false;
        }
        self.line.remove(first);
        self.away.insert(first);
        if fan.returns_s.is_finite() {
            self.returns.push(Reverse((micros(fan.returns_s), first)));
        }
        true
    }
}

/// One of those who wait, all orders of magnitude of positions alike; its position, from 1.
pub(crate) fn pick(line: &Order, dice: &mut StdRng) -> Option<(usize, u64)> {
    let rank = (line.len() as f64).powf(dice.random::<f64>()) as u64;
    let fan = line.at(rank.max(1) - 1)?;
    Some((fan, line.ahead_of(fan) + 1))
}
