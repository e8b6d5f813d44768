//! The kinds of sale that the suites play.

/// What kind of sale a run is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) steps: usize,
    pub(crate) rates_per_min: &'static [f64],
    pub(crate) bursts: &'static [Option<u64>],
    pub(crate) max_inside: &'static [u64],
    pub(crate) claim_window_s: &'static [u64],
    pub(crate) pass_ttl_s: &'static [u64],
    /// Most visitors named in one call.
    pub(crate) batch: usize,
    /// No newcomers while so many wait.
    pub(crate) waiting: usize,
    /// In a thousand steps: how often the clock leaps ahead, steps back, and Redis loses everything.
    pub(crate) leaps: u32,
    pub(crate) steps_back: u32,
    pub(crate) losses: u32,
    /// In a thousand steps: how often settings change after the first time.
    pub(crate) changes: u32,
    /// In a thousand steps: how often the origin has a say on the rate.
    pub(crate) says: u32,
    /// In a thousand steps: how often somebody deals with another device.
    pub(crate) moves: u32,
}

/// A sale as there are many: all rates, some pauses, some silence.
pub(crate) const EVERYDAY: Profile = Profile {
    name: "everyday",
    steps: 300,
    rates_per_min: &[7.3, 60.0, 600.0, 3333.333],
    bursts: &[None, Some(1), Some(3), Some(20)],
    max_inside: &[1, 5, 30, 1000],
    claim_window_s: &[1, 5, 60],
    pass_ttl_s: &[1, 10, 600],
    batch: 8,
    waiting: 60,
    leaps: 8,
    steps_back: 5,
    losses: 2,
    changes: 20,
    says: 0,
    moves: 0,
};

/// Room for few at a trickle.
pub(crate) const TRICKLE: Profile = Profile {
    name: "trickle",
    steps: 400,
    rates_per_min: &[0.001, 0.5, 2.25, 20.0, 20.0],
    bursts: &[None, Some(1), Some(2), Some(5)],
    max_inside: &[1, 2],
    batch: 3,
    waiting: 12,
    leaps: 30,
    changes: 10,
    ..EVERYDAY
};

/// A clock that cannot be relied upon.
pub(crate) const STORMY_CLOCK: Profile =
    Profile { name: "stormy clock", leaps: 60, steps_back: 90, changes: 30, ..EVERYDAY };

/// An organiser who keeps changing the settings: opening, pausing, closing, opening later.
pub(crate) const CHANGES: Profile = Profile {
    name: "changes",
    rates_per_min: &[60.0, 333.333],
    bursts: &[None, Some(3)],
    max_inside: &[30, 1000],
    losses: 0,
    changes: 120,
    ..EVERYDAY
};

/// An origin that keeps changing what it can bear.
pub(crate) const GOVERNED: Profile = Profile {
    name: "governed",
    rates_per_min: &[60.0, 333.333, 3333.333],
    bursts: &[None, Some(1), Some(20)],
    max_inside: &[1000],
    losses: 3,
    changes: 30,
    says: 120,
    ..EVERYDAY
};

/// A line longer than its horizon at a rate that is raised again and again.
pub(crate) const RAISES: Profile = Profile {
    name: "raises",
    steps: 250,
    rates_per_min: &[10.0, 20.0, 600.0, 1200.0],
    bursts: &[Some(5), Some(50)],
    max_inside: &[1000],
    batch: 60,
    waiting: 1500,
    changes: 60,
    ..EVERYDAY
};

/// A Redis that loses everything again and again.
pub(crate) const LOSSES: Profile = Profile { name: "losses", losses: 25, ..EVERYDAY };

/// Fans who take their places from one device to another, and back.
pub(crate) const MOVING: Profile = Profile {
    name: "moving",
    rates_per_min: &[7.3, 60.0, 600.0],
    batch: 3,
    waiting: 15,
    leaps: 25,
    losses: 5,
    moves: 400,
    ..EVERYDAY
};

/// More at once than one tick or the head of the rank table holds.
pub(crate) const CROWD: Profile = Profile {
    name: "crowd",
    steps: 100,
    rates_per_min: &[3333.333, 80_000.0, 1_000_000.0],
    bursts: &[Some(50), Some(2500)],
    max_inside: &[30, 10_000],
    claim_window_s: &[5, 60],
    batch: 256,
    waiting: 4000,
    losses: 5,
    ..EVERYDAY
};
