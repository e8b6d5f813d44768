//! The promises of the line as rules that look from outside, and proof that each of them bites.
//!
//! `conformance.rs` applies the rules to every run against a real Redis. Here they are turned on models with defects
//! put in on purpose: a rule must name the promise that the defect breaks. The bound on the rate is compared with
//! counting every window by hand. Then the promises that a random run meets too seldom are played out on a real Redis.

mod model;
mod support;

use model::{Flaw, Model};
use proptest::prelude::*;
use queue::configure::Expect;
use queue::{Clock, Settings, Standing};
use queue_token::{SaleId, Score, VisitorId};
use support::operations::visitor_id;
use support::profiles::{CHANGES, EVERYDAY, GOVERNED, LOSSES, MOVING, STORMY_CLOCK, TRICKLE};
use support::rate_bound::{PERMIT, RateBound};
use support::rules::Rule;
use support::run::{Script, run};
use support::server::Server;
use support::subject::{Modelled, flush};

/// Each defect that breaks a promise, with the promise. The others only show in comparison.
const BROKEN: [(Flaw, Rule); 29] = [
    (Flaw::ExtraPermit, Rule::Rate),
    (Flaw::RoundsUp, Rule::Rate),
    (Flaw::NoBurstLimit, Rule::Rate),
    (Flaw::LeapsMint, Rule::Rate),
    (Flaw::FillsWhilePaused, Rule::Rate),
    (Flaw::EarnsBeforeOpening, Rule::Rate),
    (Flaw::FullAfterLoss, Rule::Rate),
    (Flaw::CalledTakeNoRoom, Rule::Capacity),
    (Flaw::ForgetsPresence, Rule::Presence),
    (Flaw::CallsTheSilent, Rule::Presence),
    (Flaw::CallsFromTheBack, Rule::Order),
    (Flaw::PutsBackAtTheEnd, Rule::Order),
    (Flaw::ScoresFollowTheClock, Rule::Scores),
    (Flaw::IgnoresFloor, Rule::Scores),
    (Flaw::ForgetsDuplicates, Rule::Order),
    (Flaw::StaysInLine, Rule::OnePlace),
    (Flaw::DropsTheUnclaimed, Rule::NobodyLost),
    (Flaw::ForgetsThoseWhoLeft, Rule::NobodyLost),
    (Flaw::SkipsARank, Rule::Positions),
    (Flaw::IgnoresTheOrigin, Rule::Rate),
    (Flaw::CallsWhenStopped, Rule::Rate),
    (Flaw::GovernsThePast, Rule::Rate),
    (Flaw::OldDevicesClaim, Rule::OneDevice),
    (Flaw::OldDevicesArePresent, Rule::OneDevice),
    (Flaw::OldDevicesGiveUp, Rule::OneDevice),
    (Flaw::CodesWorkTwice, Rule::OneDevice),
    (Flaw::OldCodesLead, Rule::OneDevice),
    (Flaw::MovesThoseInside, Rule::OneDevice),
    (Flaw::LostMovesStayLost, Rule::OneDevice),
];

#[test]
fn a_flawless_line_keeps_every_promise() {
    let mut subject = Modelled::default();
    for (profile, seed) in [EVERYDAY, STORMY_CLOCK, LOSSES, TRICKLE, CHANGES, GOVERNED, MOVING].iter().zip(1000..) {
        let ended = run(&mut subject, None, true, Script::fresh(profile, seed));
        assert!(ended.is_ok(), "{} {seed}: {:?}", profile.name, ended.map_err(|failure| failure.fault));
    }
}

#[test]
fn every_broken_promise_is_named() {
    let breaks_none: Vec<_> = Flaw::ALL.into_iter().filter(|flaw| BROKEN.iter().all(|(f, _)| f != flaw)).collect();
    assert_eq!(
        breaks_none,
        [
            Flaw::StallsAfterStepBack,
            Flaw::ClaimTwiceProlongs,
            Flaw::OverTooLate,
            Flaw::SweepsTheUnasked,
            Flaw::SweepsAfterARaise,
            Flaw::SweepsAfterALowering,
            Flaw::CallsAtOnceAfterLoss,
            Flaw::ForgetsTheOrigin,
            Flaw::TakesStaleSays,
            Flaw::HearsThoseWithoutSay,
        ]
    );
    for (flaw, rule) in BROKEN {
        let mut subject = Modelled::new(Model::with(flaw));
        let profiles = [EVERYDAY, STORMY_CLOCK, LOSSES, TRICKLE, CHANGES, GOVERNED, MOVING];
        let mut runs = (1100..1120).flat_map(|seed| profiles.iter().map(move |profile| Script::fresh(profile, seed)));
        let named = runs.any(|script| {
            let ended = run(&mut subject, None, true, script);
            ended.is_err_and(|failure| failure.fault.rule() == Some(rule))
        });
        assert!(named, "{flaw:?} breaks {rule:?}, which no run noticed");
    }
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    dt_us: u64,
    rate_milli: u64,
    burst: u64,
    calls: usize,
}

fn moment() -> impl Strategy<Value = Moment> {
    let dt_us = prop_oneof![Just(0), 1u64..2_000_000, 1u64..60_000_000];
    let rate_milli = prop_oneof![Just(0), Just(500), 1_000u64..600_000];
    (dt_us, rate_milli, 1u64..4, 0usize..4).prop_map(|(dt_us, rate_milli, burst, calls)| Moment {
        dt_us,
        rate_milli,
        burst,
        calls,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// One pass says what looking at every window says.
    #[test]
    fn the_bound_on_the_rate_is_exact(moments in proptest::collection::vec(moment(), 1..30)) {
        let (mut bound, mut earned, mut calls) = (RateBound::default(), 0i128, Vec::<(i128, u64)>::new());
        for Moment { dt_us, rate_milli, burst, calls: n } in moments {
            bound.earn(dt_us, rate_milli);
            earned += i128::from(dt_us) * i128::from(rate_milli);
            for _ in 0..n {
                calls.push((earned, burst));
                let count = calls.len();
                let too_full = |(i, &(earned_at, burst)): (usize, &(i128, u64))| {
                    (count - i) as i128 * PERMIT > i128::from(burst) * PERMIT + earned - earned_at
                };
                let by_hand = calls.iter().enumerate().any(too_full);
                prop_assert_eq!(bound.call(burst).is_err(), by_hand);
            }
        }
    }
}

const START_US: u64 = 1_760_000_000_000_000;

fn sale() -> SaleId {
    "promises".parse().expect("a sale id")
}

fn settings(json: &str) -> Settings {
    serde_json::from_str(json).expect("settings")
}

fn crowd(numbers: std::ops::Range<u32>) -> Vec<VisitorId> {
    numbers.map(visitor_id).collect()
}

/// Nothing of a fractional rate is lost by rounding: whoever is due by the rate has been called.
#[test]
fn a_busy_sale_uses_its_whole_rate() {
    let (server, sale) = (Server::start(), sale());
    let line = &server.line;
    server.runtime.block_on(async {
        let settings = settings(r#"{"rate_per_min": 33.333, "burst": 3, "max_inside": 1000}"#);
        line.configure(&sale, &settings, None, Expect::Absent, Clock::Micros(START_US)).await.expect("configured");
        let joined = line.join(&sale, Score::default(), &crowd(0..200), Clock::Micros(START_US)).await.expect("joined");
        let places: Vec<(VisitorId, Score)> =
            crowd(0..200).into_iter().zip(&joined).filter_map(|(v, s)| Some((v, waiting(s)?))).collect();
        let (mut called, mut now_us) = (200 - places.len() as u64, START_US);
        for tick in 1..=1700u64 {
            now_us = START_US + tick * 99_991;
            if tick % 50 == 0 {
                line.seen(&sale, &places, Clock::Micros(now_us)).await.expect("seen");
            }
            called += line.admit(&sale, Clock::Micros(now_us)).await.expect("a tick").called;
        }
        let earned = (now_us - START_US) * settings.rate_milli() / 60_000_000_000;
        assert_eq!(called, settings.burst() + earned);
    });
}

fn waiting(standing: &Standing) -> Option<Score> {
    match standing {
        Standing::Waiting { score, .. } => Some(*score),
        _ => None,
    }
}

/// After everything was lost and the clock stepped back as well, new places still come behind every place ever signed,
/// and those who bring their places back are called in their old order.
#[test]
fn scores_and_order_outlive_a_flush() {
    let (server, sale) = (Server::start(), sale());
    let settings = settings(r#"{"rate_per_min": 60000, "burst": 100, "max_inside": 1000}"#);
    let paused = Settings { state: queue::SaleState::Paused, ..settings.clone() };
    let at = Clock::Micros;
    let places: Vec<(VisitorId, Score)> = server.runtime.block_on(async {
        let line = &server.line;
        line.configure(&sale, &paused, None, Expect::Absent, at(START_US)).await.expect("configured");
        let joined = line.join(&sale, Score::default(), &crowd(0..60), at(START_US)).await.expect("joined");
        crowd(0..60).into_iter().zip(joined.iter().filter_map(waiting)).collect()
    });
    let floor = places[59].1;
    flush(&server);
    let earlier_us = START_US - 3_600_000_000;
    let called: Vec<Score> = server.runtime.block_on(async {
        let line = &server.line;
        line.configure(&sale, &paused, None, Expect::Lost(1), at(earlier_us)).await.expect("brought back");
        let newcomers = line.join(&sale, floor, &crowd(60..90), at(earlier_us)).await.expect("joined");
        let scores: Vec<Score> = newcomers.iter().filter_map(waiting).collect();
        assert_eq!(scores.len(), 30);
        assert!(scores[0] > floor && scores.is_sorted_by(|a, b| a < b), "{floor} {scores:?}");
        let scattered: Vec<_> = places.iter().rev().step_by(2).chain(places.iter().step_by(2)).copied().collect();
        line.seen(&sale, &scattered, at(earlier_us)).await.expect("back in line");
        line.configure(&sale, &settings, None, Expect::Version(1), at(earlier_us)).await.expect("opened");
        let calm = line.admit(&sale, at(earlier_us + 1_000_000)).await.expect("a tick");
        assert_eq!(calm.called, 0, "nobody is called before those at the front had time to come back");
        line.admit(&sale, at(earlier_us + 5_200_000)).await.expect("a tick");
        let mut turns = Vec::new();
        for visitor in crowd(0..90) {
            if let Standing::Called { turn, .. } =
                line.depart(&sale, visitor, None, at(earlier_us)).await.expect("asked")
            {
                turns.push(turn);
            }
        }
        turns.sort_by_key(|turn| turn.seq);
        turns.iter().map(|turn| turn.score).collect()
    });
    assert_eq!(called.len(), 90);
    assert!(called.is_sorted_by(|a, b| a < b), "{called:?}");
}
