//! What a seed stands for: the sale, its gateways and fans, the links between them, and what goes wrong when.

use std::fmt::Write;

use queue::Settings;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A second in the simulation's time.
pub(crate) const S: u64 = 1_000_000;
/// From then on nothing goes wrong any more, and whoever goes on asking must come in.
pub(crate) const PEACE_US: u64 = 160 * S;

/// How a fan behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Asks as told until its turn comes.
    Asks,
    /// The same, but hears and says nothing in between.
    Sleeps { from_us: u64, to_us: u64 },
    /// Gives its place back; its other tabs may not have noticed.
    Leaves { at_us: u64 },
    /// Joins and is never heard of again.
    Ghost,
}

/// Something that happens to the sale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Redis holds nothing any more.
    Empty,
    /// This is the state that a later fault goes back to.
    Remember,
    /// Redis was restarted, or restored, with what was remembered.
    Restore,
    /// A replica that had got as far as what was remembered takes over; gateways notice after this long.
    FailOver {
        notice_us: u64,
    },
    /// The same, but the first gateway goes on talking to the old primary for this long.
    Split {
        for_us: u64,
    },
    /// Redis does not answer for this long.
    Silent {
        for_us: u64,
    },
    /// A gateway dies and is started again.
    Restart {
        gateway: usize,
        after_us: u64,
    },
    /// A gateway does not reach Redis for this long.
    Cut {
        gateway: usize,
        for_us: u64,
    },
    /// The clock of Redis steps.
    Step {
        by_us: i64,
    },
    /// The organiser sets another rate and room, or pauses for this long.
    Terms {
        rate_per_min: f64,
        max_inside: u64,
    },
    Pause {
        for_us: u64,
    },
}

/// One fan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) comes_us: u64,
    pub(crate) habit: Habit,
    pub(crate) tabs: usize,
    pub(crate) visit_us: u64,
    pub(crate) says_goodbye: bool,
}

/// How messages between gateways and Redis fare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links {
    pub(crate) slowest_us: u64,
    pub(crate) lost: f64,
}

/// Everything that a seed decides before the first moment.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) clocks_us: Vec<i64>,
    pub(crate) guests: Vec<Guest>,
    pub(crate) links: Links,
    pub(crate) faults: Vec<(u64, Fault)>,
    /// Nothing is lost, no clock steps, no message goes astray.
    pub(crate) is_gentle: bool,
    pub(crate) steps_clock: bool,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let d = &mut dice;
        let is_gentle = d.random_bool(0.3);
        let (fewest, most) = match d.random_range(0..20) {
            0 => (260, 320),
            1..=4 => (60, 150),
            _ => (8, 60),
        };
        let count = d.random_range(fewest..most);
        let settings = settings(d, fewest > 200);
        let clocks_us = (0..d.random_range(1..=4)).map(|_| d.random_range(-20_000..20_000)).collect::<Vec<i64>>();
        let links = if is_gentle {
            Links { slowest_us: d.random_range(500..200_000), lost: 0.0 }
        } else {
            Links { slowest_us: d.random_range(500..1_500_000), lost: d.random_range(0.0..0.05) }
        };
        let ghosts = d.random_range(0.0..0.7);
        let within_us = d.random_range(1..120) * S;
        let mut guests: Vec<Guest> = (0..count).map(|_| guest(d, ghosts, within_us)).collect();
        // In some long lines the first comers have all gone away.
        let clump = if fewest > 200 && d.random_bool(0.6) { d.random_range(110..count - 20) } else { 0 };
        for guest in guests.iter_mut().take(clump) {
            (guest.habit, guest.comes_us) = (Habit::Ghost, 0);
        }
        let mut faults = organiser(d);
        if !is_gentle {
            for _ in 0..d.random_range(1..5) {
                trouble(d, clocks_us.len(), &mut faults);
            }
        }
        faults.sort_by_key(|fault| fault.0);
        let steps_clock = faults.iter().any(|(_, fault)| matches!(fault, Fault::Step { .. }));
        Self { settings, clocks_us, guests, links, faults, is_gentle, steps_clock }
    }

    /// Whether the fan asks until its turn comes.
    pub(crate) fn goes_on_asking(&self, fan: usize) -> bool {
        matches!(self.guests[fan].habit, Habit::Asks | Habit::Sleeps { .. })
    }
}

fn settings(d: &mut StdRng, is_long: bool) -> Settings {
    let rate = if is_long { d.random_range(20..60) } else { d.random_range(30..900) };
    let max_inside = if d.random_bool(0.5) { d.random_range(2..30) } else { 1000 };
    let mut opening = match d.random_range(0..6) {
        0 => format!(r#", "state": "scheduled", "opens_at": "2027-01-15T08:00:{}Z""#, d.random_range(10..50)),
        _ => String::new(),
    };
    if d.random_bool(0.3) {
        let _ = write!(opening, r#", "burst": {}"#, d.random_range(1..20));
    }
    let json = format!(
        r#"{{"rate_per_min": {rate}, "max_inside": {max_inside}, "pass_ttl_s": 120, "claim_window_s": 20{opening}}}"#
    );
    serde_json::from_str(&json).expect("settings")
}

fn guest(d: &mut StdRng, ghosts: f64, within_us: u64) -> Guest {
    let comes_us = d.random_range(0..within_us);
    let habit = match d.random_range(0..10) {
        _ if d.random_bool(ghosts) => Habit::Ghost,
        0 | 1 => {
            let from_us = comes_us + d.random_range(1..60) * S;
            Habit::Sleeps { from_us, to_us: from_us + d.random_range(5..200) * S }
        }
        2 => Habit::Leaves { at_us: comes_us + d.random_range(1..90) * S },
        _ => Habit::Asks,
    };
    let tabs = if d.random_bool(0.15) { d.random_range(2..5) } else { 1 };
    Guest { comes_us, habit, tabs, visit_us: d.random_range(1..30) * S, says_goodbye: d.random_bool(0.8) }
}

fn organiser(d: &mut StdRng) -> Vec<(u64, Fault)> {
    let mut all = Vec::new();
    for _ in 0..d.random_range(0..3) {
        let at_us = d.random_range(5..150) * S;
        all.push(if d.random_bool(0.4) {
            (at_us, Fault::Pause { for_us: d.random_range(2..20) * S })
        } else {
            let rate_per_min = f64::from(d.random_range(30..900));
            (at_us, Fault::Terms { rate_per_min, max_inside: d.random_range(3..200) })
        });
    }
    all
}

/// One more thing that goes wrong.
fn trouble(d: &mut StdRng, gateways: usize, faults: &mut Vec<(u64, Fault)>) {
    let at_us = d.random_range(5 * S..140 * S);
    let ago_us = if d.random_bool(0.7) { d.random_range(0..2 * S) } else { d.random_range(0..at_us.min(60 * S)) };
    let gateway = d.random_range(0..gateways);
    let fault = match d.random_range(0..10) {
        0 | 1 => Fault::Empty,
        2 => Fault::Restore,
        3 => Fault::FailOver { notice_us: d.random_range(0..3 * S) },
        4 => Fault::Split { for_us: d.random_range(S..10 * S) },
        5 => Fault::Silent { for_us: d.random_range(S / 2..20 * S) },
        6 | 7 => Fault::Restart { gateway, after_us: d.random_range(S / 2..5 * S) },
        8 => Fault::Cut { gateway, for_us: d.random_range(S..20 * S) },
        _ => Fault::Step { by_us: d.random_range(-20_000_000..20_000_000) },
    };
    if matches!(fault, Fault::Restore | Fault::FailOver { .. } | Fault::Split { .. }) {
        faults.push((at_us - ago_us, Fault::Remember));
    }
    faults.push((at_us, fault));
}
