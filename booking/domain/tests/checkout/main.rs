//! Goal: no reachable state has money and neither seats nor somebody who gives it back, and every state comes to
//! an end in which money and seats agree. Method: all interleavings of {start, expire, pay, decline, slow, async,
//! duplicate, reorder, cancel, refund, take over, crash at each step} over a model whose decisions are those of
//! `booking_domain::checkout`; then each guard is removed in turn, and must be missed.
//!
//! The second part holds `docs/CHECKOUT.md` to the code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod explore;
mod pages;
mod world;

use explore::explore;
use world::{Guard, Scope};

/// One attempt that two at once look after, with crashes between any two steps.
const TWO_LOOK: Scope = Scope { attempts: 1, actors: 2 };
/// Two attempts, one after the other, with one that looks.
const TWO_ATTEMPTS: Scope = Scope { attempts: 2, actors: 1 };

fn holds(scope: Scope, least: usize) {
    let explored = explore(scope, None);
    if let Some(broken) = &explored.broken {
        panic!("{broken}");
    }
    assert!(explored.states > least, "only {} states were reached", explored.states);
    println!("{scope:?}: {} states, {} moves", explored.states, explored.moves);
}

#[test]
fn money_and_seats_agree_in_every_interleaving() {
    holds(TWO_LOOK, 500_000);
}

#[test]
#[ignore = "long"]
fn money_and_seats_agree_over_two_attempts() {
    holds(TWO_ATTEMPTS, 2_000_000);
}

#[test]
fn every_guard_is_missed_when_it_is_gone() {
    for guard in Guard::ALL {
        let scope = if guard == Guard::OneAttempt { TWO_ATTEMPTS } else { TWO_LOOK };
        let broken = explore(scope, Some(guard)).broken;
        let broken = broken.unwrap_or_else(|| panic!("nothing breaks without {guard:?}"));
        assert!(broken.path.len() > 1);
        println!("without {guard:?}: {broken}");
    }
}
