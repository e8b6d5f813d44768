//! What is known of a fan from outside: its place, what its tabs were told, and where servers last heard of it.

use queue_token::{Score, VisitorId};

use super::rules::Shown;

/// How far a fan has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Has no place yet.
    Outside,
    Waiting,
    /// Holds a pass.
    Inside,
    /// Gave its place or pass back, or its time inside is over.
    Gone,
}

/// The last time that a server heard of somebody in its line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) server: usize,
    pub(crate) losses: u32,
    pub(crate) at_ms: u64,
    pub(crate) true_us: u64,
    /// Its spot there.
    pub(crate) score: u64,
}

/// One tab.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tab {
    pub(crate) asks_us: u64,
    pub(crate) shown: Option<Shown>,
    /// It was answered, and does as it was told.
    pub(crate) is_told: bool,
    /// What it was told while the line regrouped: by which gateway, in which of its lives, of which generation.
    pub(crate) frozen: Option<(usize, u32, u64, u64)>,
}

/// One fan.
#[derive(Debug, Clone)]
pub(crate) struct Fan {
    pub(crate) visitor: VisitorId,
    pub(crate) place: Option<Score>,
    /// How often it tried to join the line.
    pub(crate) joins: u32,
    /// When the place was given.
    pub(crate) placed_us: u64,
    pub(crate) stage: Stage,
    pub(crate) tabs: Vec<Tab>,
    pub(crate) heard: Option<Heard>,
    /// Where its turn has come: at which servers, and how often those had lost something.
    pub(crate) called: Vec<(usize, u32)>,
    /// Where it gave its place back.
    pub(crate) left: Option<(usize, u32)>,
    pub(crate) was_inside: bool,
}

impl Fan {
    pub(crate) fn new(visitor: VisitorId, tabs: usize) -> Self {
        Self {
            visitor,
            place: None,
            joins: 0,
            placed_us: 0,
            stage: Stage::Outside,
            tabs: vec![Tab::default(); tabs],
            heard: None,
            called: Vec::new(),
            left: None,
            was_inside: false,
        }
    }

    /// Whether a tab does as it was told: the next time to ask has not passed.
    pub(crate) fn obeys(&self, true_us: u64, patience_us: u64) -> bool {
        self.tabs.iter().any(|tab| tab.is_told && true_us <= tab.asks_us + patience_us)
    }
}
