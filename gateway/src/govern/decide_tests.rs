//! The rules one by one, and what holds of every row of looks.

use proptest::prelude::*;
use queue::govern::{Cause, FULL_MILLI};

use super::*;

fn now(factor_milli: u64, cause: Cause, since_ms: u64) -> InForce {
    InForce { factor_milli, cause, since_ms }
}

fn well(ms: u64) -> Evidence {
    Evidence { stock_left: Some(10), well_ms: Some(ms), ..Evidence::default() }
}

fn suffering(trouble: Trouble) -> Evidence {
    Evidence { stock_left: Some(10), trouble, ..Evidence::default() }
}

fn sentence(evidence: &Evidence, now: InForce) -> (u64, String) {
    match decide(evidence, now) {
        Decision::Keep => (now.factor_milli, "kept".to_owned()),
        Decision::Change { factor_milli, why, .. } => (factor_milli, why),
    }
}

#[test]
fn each_rule_has_its_sentence() {
    let sold_out = Evidence { stock_left: Some(0), ..Evidence::default() };
    let silent = |silent_looks| Evidence { silent_looks, ..Evidence::default() };
    let slow = suffering(Trouble { slow_ms: Some((812, 500)), ..Trouble::default() });
    let failing = suffering(Trouble { failed_per_cent: Some(12), slow_ms: Some((812, 500)), asked: Some(900) });
    let asking = |asked| suffering(Trouble { asked: Some(asked), ..Trouble::default() });
    let unnamed = |ms| Evidence { stock_left: None, ..well(ms) };
    let (full, later) = (Cause::Full, 60_000);
    let cases = [
        (well(0), now(1000, full, later), 1000, "kept"),
        (sold_out, now(1000, full, 0), 0, "Stopped: nothing is left to sell."),
        (sold_out, now(0, Cause::Stock, later), 0, "kept"),
        (well(0), now(0, Cause::Stock, 4_999), 0, "kept"),
        (well(0), now(0, Cause::Stock, 5_000), 1000, "Full rate: there is something to sell again."),
        (slow, now(0, Cause::Stock, 5_000), 700, "70 % of the rate: there is something to sell again."),
        (asking(3), now(0, Cause::Stock, 5_000), 10, "1 % of the rate: there is something to sell again."),
        (asking(0), now(0, Cause::Stock, 5_000), 0, "Still stopped: there is something to sell again."),
        (unnamed(60_000), now(0, Cause::Stock, 4_999), 0, "kept"),
        (unnamed(59_999), now(0, Cause::Stock, later), 0, "kept"),
        (
            unnamed(60_000),
            now(0, Cause::Stock, later),
            100,
            "Up to 10 % of the rate: the shop is well, and says no more what is left.",
        ),
        (Evidence { stock_left: None, ..slow }, now(0, Cause::Stock, later), 0, "kept"),
        (silent(2), now(1000, full, later), 1000, "kept"),
        (silent(3), now(1000, full, 0), 0, "Stopped: the shop does not answer."),
        (silent(9), now(0, Cause::Silent, later), 0, "kept"),
        (sold_out, now(0, Cause::Silent, 5_000), 0, "Stopped: nothing is left to sell."),
        (well(9_999), now(0, Cause::Silent, later), 0, "kept"),
        (well(10_000), now(0, Cause::Silent, 5_000), 100, "Up to 10 % of the rate: the shop is well."),
        (well(10_000), now(0, Cause::Silent, 4_999), 0, "kept"),
        (well(10_000), now(950, Cause::Recovering, 5_000), 1000, "Full rate: the shop is well."),
        (slow, now(1000, full, 5_000), 700, "Down to 70 % of the rate: holds take 812 ms, more than 500 ms."),
        (slow, now(1000, full, 4_999), 1000, "kept"),
        (slow, now(490, Cause::Slow, 10_000), 343, "Down to 34.3 % of the rate: holds take 812 ms, more than 500 ms."),
        (slow, now(490, Cause::Slow, 9_999), 490, "kept"),
        (
            slow,
            now(490, Cause::Recovering, 5_000),
            343,
            "Down to 34.3 % of the rate: holds take 812 ms, more than 500 ms.",
        ),
        (slow, now(10, Cause::Slow, 10_000), 10, "kept"),
        (failing, now(1000, full, 5_000), 700, "Down to 70 % of the rate: 12 % of the shop's answers are failures."),
        (asking(500), now(1000, full, 5_000), 500, "Down to 50 % of the rate: the shop asks for less."),
        (asking(0), now(1000, full, 5_000), 0, "Stopped: the shop asks for less."),
        (asking(0), now(0, Cause::Asked, later), 0, "kept"),
        (
            asking(200),
            now(0, Cause::Asked, 10_000),
            10,
            "Up to 1 % of the rate, to see more of the shop: the shop asks for less.",
        ),
        (asking(200), now(0, Cause::Asked, 9_999), 0, "kept"),
        (asking(200), now(10, Cause::Asked, later), 10, "kept"),
        (
            slow,
            now(0, Cause::Silent, 5_000),
            10,
            "Up to 1 % of the rate, to see more of the shop: holds take 812 ms, more than 500 ms.",
        ),
        (slow, now(0, Cause::Silent, 4_999), 0, "kept"),
    ];
    for (evidence, in_force, factor_milli, why) in cases {
        assert_eq!(sentence(&evidence, in_force), (factor_milli, why.to_owned()), "{evidence:?} {in_force:?}");
    }
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let trouble = (
        proptest::option::weighted(0.1, 6u64..=100),
        proptest::option::weighted(0.2, (501u64..9_000, Just(500u64))),
        proptest::option::weighted(0.2, 0u64..1000),
    );
    trouble.prop_map(|(failed_per_cent, slow_ms, asked)| Trouble { failed_per_cent, slow_ms, asked })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let stock_left = prop_oneof![1 => Just(None), 5 => Just(Some(4)), 1 => Just(Some(0))];
    let silent_looks = prop_oneof![6 => Just(0u32), 1 => 1u32..6];
    (silent_looks, stock_left, prop_oneof![2 => Just(Trouble::default()), 1 => trouble()])
        .prop_map(|(silent_looks, stock_left, trouble)| Evidence { silent_looks, stock_left, trouble, well_ms: None })
}

/// Plays rows of looks, one a second, and answers what was in force after each.
fn play(looks: &[Evidence], start: InForce) -> Vec<InForce> {
    let (mut in_force, mut well_ms) = (start, None);
    looks
        .iter()
        .map(|look| {
            let is_well = look.silent_looks == 0 && look.stock_left != Some(0) && !look.trouble.is_any();
            well_ms = is_well.then(|| well_ms.map_or(0, |ms: u64| ms + 1000));
            in_force.since_ms += 1000;
            let decided = decide(&Evidence { well_ms, ..*look }, in_force);
            if let Decision::Change { factor_milli, cause, why } = decided {
                assert!(why.ends_with('.') && !why.contains('\n'), "one sentence: {why:?}");
                in_force = InForce { factor_milli, cause, since_ms: 0 };
            }
            in_force
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Never above the organiser's rate; no change within five seconds of another, except a stop.
    #[test]
    fn changes_are_bounded_and_do_not_flap(looks in proptest::collection::vec(evidence(), 1..200)) {
        let start = InForce { factor_milli: FULL_MILLI, cause: Cause::Full, since_ms: 60_000 };
        let played = play(&looks, start);
        let mut changed_at: Option<usize> = None;
        for (second, pair) in std::iter::once(&start).chain(&played).collect::<Vec<_>>().windows(2).enumerate() {
            let (before, after) = (pair[0], pair[1]);
            prop_assert!(after.factor_milli <= FULL_MILLI);
            if after.since_ms == 0 {
                let rested = changed_at.is_none_or(|at| second - at >= 5);
                prop_assert!(rested || after.factor_milli == 0, "{before:?} {after:?} after {changed_at:?} at {second}");
                prop_assert!(after.factor_milli != before.factor_milli || after.cause != before.cause);
                changed_at = Some(second);
            }
            if after.factor_milli > before.factor_milli {
                let by_step = after.factor_milli - before.factor_milli <= 100;
                prop_assert!(by_step || before.cause == Cause::Stock, "up slowly, unless stock was all that lacked");
            }
        }
    }

    /// Trouble alone keeps no sale stopped, unless the origin asks for nothing.
    #[test]
    fn a_troubled_origin_gets_the_least_part_at_least(
        looks in proptest::collection::vec(evidence(), 0..60),
        trouble in trouble().prop_filter("some", |trouble| trouble.is_any() && trouble.asked != Some(0)),
    ) {
        let start = InForce { factor_milli: FULL_MILLI, cause: Cause::Full, since_ms: 60_000 };
        let left = play(&looks, start).last().copied().unwrap_or(start);
        let played = play(&[suffering(trouble); 11], left);
        prop_assert!(played.last().is_some_and(|in_force| in_force.factor_milli >= 10), "{:?}", played.last());
    }

    /// From wherever it was left, an origin that is well gets its whole rate back, and never less on the way.
    #[test]
    fn recovery_is_monotone_and_ends(looks in proptest::collection::vec(evidence(), 0..60)) {
        let start = InForce { factor_milli: FULL_MILLI, cause: Cause::Full, since_ms: 60_000 };
        let left = play(&looks, start).last().copied().unwrap_or(start);
        let played = play(&[well(0); 70], left);
        prop_assert!(played.is_sorted_by_key(|in_force| in_force.factor_milli));
        prop_assert_eq!(played.last().map(|in_force| in_force.factor_milli), Some(FULL_MILLI));
    }
}
