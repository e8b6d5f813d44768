//! Invariant 6: among fans who were there all the time, whoever joined first was called first.
//!
//! The order of joining is the score. The order of calling is its time, and for calls of one moment
//! the number of the call: numbers alone start anew when a line's store has lost everything. A fan
//! that still waits counts too: nobody who joined later may have been called well before its last
//! answer.

use super::facts::Facts;
use super::fans::FanTrace;
use super::finding::Finding;

/// A waiting answer made so long after another's call proves that the call overtook: gateways show
/// the line with a delay of about a second.
const STALE_US: i64 = 5_000_000;

/// Checks the order of calling.
pub(super) fn check(facts: &Facts) -> Finding {
    const NAME: &str = "first come, first called";
    let mut present: Vec<(u64, &FanTrace)> =
        facts.fans.iter().filter(|(_, fan)| fan.present() && fan.score.is_some()).map(|(n, fan)| (*n, fan)).collect();
    if present.is_empty() {
        return Finding::not_checked(NAME, "the history has no scores");
    }
    if !present.iter().any(|(_, fan)| called(fan).is_some()) {
        return Finding::not_checked(NAME, "the history has no calls");
    }
    present.sort_by(|(_, a), (_, b)| a.score.partial_cmp(&b.score).unwrap_or(std::cmp::Ordering::Equal));
    let mut finding = Finding::new(NAME);
    let calls = present.iter().filter(|(_, fan)| called(fan).is_some()).count();
    finding.checked("fans called while present", calls);
    finding.checked("fans still waiting", present.len() - calls);
    finding.checked("fans not always present", facts.fans.len() - present.len());
    check_scores(&mut finding, &present);
    check_called(&mut finding, &present);
    check_waiting(&mut finding, &present);
    finding
}

/// When a fan was called, in an order that is total.
fn called(fan: &FanTrace) -> Option<(i64, u64)> {
    Some((fan.called_at_us?, fan.called_seq.unwrap_or(0)))
}

fn check_scores(finding: &mut Finding, present: &[(u64, &FanTrace)]) {
    for pair in present.windows(2) {
        if pair[0].1.score == pair[1].1.score {
            finding
                .breach(|| format!("fans {} and {} have the same score {:?}", pair[0].0, pair[1].0, pair[0].1.score));
        }
    }
}

/// In the order of joining, calls may only rise.
fn check_called(finding: &mut Finding, present: &[(u64, &FanTrace)]) {
    let mut latest: Option<(u64, (i64, u64))> = None;
    for (number, fan) in present {
        let Some(at) = called(fan) else { continue };
        match latest {
            Some((other, before)) if before > at => {
                let early_s = (before.0 - at.0) as f64 / 1e6;
                finding.breach(|| {
                    format!("fan {number} joined after fan {other} and was called {early_s:.3} s before it")
                });
            }
            _ => latest = Some((*number, at)),
        }
    }
}

/// Who still waits must not have been overtaken.
fn check_waiting(finding: &mut Finding, present: &[(u64, &FanTrace)]) {
    // From the back: the earliest call among all who joined later.
    let mut earliest_later: Option<(u64, i64)> = None;
    for (number, fan) in present.iter().rev() {
        if let Some(at) = fan.called_at_us {
            if earliest_later.is_none_or(|(_, earliest)| at < earliest) {
                earliest_later = Some((*number, at));
            }
            continue;
        }
        let waiting = fan.last_state.as_deref() == Some("waiting");
        if let (true, Some(seen), Some((other, at))) = (waiting, fan.last_seen_wall_us, earliest_later)
            && seen > at + STALE_US
        {
            finding.breach(|| format!("fan {number} still waits, fan {other} joined later and was called long before"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fan(score: f64, seq: Option<u64>) -> FanTrace {
        FanTrace {
            joined: true,
            score: Some(score),
            called_seq: seq,
            called_at_us: seq.map(|seq| seq as i64 * 1_000_000),
            got_in: seq.is_some(),
            last_state: Some(if seq.is_some() { "inside" } else { "waiting" }.into()),
            last_seen_wall_us: Some(100_000_000),
            ..FanTrace::default()
        }
    }

    fn finding(fans: Vec<FanTrace>) -> Finding {
        let mut facts = Facts::default();
        facts.fans = fans.into_iter().enumerate().map(|(n, fan)| (n as u64, fan)).collect();
        check(&facts)
    }

    #[test]
    fn calls_in_the_order_of_joining_are_clean() {
        assert!(!finding(vec![fan(3.0, Some(3)), fan(1.0, Some(1)), fan(2.0, Some(2)), fan(4.0, None)]).is_broken());
    }

    #[test]
    fn an_inversion_is_found() {
        assert!(finding(vec![fan(1.0, Some(2)), fan(2.0, Some(1))]).is_broken());
        let mut late = fan(1.0, Some(2));
        late.absent = true;
        assert!(!finding(vec![late, fan(2.0, Some(1))]).is_broken(), "who was away has no claim");
    }

    #[test]
    fn the_one_who_is_forgotten_is_found() {
        assert!(finding(vec![fan(1.0, None), fan(2.0, Some(1))]).is_broken());
        let just_now = FanTrace { last_seen_wall_us: Some(3_000_000), ..fan(1.0, None) };
        assert!(!finding(vec![just_now, fan(2.0, Some(1))]).is_broken(), "gateways show the line with a delay");
    }

    #[test]
    fn numbers_decide_only_within_one_moment() {
        let restarted = FanTrace { called_seq: Some(1), ..fan(2.0, Some(9)) };
        assert!(!finding(vec![fan(1.0, Some(8)), restarted]).is_broken(), "numbers that began anew");
        let same = |score, seq| FanTrace { called_at_us: Some(5), ..fan(score, Some(seq)) };
        assert!(!finding(vec![same(1.0, 1), same(2.0, 2)]).is_broken());
        assert!(finding(vec![same(1.0, 2), same(2.0, 1)]).is_broken());
    }

    #[test]
    fn two_of_one_score_are_found() {
        assert!(finding(vec![fan(1.0, Some(1)), fan(1.0, Some(2))]).is_broken());
    }

    #[test]
    fn without_scores_or_calls_it_says_so() {
        assert!(finding(vec![FanTrace::default()]).not_checked.is_some());
        assert!(finding(vec![fan(1.0, None)]).not_checked.is_some());
    }
}
