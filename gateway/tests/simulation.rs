//! Goal: the promises of `docs/THE-LINE.md` hold for whole sales whatever goes wrong between gateways and Redis. Method:
//! seeded sales in simulated time, one event after the other, one thread for each sale: fans, gateways made of the real pure pieces,
//! and the model of the line behind links that delay, lose and reorder; servers that forget, go back in time, split
//! in two and step their clocks. `rules` looks at it from outside. Defects put in on purpose must be noticed.
//!
//! `SIM_SEEDS=n` plays so many seeds, `SIM_SEED=x` one, with the story of its last events when it fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

#[allow(dead_code, unused_imports, reason = "parts of the model are played by the tests of the queue alone")]
#[path = "../../queue/tests/model/mod.rs"]
mod model;
mod simulation {
    pub(crate) mod fan;
    mod faults;
    pub(crate) mod link;
    pub(crate) mod node;
    pub(crate) mod plan;
    #[path = "../../../queue/tests/support/rate_bound.rs"]
    pub(crate) mod rate_bound;
    pub(crate) mod rules;
    pub(crate) mod visits;
    pub(crate) mod world;
}

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulation::node::GatewayFlaw;
use simulation::plan::Plan;
use simulation::rules::Rule;
use simulation::world::{Failure, Flaws, World};

/// Seeds that are always played.
const SEEDS: u64 = 200;
/// Seeds that showed a defect before are tried first, then so many others.
const TELLING_SEEDS: [u64; 11] = [1, 4, 7, 13, 19, 25, 43, 55, 56, 67, 167];
const SEEDS_FOR_A_FLAW: u64 = 400;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn tell(seed: u64, failure: &Failure) -> String {
    let Failure { violation, at_us, notes } = failure;
    format!(
        "SIM_SEED={seed} at {:.3} s: {:?}: {}\nwhat goes wrong: {:?}\n{}",
        *at_us as f64 / 1e6,
        violation.rule,
        violation.detail,
        Plan::of(seed).faults,
        notes.join("\n")
    )
}

#[test]
fn whole_sales_keep_their_promises() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let (next, last) = (AtomicU64::new(*seeds.start()), *seeds.end());
    let work = || {
        let (mut played_s, mut sales) = (0, 0u64);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last {
                return (played_s, sales);
            }
            played_s += play(seed);
            sales += 1;
        }
    };
    let began = Instant::now();
    let (played_s, sales) = std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        // A worker that failed has told its seed.
        workers.into_iter().map(|worker| worker.join().unwrap()).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    });
    println!("{sales} sales, {played_s} s in all, played in {:.1} s", began.elapsed().as_secs_f64());
}

/// Plays one sale; how many seconds it lasted.
fn play(seed: u64) -> u64 {
    match World::new(seed, Flaws::default(), false).play() {
        Ok(us) => us / 1_000_000,
        // Again, and this time with the story.
        Err(_) => match World::new(seed, Flaws::default(), true).play() {
            Err(failure) => panic!("{}", tell(seed, &failure)),
            Ok(_) => panic!("seed {seed} failed and did not fail again"),
        },
    }
}

/// The rule that notices the defect first, with the seed.
fn noticed(flaws: Flaws) -> Option<(u64, Rule)> {
    let fails = |seed| World::new(seed, flaws, false).play().err().map(|failure| (seed, failure.violation.rule));
    TELLING_SEEDS.into_iter().chain(1..=SEEDS_FOR_A_FLAW).find_map(fails)
}

#[test]
fn every_defect_of_a_gateway_is_noticed() {
    let missed: Vec<GatewayFlaw> = GatewayFlaw::ALL
        .into_iter()
        .filter(|flaw| {
            let found = noticed(Flaws { gateway: Some(*flaw), ..Flaws::default() });
            println!("{flaw:?}: {found:?}");
            found.is_none()
        })
        .collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

#[test]
fn every_defect_of_the_line_that_fans_can_see_is_noticed() {
    use model::Flaw;
    let visible = [
        Flaw::ExtraPermit,
        Flaw::NoBurstLimit,
        Flaw::FillsWhilePaused,
        Flaw::FullAfterLoss,
        Flaw::CalledTakeNoRoom,
        Flaw::ForgetsPresence,
        Flaw::CallsTheSilent,
        Flaw::CallsFromTheBack,
        Flaw::PutsBackAtTheEnd,
        Flaw::IgnoresFloor,
        Flaw::ForgetsThoseWhoLeft,
        Flaw::SweepsTheUnasked,
        Flaw::CallsAtOnceAfterLoss,
    ];
    let missed: Vec<Flaw> = visible
        .into_iter()
        .filter(|flaw| {
            let found = noticed(Flaws { line: Some(*flaw), ..Flaws::default() });
            println!("{flaw:?}: {found:?}");
            found.is_none()
        })
        .collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
