//! Crowds and what organisers do to them: the scenarios that estimates are judged by, made up from a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What an organiser does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turn {
    /// Sets the rate per minute.
    Rate(f64),
    Pause,
    Resume,
}

/// A fan: when it comes, falls silent, gives its place back, and is there again. Infinite where it never does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fan {
    pub(crate) joins_s: f64,
    pub(crate) silent_s: f64,
    pub(crate) leaves_s: f64,
    pub(crate) returns_s: f64,
}

impl Fan {
    /// Whether it waits until it is called.
    pub(crate) fn stays(&self) -> bool {
        self.silent_s.is_infinite() && self.leaves_s.is_infinite()
    }
}

/// How a crowd behaves.
#[derive(Clone, Copy)]
struct Habits {
    /// Share that closes the tab soon after joining, at the head and at the end of the line.
    no_shows: (f64, f64),
    /// Of those, the share that comes back after some minutes.
    come_back: f64,
    /// Mean time after which the impatient half closes the tab, or gives its place back.
    tabs_close_s: f64,
    places_given_back_s: f64,
    /// Share that comes in the first twenty seconds; the others come within this time.
    rush: f64,
    within_s: f64,
}

const HABITS: Habits = Habits {
    no_shows: (0.0, 0.0),
    come_back: 0.1,
    tabs_close_s: f64::INFINITY,
    places_given_back_s: f64::INFINITY,
    rush: 0.7,
    within_s: 400.0,
};

/// One sale to be played.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) rate_per_min: f64,
    pub(crate) max_inside: u64,
    pub(crate) turns: Vec<(f64, Turn)>,
    pub(crate) fans: Vec<Fan>,
    visits_alike: bool,
}

impl Scenario {
    /// How long somebody stays inside.
    pub(crate) fn visit_s(&self, dice: &mut StdRng) -> f64 {
        if self.visits_alike { 180.0 } else { after(dice, 120.0) }
    }
}

/// An exponential time with this mean.
fn after(dice: &mut StdRng, mean_s: f64) -> f64 {
    if mean_s.is_infinite() { mean_s } else { -(1.0 - dice.random::<f64>()).ln() * mean_s }
}

fn crowd(dice: &mut StdRng, size: usize, habits: Habits) -> Vec<Fan> {
    let mut joins: Vec<f64> = (0..size)
        .map(|_| {
            let within_s = if dice.random_bool(habits.rush) { 20.0 } else { habits.within_s };
            dice.random_range(0.0..within_s)
        })
        .collect();
    joins.sort_by(f64::total_cmp);
    let (first, last) = habits.no_shows;
    let fan = |(number, joins_s): (usize, f64)| {
        let no_show = first + (last - first) * number as f64 / size as f64;
        let impatient = dice.random_bool(0.5);
        let silent_s = match (dice.random_bool(no_show), impatient) {
            (true, _) => joins_s + after(dice, 20.0),
            (false, true) => joins_s + after(dice, habits.tabs_close_s),
            (false, false) => f64::INFINITY,
        };
        let leaves_s = if impatient { joins_s + after(dice, habits.places_given_back_s) } else { f64::INFINITY };
        let back = silent_s.is_finite() && dice.random_bool(habits.come_back);
        let returns_s = if back { silent_s + after(dice, 300.0) } else { f64::INFINITY };
        Fan { joins_s, silent_s, leaves_s, returns_s }
    };
    joins.into_iter().enumerate().map(fan).collect()
}

/// Every scenario, with the details drawn from a seed.
pub(crate) fn scenarios(seed: u64) -> Vec<Scenario> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    let mut add = |name, rate_per_min, turns, size, habits, dice: &mut StdRng| {
        let fans = crowd(dice, size, habits);
        all.push(Scenario { name, rate_per_min, max_inside: 10_000_000, turns, fans, visits_alike: false });
    };
    let some = |dice: &mut StdRng| {
        let share = dice.random_range(0.0..0.7);
        Habits { no_shows: (share, share), ..HABITS }
    };
    let no_shows = |share| Habits { no_shows: (share, share), ..HABITS };
    let d = &mut dice;

    let rate = d.random_range(300.0..1200.0);
    add("steady, all stay", rate, vec![], 8_000, HABITS, d);
    let rate = d.random_range(300.0..1200.0);
    add("steady, 30 % no-shows", rate, vec![], 8_000, no_shows(0.3), d);
    let rate = d.random_range(200.0..1000.0);
    add("steady, 70 % no-shows", rate, vec![], 12_000, no_shows(0.7), d);
    let habits = Habits { come_back: 0.4, ..some(d) };
    add("many come back", 600.0, vec![], 9_000, habits, d);
    let habits = Habits { no_shows: (d.random_range(0.0..0.7), d.random_range(0.0..0.7)), ..HABITS };
    add("no-shows change along the line", 600.0, vec![], 9_000, habits, d);
    let habits = Habits { tabs_close_s: d.random_range(900.0..3600.0), ..no_shows(0.1) };
    add("tabs are closed", 500.0, vec![], 8_000, habits, d);
    let habits = Habits { places_given_back_s: d.random_range(900.0..3600.0), ..no_shows(0.1) };
    add("places are given back", 500.0, vec![], 8_000, habits, d);

    let (at_s, times) = (d.random_range(200.0..500.0), d.random_range(1.3..2.5));
    let habits = some(d);
    add("rate up", 400.0, vec![(at_s, Turn::Rate(400.0 * times))], 8_000, habits, d);
    let (at_s, times) = (d.random_range(200.0..500.0), d.random_range(0.4..0.8));
    let habits = some(d);
    add("rate down", 800.0, vec![(at_s, Turn::Rate(800.0 * times))], 8_000, habits, d);
    let mut rate: f64 = 600.0;
    let often = (1..40).map(|i| {
        rate = (rate * d.random_range(-0.35_f64..0.35).exp()).clamp(200.0, 1500.0);
        (f64::from(i) * 180.0, Turn::Rate(rate))
    });
    let often = often.collect();
    let habits = some(d);
    add("rate tuned every three minutes", 600.0, often, 10_000, habits, d);
    let (at_s, length_s) = (d.random_range(120.0..500.0), d.random_range(30.0..300.0));
    let habits = some(d);
    add("one pause", 600.0, vec![(at_s, Turn::Pause), (at_s + length_s, Turn::Resume)], 8_000, habits, d);
    let mut at_s = 0.0;
    let many = (0..30).flat_map(|_| {
        let from_s = at_s + 30.0 + after(d, 300.0);
        at_s = from_s + 5.0 + after(d, 40.0);
        [(from_s, Turn::Pause), (at_s, Turn::Resume)]
    });
    let many = many.collect();
    let habits = some(d);
    add("many pauses", 600.0, many, 8_000, habits, d);

    let (rate, habits) = (d.random_range(60.0..200.0), Habits { rush: 0.0, within_s: 1800.0, ..some(d) });
    add("trickle", rate, vec![], 4_000, habits, d);
    let (rate, habits) = (d.random_range(4.0..12.0), Habits { rush: 0.0, within_s: 600.0, ..some(d) });
    add("small and slow", rate, vec![], 60, habits, d);
    let habits = some(d);
    add("a hundred thousand", 6000.0, vec![], 100_000, habits, d);
    let habits = some(d);
    add("full house", 1200.0, vec![], 6_000, habits, d);
    let habits = some(d);
    add("full house, visits alike", 1200.0, vec![], 6_000, habits, d);
    for scenario in all.iter_mut().filter(|scenario| scenario.name.starts_with("full house")) {
        scenario.max_inside = dice.random_range(250..1200);
        scenario.visits_alike = scenario.name.ends_with("alike");
    }
    all
}
