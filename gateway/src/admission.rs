//! The decision about one request or poll: facts in, next step out. Pure.
//!
//! Owns the order of the rules: a live pass goes through whatever the sale does; without one, what the sale's state
//! allows; then, with a place, whether the line has to be asked at all; and what to do while Redis does not answer.

use queue::settings::Outage;
use queue::{SaleState, Standing};

/// What is known about a request for something guarded, or a poll, before anybody is asked.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// A verified, live pass of this sale.
    pub pass: bool,
    /// A verified place of this sale.
    pub place: Option<PlaceFact>,
    /// The sale's state now (a scheduled sale whose time has come is open).
    pub state: SaleState,
    /// Whether Redis answered lately.
    pub line_up: bool,
    /// Policy while it does not.
    pub outage: Outage,
}

/// What a place tells by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceFact {
    /// Within the horizon: a poll is presence, and the turn may have come.
    Near,
    /// Behind the horizon: everything needed is in the snapshot.
    Far,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The origin answers.
    Proxy,
    /// Take a place in the line.
    Join,
    /// Take a place scored by this gateway's own clock; the line learns of it when Redis answers.
    JoinAlone,
    /// Ask the line where the visitor stands.
    AskLine,
    /// Show the position from the snapshot.
    Show,
    /// The sale takes nobody.
    Closed,
    /// Let through without a line, by the sale's outage policy.
    LetThrough,
    /// Cannot serve now, by the sale's outage policy.
    Unavailable,
}

/// The first step for these facts.
pub fn first_step(facts: &Facts) -> Step {
    if facts.pass {
        return Step::Proxy;
    }
    if matches!(facts.state, SaleState::Closed | SaleState::SoldOut) {
        return Step::Closed;
    }
    match (facts.place, facts.line_up, facts.outage) {
        (Some(PlaceFact::Far), _, Outage::Hold) => Step::Show,
        (Some(PlaceFact::Far), true, _) => Step::Show,
        (Some(PlaceFact::Near), true, _) => Step::AskLine,
        (None, true, _) => Step::Join,
        (Some(PlaceFact::Near), false, Outage::Hold) => Step::Show,
        (None, false, Outage::Hold) => Step::JoinAlone,
        (_, false, Outage::Open) => Step::LetThrough,
        (_, false, Outage::Closed) => Step::Unavailable,
    }
}

/// What a standing means for the visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The turn has come: claim, then enter.
    Claim,
    /// Inside: (re)issue the pass and enter.
    Enter,
    /// Wait on.
    Wait,
    /// The place is used up or was given back: a request takes a new one, a poll says so.
    Over,
    /// Another device of the visitor holds the place: this one is told so, and nothing else.
    Moved,
    /// The sale takes nobody.
    Closed,
}

/// What a standing means.
pub fn verdict(standing: &Standing) -> Verdict {
    match standing {
        Standing::Called { .. } => Verdict::Claim,
        Standing::Inside { .. } => Verdict::Enter,
        // Unknown and absent are Redis's loss, not the visitor's: the place is the proof.
        Standing::Waiting { .. } | Standing::Away { .. } | Standing::Unknown | Standing::Absent => Verdict::Wait,
        Standing::Left | Standing::Expired => Verdict::Over,
        Standing::Moved => Verdict::Moved,
        Standing::Closed => Verdict::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of the facts, against the rules said in words.
    #[test]
    fn every_combination_has_the_right_step() {
        let states = [SaleState::Scheduled, SaleState::Open, SaleState::Paused, SaleState::SoldOut, SaleState::Closed];
        let mut seen = 0;
        for pass in [true, false] {
            for place in [None, Some(PlaceFact::Near), Some(PlaceFact::Far)] {
                for state in states {
                    for line_up in [true, false] {
                        for outage in [Outage::Hold, Outage::Open, Outage::Closed] {
                            let step = first_step(&Facts { pass, place, state, line_up, outage });
                            seen += 1;
                            if pass {
                                assert_eq!(step, Step::Proxy, "a live pass goes through");
                                continue;
                            }
                            if matches!(state, SaleState::SoldOut | SaleState::Closed) {
                                assert_eq!(step, Step::Closed);
                                continue;
                            }
                            let expected = match (line_up, outage, place) {
                                (true, _, None) => Step::Join,
                                (true, _, Some(PlaceFact::Near)) => Step::AskLine,
                                (true, _, Some(PlaceFact::Far)) => Step::Show,
                                (false, Outage::Hold, None) => Step::JoinAlone,
                                (false, Outage::Hold, Some(_)) => Step::Show,
                                (false, Outage::Open, _) => Step::LetThrough,
                                (false, Outage::Closed, _) => Step::Unavailable,
                            };
                            assert_eq!(step, expected, "{place:?} {state:?} up={line_up} {outage:?}");
                        }
                    }
                }
            }
        }
        assert_eq!(seen, 2 * 3 * 5 * 2 * 3);
    }
}
