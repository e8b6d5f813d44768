//! Invariant 7: nobody loses a place: each fan that joined and kept asking was called, left by its
//! own will, or still waits at a position, as the same visitor with the same score.

use super::facts::Facts;
use super::fans::FanTrace;
use super::finding::Finding;

/// Checks every fan of the history.
pub(super) fn check(facts: &Facts) -> Finding {
    let mut finding = Finding::new("no place lost");
    let joined = facts.fans.values().filter(|fan| fan.joined).count();
    if joined == 0 {
        return Finding::not_checked("no place lost", "nobody joined");
    }
    let (mut got_in, mut left, mut waiting, mut silent, mut unresolved) = (0, 0, 0, 0, 0);
    for (number, fan) in facts.fans.iter().filter(|(_, fan)| fan.joined) {
        if let Some(fault) = fault_of(fan) {
            finding.breach(|| format!("fan {number} {fault}"));
        }
        match fan {
            FanTrace { got_in: true, .. } => got_in += 1,
            FanTrace { left: true, .. } => left += 1,
            _ if fan.unanswered > 0 => unresolved += 1,
            _ if went_silent(fan, facts.closed_us()) => silent += 1,
            _ => waiting += 1,
        }
    }
    finding.checked("fans joined", joined);
    finding.checked("got in", got_in);
    finding.checked("left", left);
    finding.checked("still waiting", waiting);
    finding.checked("fell silent", silent);
    if unresolved > 0 {
        finding.note(format!("{unresolved} fans had no answer to their last questions"));
    }
    finding
}

fn fault_of(fan: &FanTrace) -> Option<String> {
    if let Some(other) = &fan.other_visitor {
        return Some(format!("joined as visitor {:?} and was answered as {other}", fan.visitor));
    }
    if let Some(other) = fan.other_score {
        return Some(format!("joined with score {:?} and then had {other}", fan.score));
    }
    if let Some(problem) = &fan.refused {
        return Some(format!("asked for its place and was refused: {problem}"));
    }
    let kept_asking = !fan.absent && !fan.left && !fan.got_in;
    match fan.last_state.as_deref() {
        Some("expired") if kept_asking => Some("asked on time and yet its turn expired".into()),
        Some("left") if kept_asking => Some("never left and was told that it had".into()),
        Some("waiting") if kept_asking && fan.last_position.is_none() => Some("waits without a position".into()),
        _ => None,
    }
}

/// Well before the run closed, the fan was told when to ask again and did not.
fn went_silent(fan: &FanTrace, closed_us: u64) -> bool {
    let due_us = fan.last_answer_us as f64 + fan.told_s.unwrap_or(1.0) * 1.25e6 + 1e6;
    due_us < closed_us as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> FanTrace {
        FanTrace {
            joined: true,
            visitor: Some("v".into()),
            score: Some(1.0),
            last_state: Some("waiting".into()),
            last_position: Some(3),
            last_answer_us: 50,
            ..FanTrace::default()
        }
    }

    fn broken(fan: FanTrace) -> bool {
        let mut facts = Facts::default();
        facts.fans.insert(1, fan);
        check(&facts).is_broken()
    }

    #[test]
    fn good_ends_are_clean() {
        assert!(!broken(waiting()));
        assert!(!broken(FanTrace { left: true, last_state: Some("left".into()), ..waiting() }));
        assert!(!broken(FanTrace { got_in: true, last_state: Some("expired".into()), ..waiting() }));
        assert!(!broken(FanTrace { absent: true, last_state: Some("expired".into()), ..waiting() }));
        assert!(!broken(FanTrace { unanswered: 3, ..waiting() }), "an outage at the end is not a loss");
    }

    #[test]
    fn each_loss_is_found() {
        assert!(broken(FanTrace { refused: Some("not-found".into()), ..waiting() }));
        assert!(broken(FanTrace { other_visitor: Some("w".into()), ..waiting() }));
        assert!(broken(FanTrace { other_score: Some(9.0), ..waiting() }));
        assert!(broken(FanTrace { last_state: Some("expired".into()), ..waiting() }));
        assert!(broken(FanTrace { last_state: Some("left".into()), ..waiting() }));
        assert!(broken(FanTrace { last_position: None, ..waiting() }));
    }

    #[test]
    fn nobody_joined_is_not_an_ok() {
        assert!(check(&Facts::default()).not_checked.is_some());
    }
}
