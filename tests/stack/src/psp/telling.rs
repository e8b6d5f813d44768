//! Which events wait to be told, when, and how often it was tried. Pure: the time is passed in.
//!
//! An event is handed out once and comes back with how it went; then it is forgotten, or waits for another try. What
//! was handed out when the provider is killed is told again at the next start: at least once, never only perhaps.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::Event;

/// How often an event is told at most, and how long is waited between.
const MOST_TRIES: u32 = 16;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How a telling went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It was taken.
    Delivered,
    /// A fault swallowed it, for good.
    Dropped,
    /// Nobody took it.
    Failed,
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    Delivered,
    Dropped,
    GivenUp,
}

/// What became of all events since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) waiting: usize,
    pub(super) tries: u64,
    pub(super) delivered: u64,
    pub(super) dropped: u64,
    pub(super) given_up: u64,
}

/// All events that are not told yet.
#[derive(Debug, Default)]
pub(super) struct Telling {
    events: HashMap<String, Waiting>,
    // Those that are not handed out, by when they may be; then in the order in which they came. May name one that is
    // forgotten.
    queue: BTreeSet<(Timestamp, u64, String)>,
    order: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Waiting {
    event: Event,
    tries: u32,
}

impl Telling {
    /// A new event, to be told from `at` on.
    pub(super) fn add(&mut self, event: Event, at: Timestamp) {
        self.enqueue(event.id.clone(), at);
        self.events.insert(event.id.clone(), Waiting { event, tries: 0 });
    }

    /// Forgets an event that was told before a restart.
    pub(super) fn forget(&mut self, id: &str) {
        self.events.remove(id);
    }

    /// Hands out at most `room` events whose time has come, each with the number of its try.
    pub(super) fn take(&mut self, now: Timestamp, room: usize) -> Vec<(Event, u32)> {
        let mut taken = Vec::new();
        while taken.len() < room && self.queue.first().is_some_and(|(at, _, _)| *at <= now) {
            let Some((_, _, id)) = self.queue.pop_first() else { break };
            if let Some(waiting) = self.events.get_mut(&id) {
                waiting.tries += 1;
                self.counts.tries += 1;
                taken.push((waiting.event.clone(), waiting.tries));
            }
        }
        taken
    }

    /// Takes back an event that was handed out; says how it ended, if it did. `jitter` is 0 to 1.
    pub(super) fn told(&mut self, id: &str, told: Told, now: Timestamp, jitter: f64) -> Option<End> {
        let tries = self.events.get(id)?.tries;
        let end = match told {
            Told::Delivered => End::Delivered,
            Told::Dropped => End::Dropped,
            Told::Failed if tries >= MOST_TRIES => End::GivenUp,
            Told::Failed => {
                let wait = wait_after(tries).mul_f64(0.75 + jitter / 2.0);
                let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
                self.enqueue(id.to_owned(), now.saturating_add(wait).unwrap_or(Timestamp::MAX));
                return None;
            }
        };
        match end {
            End::Delivered => self.counts.delivered += 1,
            End::Dropped => self.counts.dropped += 1,
            End::GivenUp => self.counts.given_up += 1,
        }
        self.events.remove(id);
        Some(end)
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { waiting: self.events.len(), ..self.counts }
    }

    fn enqueue(&mut self, id: String, at: Timestamp) {
        self.order += 1;
        self.queue.insert((at, self.order, id));
    }
}

fn wait_after(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psp::payment::Payment;

    fn event(id: &str) -> Event {
        let request = r#"{"reference":"b/1","amount":100,"currency":"EUR","token":"tok_async_ok"}"#;
        let request = serde_json::from_str(request).unwrap();
        let payment = Payment::new("pay_1".into(), request, at(0), at(1)).unwrap();
        Event { id: id.into(), made_at: at(0), payment }
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).unwrap()
    }

    fn ids(taken: &[(Event, u32)]) -> Vec<&str> {
        taken.iter().map(|(event, _)| event.id.as_str()).collect()
    }

    #[test]
    fn events_come_out_in_time_in_order_and_once() {
        let mut telling = Telling::default();
        telling.add(event("late"), at(3));
        telling.add(event("a"), at(1));
        telling.add(event("b"), at(1));
        assert!(telling.take(at(0), 9).is_empty());
        assert_eq!(ids(&telling.take(at(1), 1)), ["a"]);
        assert_eq!(ids(&telling.take(at(9), 9)), ["b", "late"]);
        assert!(telling.take(at(9), 9).is_empty());
        assert_eq!(telling.told("a", Told::Delivered, at(9), 0.5), Some(End::Delivered));
        assert_eq!(telling.told("a", Told::Delivered, at(9), 0.5), None, "a second time it is nobody's");
        assert_eq!(telling.told("b", Told::Dropped, at(9), 0.5), Some(End::Dropped));
        assert_eq!(telling.counts(), Counts { waiting: 1, tries: 3, delivered: 1, dropped: 1, given_up: 0 });
    }

    #[test]
    fn a_failure_waits_longer_each_time_and_ends() {
        let mut telling = Telling::default();
        telling.add(event("a"), at(0));
        let (mut now, mut waits) = (at(0), Vec::new());
        loop {
            let taken = telling.take(now, 9);
            assert_eq!(ids(&taken), ["a"]);
            if let Some(end) = telling.told("a", Told::Failed, now, 0.5) {
                assert_eq!((end, taken[0].1), (End::GivenUp, MOST_TRIES));
                break;
            }
            let next = telling.queue.first().unwrap().0;
            waits.push(next.duration_since(now).as_millis());
            now = next;
        }
        assert_eq!(waits[..8], [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(waits.len(), 15);
        assert!(telling.queue.is_empty() && telling.events.is_empty());
    }
}
