//! What a scenario file may say. Every key has a default but the event and the arrivals.
//!
//! Left out on purpose: addresses and secrets. A scenario is run against many systems; where they
//! are is said on the command line.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Weights;
use super::phase::Phase;
use super::thresholds::Threshold;

/// A whole scenario, already found usable.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name, for reports.
    pub name: String,
    /// The seed of every draw; `--seed` overrides it.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// When arrivals stop at the latest; `--for` can only shorten the run.
    pub run_s: f64,
    /// How long fans in mid-purchase may take to finish after that.
    #[serde(default = "default_drain")]
    pub drain_s: f64,
    /// What is on sale.
    pub target: Target,
    /// How fast the line is set to move, when the scenario knows; the audit checks it.
    pub line: Option<Line>,
    /// Who comes when.
    pub arrivals: Vec<Phase>,
    /// What fans do.
    #[serde(default)]
    pub behaviour: Behaviour,
    /// How long fans think.
    #[serde(default)]
    pub delays: Delays,
    /// Bounds of the run.
    #[serde(default)]
    pub limits: Limits,
    /// Bounds that decide whether the run passes.
    #[serde(default, rename = "thresholds")]
    pub(super) raw_thresholds: BTreeMap<String, f64>,
    /// The thresholds, understood.
    #[serde(skip)]
    pub thresholds: Vec<Threshold>,
}

/// What is on sale.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The event that fans want.
    pub event: String,
    /// The sale that guards it; none for an event that nothing guards.
    pub sale: Option<String>,
    /// The guarded shop page; by default `/events/{event}`.
    pub page: Option<String>,
}

/// The settings of the line that the scenario was written for.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Fans called per minute.
    pub rate_per_min: f64,
    /// How many may be called at one instant.
    pub burst: f64,
}

/// How a fan gets into the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinBy {
    /// Asks for the guarded page as a program does.
    Page,
    /// Asks for the guarded page as a browser does.
    Browser,
    /// Posts to the join route.
    Api,
}

/// What a fan wants to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// The best seats together, chosen by the booking core.
    Best,
    /// Seats picked by hand from the snapshot.
    Seats,
    /// Places in a general-admission area.
    Areas,
}

/// A number of seats as the key of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Quantity(pub u32);

impl TryFrom<String> for Quantity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(quantity @ 1..=50) => Ok(Self(quantity)),
            _ => Err(format!("`{text}` is not a quantity from 1 to 50")),
        }
    }
}

/// What fans do; shares are between 0 and 1 and drawn once per fan.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// How they join.
    pub join: Weights<JoinBy>,
    /// What they want.
    pub want: Weights<Want>,
    /// How many seats or places.
    pub quantity: Weights<Quantity>,
    /// The areas they want; by default all that the snapshot names.
    pub areas: Vec<String>,
    /// How much everybody wants the same seats: 0 spreads evenly, 3 crowds to the front.
    pub herd: f64,
    /// How often a fan chooses again after losing a race.
    pub choose_again: u32,
    /// Share that leaves the line on purpose.
    pub leaves: f64,
    /// When those leave: at a moment within so many seconds.
    pub leaves_within_s: f64,
    /// Share that falls silent in the line and never returns.
    pub goes_silent: f64,
    /// When those fall silent.
    pub silent_within_s: f64,
    /// Share that walks away from a hold without a word.
    pub abandons: f64,
    /// Share that gives its hold back.
    pub releases: f64,
    /// Payment tokens used at the first attempt.
    pub payment: Weights<String>,
    /// Share of the declined who try a second card (`tok_ok`).
    pub second_card: f64,
    /// Share that tells the gateway when done, so that the slot is free at once.
    pub says_goodbye: f64,
    /// Share that looks at page, event and snapshot before the first hold; others only at the snapshot.
    pub looks_around: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            join: Weights::of(&[(JoinBy::Page, 4.0), (JoinBy::Browser, 3.0), (JoinBy::Api, 3.0)]),
            want: Weights::of(&[(Want::Best, 4.0), (Want::Seats, 4.0), (Want::Areas, 2.0)]),
            quantity: Weights::of(&[(Quantity(1), 2.0), (Quantity(2), 5.0), (Quantity(3), 1.0), (Quantity(4), 2.0)]),
            areas: Vec::new(),
            herd: 1.5,
            choose_again: 6,
            leaves: 0.0,
            leaves_within_s: 60.0,
            goes_silent: 0.0,
            silent_within_s: 60.0,
            abandons: 0.0,
            releases: 0.0,
            payment: Weights::of(&[("tok_ok".to_owned(), 1.0)]),
            second_card: 0.5,
            says_goodbye: 0.8,
            looks_around: 0.7,
        }
    }
}

/// A length of time drawn evenly between two bounds, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(from = "[f64; 2]")]
pub struct Span {
    /// At least.
    pub from_s: f64,
    /// At most.
    pub to_s: f64,
}

impl From<[f64; 2]> for Span {
    fn from([from_s, to_s]: [f64; 2]) -> Self {
        Self { from_s, to_s }
    }
}

/// How long fans think before they act.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delays {
    /// Between one page and the next.
    pub look_s: Span,
    /// Before a hold, and before choosing again.
    pub choose_s: Span,
    /// Between hold and booking.
    pub details_s: Span,
    /// Between booking and payment.
    pub pay_s: Span,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            look_s: Span::from([0.2, 1.5]),
            choose_s: Span::from([0.2, 1.0]),
            details_s: Span::from([0.5, 3.0]),
            pay_s: Span::from([0.5, 3.0]),
        }
    }
}

/// Bounds of the run: nothing waits or grows without one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Fans at most, over all phases.
    pub fans: u64,
    /// Open connections per target.
    pub connections: usize,
    /// A request that took longer is lost, its effect unknown.
    pub request_s: f64,
    /// Attempts of one operation after the first; polls go on as long as the fan waits.
    pub retries: u32,
    /// The longest pause between attempts.
    pub backoff_s: f64,
    /// The longest that a fan stays in the line.
    pub wait_s: f64,
    /// The longest poll interval a fan accepts from the server.
    pub poll_s: f64,
    /// Looks at a pending payment.
    pub pending_polls: u32,
    /// The longest answer read, in bytes.
    pub answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fans: 20_000,
            connections: 256,
            request_s: 10.0,
            retries: 6,
            backoff_s: 5.0,
            wait_s: 7_200.0,
            poll_s: 120.0,
            pending_polls: 60,
            answer_bytes: 64 << 20,
        }
    }
}

fn default_seed() -> u64 {
    1
}

fn default_drain() -> f64 {
    15.0
}
