//! Breadth first through all worlds; each is checked, and each is brought to its end.

use std::collections::HashMap;
use std::fmt;

use booking_domain::checkout::{Act, Age, Keep, next};
use booking_domain::{BookingState, PaymentState};

use super::world::{Actor, Guard, Provider, Scope, Seats, World};

/// More than any run needs; beyond it the model is wrong.
const MOST_STATES: usize = 5_000_000;
/// Looks after which everything has come to an end.
const MOST_LOOKS: usize = 40;

pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) moves: usize,
    pub(crate) broken: Option<Broken>,
}

/// A world that must not be, and how it came to it.
pub(crate) struct Broken {
    pub(crate) rule: String,
    pub(crate) path: Vec<String>,
    world: World,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({:?})", self.rule, self.path.join(" → "), self.world)
    }
}

pub(crate) fn explore(scope: Scope, without: Option<Guard>) -> Explored {
    let mut seen: HashMap<World, usize> = HashMap::from([(World::FIRST, 0)]);
    let mut order: Vec<(World, usize, String)> = vec![(World::FIRST, 0, "a held booking".to_owned())];
    let (mut at, mut moves, mut found) = (0, 0, Vec::new());
    while at < order.len() {
        let world = order[at].0;
        let wrong = wrong_now(&world).or_else(|| wrong_in_the_end(world, without));
        if let Some(rule) = wrong {
            let broken = Broken { rule, path: path(&order, at), world };
            return Explored { states: order.len(), moves, broken: Some(broken) };
        }
        world.moves(scope, without, &mut found);
        moves += found.len();
        for (name, next) in found.drain(..) {
            seen.entry(next).or_insert_with(|| {
                order.push((next, at, name));
                order.len() - 1
            });
        }
        at += 1;
        assert!(order.len() < MOST_STATES, "the model does not end");
    }
    Explored { states: order.len(), moves, broken: None }
}

fn path(order: &[(World, usize, String)], mut at: usize) -> Vec<String> {
    let mut path = Vec::new();
    while at > 0 {
        path.push(order[at].2.clone());
        at = order[at].1;
    }
    path.push(order[0].2.clone());
    path.reverse();
    path
}

/// What must never be, not even for a moment.
fn wrong_now(world: &World) -> Option<String> {
    let confirmed = world.booking == BookingState::Confirmed;
    let sold = match world.seats {
        Seats::Sold(at) => Some(usize::from(at)),
        _ => None,
    };
    if confirmed != sold.is_some() {
        return Some("seats are sold exactly while the booking is confirmed".to_owned());
    }
    for (at, attempt) in world.attempts.iter().enumerate().filter_map(|(at, attempt)| Some((at, (*attempt)?))) {
        let money = match attempt.provider {
            Provider::Kept | Provider::Stuck => true,
            Provider::Taken => attempt.back < 2,
            _ => false,
        };
        let kept_rightly = attempt.payment == PaymentState::Captured
            && !attempt.due
            && world.promised != Keep::Nothing
            && matches!(world.booking, BookingState::Cancelled | BookingState::Refunded);
        if money && sold != Some(at) && !attempt.open && !attempt.travelling && !kept_rightly {
            return Some(format!("attempt {at} has money, no seats, and nobody looks after it"));
        }
        if sold == Some(at) && !attempt.right {
            return Some(format!("attempt {at} bought seats with another amount"));
        }
        let paid = attempt.payment == PaymentState::Captured && attempt.provider == Provider::Taken;
        if sold == Some(at) && !attempt.open && !paid {
            return Some(format!("attempt {at} sold seats, and nobody sees to the money"));
        }
    }
    None
}

/// Everybody dies, nothing more comes from outside, time passes, and the reconciler alone goes on: does it end,
/// and do money and seats agree then?
fn wrong_in_the_end(mut world: World, without: Option<Guard>) -> Option<String> {
    world.actors = [None::<Actor>; 2];
    for attempt in world.attempts.iter_mut().flatten() {
        if attempt.travelling {
            (attempt.travelling, attempt.provider) = (false, Provider::Kept);
        }
    }
    for look in 0..MOST_LOOKS {
        let mut open = false;
        for at in 0..world.attempts.len() {
            let Some(attempt) = world.attempts[at].filter(|attempt| attempt.open) else { continue };
            open = true;
            if look == MOST_LOOKS / 2 {
                world.attempts[at].as_mut().unwrap().age = Age::Forgotten;
                continue;
            }
            // A provider may be slow; it is not at it for ever.
            if look == MOST_LOOKS * 3 / 4 && attempt.provider == Provider::Processing {
                world.attempts[at].as_mut().unwrap().provider = Provider::Kept;
            }
            if look == MOST_LOOKS / 4 && attempt.age < Age::Late {
                world.attempts[at].as_mut().unwrap().age = Age::Late;
            }
            look_once(&mut world, at, without);
        }
        if !open {
            return unfair(&world);
        }
    }
    Some("the reconciler never comes to an end".to_owned())
}

/// What the reconciler does with one attempt until it has nothing more to do at once.
fn look_once(world: &mut World, at: usize, without: Option<Guard>) {
    let mut told = world.asked(at, without);
    for _ in 0..8 {
        let act = match next(&world.facts_of(at, told, world.attempts[at].unwrap().age)) {
            Act::UndoSale if without == Some(Guard::RefusedCapture) => Act::Ask,
            act => act,
        };
        match act {
            Act::Capture | Act::Void | Act::PayBackAll => told = world.at_provider(at, act, without),
            Act::PayBack => {
                told = world.at_provider(at, act, without);
                world.note_refund(at);
            }
            _ => {
                let before = *world;
                world.write(at, act, without);
                if *world == before || matches!(act, Act::Ask | Act::Alarm | Act::Quarantine) {
                    return;
                }
            }
        }
    }
}

/// Whether somebody has money that is not theirs, when nothing is open any more.
fn unfair(world: &World) -> Option<String> {
    for (at, attempt) in world.attempts.iter().enumerate().filter_map(|(at, attempt)| Some((at, (*attempt)?))) {
        let kept = match attempt.provider {
            Provider::Kept | Provider::Stuck => return Some(format!("attempt {at} stays authorised for ever")),
            Provider::Taken => 2 - attempt.back,
            _ => 0,
        };
        let bought = world.seats == Seats::Sold(u8::try_from(at).unwrap());
        let cancelled = matches!(world.booking, BookingState::Cancelled | BookingState::Refunded)
            && attempt.payment == PaymentState::Captured;
        let owed = match (bought, cancelled, world.promised) {
            (true, ..) | (_, true, Keep::All) => 2,
            (_, true, Keep::Part) => 1,
            _ => 0,
        };
        if kept != owed {
            return Some(format!("in the end attempt {at} keeps {kept} halves, {owed} are owed"));
        }
        if attempt.payment == PaymentState::Created {
            return Some(format!("attempt {at} is never settled"));
        }
    }
    None
}
