//! One suite for the model and for a real Redis: seeded random operations, after every one of which both must have
//! answered the same, publish the same snapshot and hold everybody at the same spot; and on the same runs the promises
//! of the line are checked from outside.
//!
//! A failing run is made short and printed with its seed; `USHER_SEED=n` plays that seed alone. To show that the
//! suite would notice a wrong line, models with defects put in on purpose are compared with the same Redis.

mod model;
mod support;

use std::ops::Range;

use model::{Flaw, Model};
use support::profiles::{CHANGES, CROWD, EVERYDAY, GOVERNED, LOSSES, MOVING, Profile, RAISES, STORMY_CLOCK, TRICKLE};
use support::run::{Events, Script, run};
use support::shrink::{shrink, tell};
use support::subject::{Modelled, Real};

const SUITE: [(Profile, Range<u64>); 9] = [
    (EVERYDAY, 0..12),
    (TRICKLE, 100..110),
    (STORMY_CLOCK, 200..210),
    (LOSSES, 300..310),
    (CROWD, 400..403),
    (CHANGES, 500..506),
    (GOVERNED, 600..610),
    (MOVING, 700..712),
    (RAISES, 800..806),
];

const _: () = {
    let (mut steps, mut i) = (0, 0);
    while i < SUITE.len() {
        steps += SUITE[i].0.steps * (SUITE[i].1.end - SUITE[i].1.start) as usize;
        i += 1;
    }
    assert!(steps >= 10_000, "the suite is to make at least 10,000 operations");
};

/// Plays a profile of the suite; the events of all its seeds.
fn conform(index: usize) -> Events {
    let (profile, seeds) = &SUITE[index];
    let seeds = match std::env::var("USHER_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("USHER_SEED is a number");
            seed..seed + 1
        }
        Err(_) => seeds.clone(),
    };
    let (mut real, mut model) = (Real::start(), Modelled::default());
    let mut all = Events::new();
    for seed in seeds {
        match run(&mut real, Some(&mut model), true, Script::fresh(profile, seed)) {
            Ok(events) => events.into_iter().for_each(|(what, n)| *all.entry(what).or_default() += n),
            Err(long) => {
                let short = shrink(long.clone(), |steps| {
                    run(&mut real, Some(&mut model), true, Script::Again(steps.iter())).err()
                });
                panic!("{}", tell(profile.name, seed, &long, &short));
            }
        }
    }
    println!("{}: {all:?}", profile.name);
    all
}

/// A run in which nothing happened proves nothing.
fn expect_events(events: &Events, expected: &[&str]) {
    if std::env::var_os("USHER_SEED").is_none() {
        let missing: Vec<_> = expected.iter().filter(|&&what| events.get(what).is_none_or(|&n| n == 0)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}, but {events:?}");
    }
}

#[test]
fn an_everyday_sale_agrees_with_the_model() {
    let expected = [
        "opened",
        "scheduled",
        "paused",
        "closed",
        "version conflict",
        "unknown sale",
        "duplicates in a batch",
        "called by a join",
        "called by a tick",
        "silent set aside",
        "unclaimed set aside",
        "passes over",
        "claimed",
        "renewed",
        "pass no longer counts",
        "turned away",
        "came again too late",
        "departed from inside",
        "departed from the line",
    ];
    expect_events(&conform(0), &expected);
}

#[test]
fn a_trickle_agrees_with_the_model() {
    expect_events(&conform(1), &["called by a join", "called by a tick", "unclaimed set aside", "passes over"]);
}

#[test]
fn a_stormy_clock_agrees_with_the_model() {
    expect_events(&conform(2), &["clock steps back", "clock leaps", "called by a tick", "silent set aside"]);
}

#[test]
fn a_redis_that_forgets_agrees_with_the_model() {
    expect_events(&conform(3), &["everything lost", "called by a tick", "renewed"]);
}

#[test]
fn a_crowd_agrees_with_the_model() {
    expect_events(&conform(4), &["called by a tick", "silent set aside"]);
}

#[test]
fn changing_settings_agree_with_the_model() {
    expect_events(&conform(5), &["opened", "scheduled", "paused", "closed", "version conflict", "called by a tick"]);
}

#[test]
fn a_governed_sale_agrees_with_the_model() {
    let expected = [
        "stopped by the origin",
        "lowered by the origin",
        "full rate",
        "stale say",
        "called by a tick",
        "called by a join",
        "everything lost",
    ];
    expect_events(&conform(6), &expected);
}

#[test]
fn places_on_the_move_agree_with_the_model() {
    let expected = [
        "code offered",
        "code in use",
        "place stays",
        "place taken",
        "code leads nowhere",
        "told that it moved",
        "by an old device",
        "everything lost",
        "called by a tick",
    ];
    expect_events(&conform(7), &expected);
}

#[test]
fn a_rate_that_is_raised_agrees_with_the_model() {
    expect_events(&conform(8), &["opened", "called by a tick", "silent set aside"]);
}

/// Every flaw, put into the model, must show as a disagreement with a real Redis.
#[test]
fn every_flaw_is_noticed() {
    let (mut real, mut unnoticed) = (Real::start(), Vec::new());
    for flaw in Flaw::ALL {
        let mut flawed = Modelled::new(Model::with(flaw));
        let profiles = [MOVING, EVERYDAY, STORMY_CLOCK, LOSSES, TRICKLE, CHANGES, GOVERNED, RAISES];
        let noticed = (900..904)
            .flat_map(|seed| profiles.iter().map(move |profile| (seed, profile)))
            .find(|&(seed, profile)| run(&mut real, Some(&mut flawed), false, Script::fresh(profile, seed)).is_err());
        match noticed {
            Some((seed, profile)) => println!("{flaw:?} is noticed in {:?} {seed}", profile.name),
            None => unnoticed.push(flaw),
        }
    }
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:?}");
}
