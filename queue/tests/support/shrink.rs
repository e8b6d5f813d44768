//! Makes a failing script short, and tells what failed in words to work with.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::operations::Step;
use super::run::Failure;

/// Longest that making it short may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Drops steps, in ever smaller pieces, as long as what is left still fails. `again` plays steps and answers the
/// failure they end in.
pub(crate) fn shrink(failure: Box<Failure>, mut again: impl FnMut(&[Step]) -> Option<Box<Failure>>) -> Box<Failure> {
    let until = Instant::now() + PATIENCE;
    let mut best = failure;
    let mut piece = best.steps.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < best.steps.len() && Instant::now() < until {
            let mut fewer = best.steps.clone();
            let mut dropped = fewer.drain(at..(at + piece).min(best.steps.len())).map(|step| step.advance_us).sum();
            // The time of what is dropped still passes, where there is a step left to pass it in.
            if let Some(next) = fewer.get_mut(at) {
                std::mem::swap(&mut next.advance_us, &mut dropped);
                next.advance_us += dropped;
            }
            match again(&fewer) {
                Some(shorter) if shorter.steps.len() < best.steps.len() => best = shorter,
                _ => at += piece,
            }
        }
        piece /= 2;
    }
    best
}

/// A failure for a person to read: how to see it again, the short script, the end of the long one.
pub(crate) fn tell(profile: &str, seed: u64, long: &Failure, short: &Failure) -> String {
    let mut text = format!("sale {profile:?}, again with USHER_SEED={seed}, step {}\n", long.steps.len());
    let _ = writeln!(text, "{:?}\n\nthe shortest script found, {} steps:", short.fault, short.steps.len());
    for step in &short.steps {
        let _ = writeln!(text, "  {:+} µs  {:?}", step.advance_us, step.intent);
    }
    let _ = writeln!(text, "it first showed as {:?}\nafter these last steps:", long.fault);
    for step in &long.steps[long.steps.len().saturating_sub(10)..] {
        let _ = writeln!(text, "  {:+} µs  {:?}", step.advance_us, step.intent);
    }
    text
}
