//! How much this node has to do for one event: the holds of the last ten seconds. Pure: the time is a parameter.

/// Seconds that are remembered.
const WINDOW_S: usize = 10;
/// Times are counted in steps of an eighth of an octave, from a quarter of a millisecond to 16 s.
const STEPS_PER_OCTAVE: f64 = 8.0;
const LEAST_MS: f64 = 0.25;
const STEPS: usize = 128;
/// One slow or refused hold among a few says nothing about load.
const TIMES_MIN: f64 = 5.0;
const REFUSALS_OF_MIN: f64 = 20.0;
/// A writer that is busier than this on average has too much to do, if holds also take longer than they should; a busy
/// writer alone is one that is made use of.
const BUSY: f64 = 0.9;
const SHOULD_TAKE_MS: f64 = 200.0;
/// A node that is short asks for half at least of what it gets; it is refusing that says how much is too much.
const LEAST_WHILE_BUSY: f64 = 0.5;

/// How a request to hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// A hold was made.
    Made,
    /// It was denied, or had been done before.
    Answered,
    /// It was turned away for want of room.
    TurnedAway,
    /// It failed otherwise.
    Failed,
    /// Its caller went away first.
    Abandoned,
}

impl Ended {
    /// Whether it tells how long holds take. What makes no hold can be quick for any reason, and must not hide holds that
    /// are slow; but nothing is late without one. A denial says nothing either way: it may come from memory.
    fn tells_time(self, took_ms: f64) -> bool {
        match self {
            Self::Made => true,
            Self::Answered => false,
            Self::TurnedAway | Self::Failed | Self::Abandoned => took_ms > SHOULD_TAKE_MS,
        }
    }
}

/// One second's holds.
#[derive(Debug, Clone)]
struct Slot {
    second: u64,
    times: [u32; STEPS],
    /// All that ended, without the abandoned ones.
    holds: u32,
    errors: u32,
    refused: u32,
    busy_sum: f64,
}

impl Slot {
    fn of(second: u64) -> Self {
        Self { second, times: [0; STEPS], holds: 0, errors: 0, refused: 0, busy_sum: 0.0 }
    }
}

/// The last seconds of an event.
#[derive(Debug, Default)]
pub(super) struct Load {
    slots: Vec<Slot>,
    under_way: u32,
}

/// What they come to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Summary {
    /// 99 of 100 holds took at most this long; `None` when there were too few to say.
    pub(super) p99_ms: Option<f64>,
    pub(super) holds_per_s: f64,
    /// Failures, and holds that were turned away.
    pub(super) errors_per_s: f64,
    /// The share of holds that were turned away for want of room.
    pub(super) refused_share: f64,
    /// How busy the writer was on average, from 0 to 1.
    pub(super) busy_share: f64,
}

impl Load {
    /// Notes that a hold is asked for; answers how many are under way with it.
    pub(super) fn begin(&mut self) -> u32 {
        self.under_way = self.under_way.saturating_add(1);
        self.under_way
    }

    /// Notes how it ended, how long that took, and how busy the writer was, from 0 to 1.
    pub(super) fn end(&mut self, second: u64, ended: Ended, took_ms: f64, busy_share: f64) {
        self.under_way = self.under_way.saturating_sub(1);
        self.slots.retain(|slot| slot.second + WINDOW_S as u64 > second);
        if self.slots.last().is_none_or(|slot| slot.second < second) {
            self.slots.push(Slot::of(second));
        }
        let Some(slot) = self.slots.last_mut() else { return };
        slot.times[step_of(took_ms)] += u32::from(ended.tells_time(took_ms));
        if ended == Ended::Abandoned {
            return;
        }
        slot.holds += 1;
        slot.errors += u32::from(matches!(ended, Ended::TurnedAway | Ended::Failed));
        slot.refused += u32::from(ended == Ended::TurnedAway);
        slot.busy_sum += busy_share.clamp(0.0, 1.0);
    }

    /// Whether there is anything to remember.
    pub(super) fn is_live(&self, second: u64) -> bool {
        self.under_way > 0 || self.slots.iter().any(|slot| slot.second + WINDOW_S as u64 > second)
    }

    /// What the last seconds come to.
    pub(super) fn summary(&self, second: u64) -> Summary {
        let recent: Vec<&Slot> = self.slots.iter().filter(|slot| slot.second + WINDOW_S as u64 > second).collect();
        let sum = |of: fn(&Slot) -> u32| recent.iter().map(|slot| f64::from(of(slot))).sum::<f64>();
        let (holds, times) = (sum(|slot| slot.holds), sum(|slot| slot.times.iter().sum()));
        // The single worst says nothing: among fewer than a hundred it would be the percentile.
        let (mut seen, rank) = (0.0, (times * 0.99).ceil().min(times - 1.0));
        let p99 = (0..STEPS).find(|step| {
            seen += recent.iter().map(|slot| f64::from(slot.times[*step])).sum::<f64>();
            seen >= rank
        });
        Summary {
            p99_ms: p99.filter(|_| times >= TIMES_MIN).map(|step| (upper_ms(step) * 10.0).round() / 10.0),
            holds_per_s: holds / WINDOW_S as f64,
            errors_per_s: sum(|slot| slot.errors) / WINDOW_S as f64,
            refused_share: sum(|slot| slot.refused) / holds.max(REFUSALS_OF_MIN),
            busy_share: recent.iter().map(|slot| slot.busy_sum).sum::<f64>() / holds.max(1.0),
        }
    }
}

/// How much of what it gets now this node wants, from 0 to 1, to the hundredth. Well until the writer always has a whole
/// batch waiting and holds are late, or until they are turned away; then as much less as is turned away.
pub(super) fn accept_factor(summary: &Summary) -> f64 {
    let over = ((summary.busy_share - BUSY) / (1.0 - BUSY)).clamp(0.0, 1.0);
    let is_late = summary.p99_ms.is_some_and(|p99_ms| p99_ms > SHOULD_TAKE_MS);
    let by_backlog = if is_late { 1.0 - over * (1.0 - LEAST_WHILE_BUSY) } else { 1.0 };
    let by_refusals = 1.0 - summary.refused_share.clamp(0.0, 1.0);
    (by_backlog.min(by_refusals) * 100.0).round() / 100.0
}

fn step_of(took_ms: f64) -> usize {
    let step = ((took_ms.max(LEAST_MS) / LEAST_MS).log2() * STEPS_PER_OCTAVE).floor();
    (step as usize).min(STEPS - 1)
}

/// The longest time that counts as this step.
fn upper_ms(step: usize) -> f64 {
    LEAST_MS * ((step + 1) as f64 / STEPS_PER_OCTAVE).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(load: &mut Load, second: u64, times: usize, took_ms: f64, ended: Ended) {
        for _ in 0..times {
            load.begin();
            load.end(second, ended, took_ms, 0.5);
        }
    }

    #[test]
    fn the_percentile_is_right_to_a_tenth() {
        let mut load = Load::default();
        assert_eq!(load.summary(0), Summary::default());
        note(&mut load, 0, 98, 3.0, Ended::Made);
        note(&mut load, 1, 2, 700.0, Ended::Made);
        let p99 = load.summary(1).p99_ms.unwrap();
        assert!((700.0..=770.0).contains(&p99), "{p99}");
        note(&mut load, 1, 200, 3.0, Ended::Made);
        let p99 = load.summary(1).p99_ms.unwrap();
        assert!((3.0..=3.3).contains(&p99), "{p99}");
        note(&mut load, 2, 500, 60_000.0, Ended::Made);
        assert!(load.summary(2).p99_ms.unwrap() > 16_000.0, "beyond the last step counts as the last");
    }

    #[test]
    fn the_single_worst_is_no_percentile() {
        let mut load = Load::default();
        note(&mut load, 0, 20, 3.0, Ended::Made);
        note(&mut load, 0, 1, 5_000.0, Ended::Made);
        assert!(load.summary(0).p99_ms.unwrap() < 4.0);
        note(&mut load, 1, 1, 5_000.0, Ended::Made);
        assert!(load.summary(1).p99_ms.unwrap() > 4_000.0);
    }

    #[test]
    fn nothing_quick_hides_holds_that_are_slow() {
        let mut load = Load::default();
        note(&mut load, 0, 5, 3_000.0, Ended::Made);
        for quick in [Ended::Answered, Ended::TurnedAway, Ended::Failed, Ended::Abandoned] {
            note(&mut load, 0, 10_000, 0.3, quick);
        }
        assert!(load.summary(0).p99_ms.unwrap() > 2_900.0);
        let mut given_up = Load::default();
        note(&mut given_up, 0, 20, 3_000.0, Ended::Abandoned);
        let summary = given_up.summary(0);
        assert!(summary.p99_ms.unwrap() > 2_900.0 && summary.holds_per_s == 0.0, "{summary:?}");
    }

    #[test]
    fn what_is_under_way_is_counted() {
        let mut load = Load::default();
        assert!(!load.is_live(0));
        assert_eq!((load.begin(), load.begin()), (1, 2));
        assert!(load.is_live(1_000), "it may take long");
        load.end(0, Ended::Made, 1.0, 0.0);
        load.end(0, Ended::Abandoned, 1.0, 0.0);
        assert!(load.is_live(9) && !load.is_live(10));
        assert_eq!(load.begin(), 1);
    }

    #[test]
    fn what_is_older_than_ten_seconds_is_forgotten() {
        let mut load = Load::default();
        note(&mut load, 0, 50, 900.0, Ended::TurnedAway);
        note(&mut load, 9, 50, 1.0, Ended::Made);
        let both = load.summary(9);
        assert_eq!((both.holds_per_s, both.errors_per_s, both.refused_share), (10.0, 5.0, 0.5));
        assert_eq!(load.summary(10).refused_share, 0.0);
        assert_eq!(load.summary(19).p99_ms, None);
        note(&mut load, 1_000_000, 1, 1.0, Ended::Made);
        assert_eq!(load.slots.len(), 1, "the past is bounded");
        assert_eq!(load.summary(1_000_000).p99_ms, None, "one hold says nothing");
    }

    #[test]
    fn a_node_asks_for_less_when_it_is_short() {
        let cases = [
            (0.0, 0.0, 1.0),
            (0.9, 0.0, 1.0),
            (0.95, 0.0, 0.75),
            (1.0, 0.0, 0.5),
            (0.5, 0.3, 0.7),
            (1.0, 0.8, 0.2),
            (0.0, 1.0, 0.0),
        ];
        for (busy_share, refused_share, expected) in cases {
            let summary = Summary { busy_share, refused_share, p99_ms: Some(350.0), ..Summary::default() };
            assert_eq!(accept_factor(&summary), expected, "busy {busy_share}, refused {refused_share}");
        }
        let well_used = Summary { busy_share: 1.0, p99_ms: Some(90.0), ..Summary::default() };
        assert_eq!(accept_factor(&well_used), 1.0);
    }
}
