//! Exit codes: the one place that says how a process of this crate ends.
//!
//! Invariant: a broken invariant outranks everything, an aborted run outranks a missed threshold.

use std::process::ExitCode;

/// How a run or an audit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went as the scenario asks; the end by `--for` is such an end.
    Ok,
    /// An invariant of the sale is broken.
    InvariantBroken,
    /// A threshold of the scenario is missed.
    ThresholdMissed,
    /// The scenario or the command line cannot be used.
    BadScenario,
    /// Stopped by a signal, or nothing could be run or read.
    Aborted,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::InvariantBroken => 98,
            Self::ThresholdMissed => 99,
            Self::BadScenario => 104,
            Self::Aborted => 105,
        }
    }

    /// The exit of a run from its three findings.
    pub fn of_run(broken: bool, aborted: bool, missed: bool) -> Self {
        match (broken, aborted, missed) {
            (true, _, _) => Self::InvariantBroken,
            (false, true, _) => Self::Aborted,
            (false, false, true) => Self::ThresholdMissed,
            (false, false, false) => Self::Ok,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_invariant_outranks_an_abort_and_a_missed_threshold() {
        assert_eq!(Exit::of_run(true, true, true), Exit::InvariantBroken);
        assert_eq!(Exit::of_run(false, true, true), Exit::Aborted);
        assert_eq!(Exit::of_run(false, false, true), Exit::ThresholdMissed);
        assert_eq!(Exit::of_run(false, false, false).code(), 0);
    }
}
