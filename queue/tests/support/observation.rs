//! What can be seen of a line from outside: everybody's spot, read from the keys and not through any operation.

use std::collections::BTreeMap;

use queue::seen::Shown;
use queue::{Turn, keys};
use queue_token::{Device, SaleId, Score, VisitorId};
use redis::aio::MultiplexedConnection;

use crate::model::{Devices, Holder, Model, Offer, Spot};

/// Everybody's spot at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Observation {
    /// Sorted by visitor; a visitor in two places stands here twice.
    pub(crate) spots: Vec<(VisitorId, Spot)>,
    /// When those who wait were last seen.
    pub(crate) seen_ms: BTreeMap<VisitorId, u64>,
    /// Facts kept about visitors who are not where those facts belong.
    pub(crate) orphans: Vec<VisitorId>,
    /// Codes, and which device holds a place that moved.
    pub(crate) devices: Devices,
}

/// Every key as one text, members and what stands beside them by turns: a client built for debugging takes long to
/// read thousands of small answers.
const EVERYTHING: &str = "
    local all = {}
    for i = 1, 8 do all[i] = table.concat(redis.call('ZRANGE', KEYS[i], 0, -1, 'WITHSCORES'), '|') end
    for i = 9, 10 do all[i] = table.concat(redis.call('HGETALL', KEYS[i]), '|') end
    return all";

impl Observation {
    pub(crate) fn of_model(model: &Model) -> Self {
        Self { spots: model.spots(), seen_ms: model.seen_ms(), orphans: Vec::new(), devices: model.devices() }
    }

    /// Reads the keys of a sale in one go.
    pub(crate) async fn of_redis(connection: &mut MultiplexedConnection, sale: &SaleId) -> Self {
        let [line, near, away, called, inside, _, _, _, turns, spent, codes, offers, moved] = keys::of(sale);
        let mut all = redis::cmd("EVAL");
        all.arg(EVERYTHING).arg(10);
        all.arg(&[line, near, away, called, inside, spent, codes, moved, turns, offers]);
        let all: [String; 10] = all.query_async(connection).await.expect("the keys of a sale");
        let [line, near, away, called, inside, spent, codes, moved, turns, offers] = &all;

        let turns: BTreeMap<VisitorId, Turn> = pairs(turns).map(|(v, facts)| (visitor(v), turn(facts))).collect();
        let lost = Turn { score: Score::default(), called_us: 0, seq: 0 };
        let turn_of = |v: &VisitorId| turns.get(v).copied().unwrap_or(lost);
        let mut spots = Vec::new();
        spots.extend(exact(line).map(|(v, score)| (v, Spot::Waiting { score })));
        spots.extend(exact(away).map(|(v, score)| (v, Spot::Away { score })));
        spots.extend(exact(called).map(|(v, deadline_ms)| (v, Spot::Called { turn: turn_of(&v), deadline_ms })));
        spots.extend(exact(inside).map(|(v, expires_ms)| (v, Spot::Inside { turn: turn_of(&v), expires_ms })));
        spots.extend(exact(spent).map(|(v, at)| (v, Spot::Spent { at_ms: at / 2, left: at % 2 == 1 })));
        spots.sort_by_key(|&(v, _)| v);

        let seen_ms: BTreeMap<VisitorId, u64> = exact(near).collect();
        let devices = devices(codes, offers, moved);
        let mut observation = Self { spots, seen_ms, orphans: Vec::new(), devices };
        let waiting = observation.count_of(|spot| matches!(spot, Spot::Waiting { .. }));
        let in_turn = observation.count_of(|spot| matches!(spot, Spot::Called { .. } | Spot::Inside { .. }));
        observation.orphans.extend(observation.seen_ms.keys().filter(|v| !waiting.contains_key(v)));
        observation.orphans.extend(turns.keys().filter(|v| !in_turn.contains_key(v)));
        observation
    }

    /// Visitors at such a spot, with it.
    pub(crate) fn count_of(&self, is: impl Fn(&Spot) -> bool) -> BTreeMap<VisitorId, Spot> {
        self.spots.iter().copied().filter(|(_, spot)| is(spot)).collect()
    }

    /// Where a visitor stands, if anywhere.
    pub(crate) fn spot(&self, visitor: VisitorId) -> Option<Spot> {
        let index = self.spots.binary_search_by_key(&visitor, |&(v, _)| v).ok()?;
        Some(self.spots[index].1)
    }

    /// The scores of those who wait, in order.
    pub(crate) fn line(&self) -> Vec<u64> {
        let mut scores: Vec<u64> = self
            .spots
            .iter()
            .filter_map(|(_, spot)| match spot {
                Spot::Waiting { score } => Some(*score),
                _ => None,
            })
            .collect();
        scores.sort_unstable();
        scores
    }

    /// Called and inside together.
    pub(crate) fn occupied(&self) -> u64 {
        let busy = |(_, spot): &&(VisitorId, Spot)| matches!(spot, Spot::Called { .. } | Spot::Inside { .. });
        self.spots.iter().filter(busy).count() as u64
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut parts = text.split('|').filter(|part| !part.is_empty());
    std::iter::from_fn(move || Some((parts.next()?, parts.next().expect("members have something beside them"))))
}

fn exact(members: &str) -> impl Iterator<Item = (VisitorId, u64)> {
    pairs(members).map(|(member, score)| (visitor(member), score.parse().expect("a whole score")))
}

fn visitor(text: &str) -> VisitorId {
    text.parse().expect("members are visitors")
}

fn devices(codes: &str, offers: &str, moved: &str) -> Devices {
    let until_ms: BTreeMap<&str, u64> = pairs(codes).map(|(code, ms)| (code, ms.parse().expect("a time"))).collect();
    let mut devices = Devices::default();
    for (name, facts) in pairs(offers) {
        if facts.contains(' ') {
            let offer = offer(facts, until_ms[name]);
            devices.offers.insert(name.parse().expect("a code"), offer);
        } else {
            devices.open.insert(visitor(name), facts.parse().expect("a code"));
        }
    }
    assert_eq!(until_ms.len(), devices.offers.len(), "every code leads somewhere");
    devices.holders.extend(pairs(moved).map(|(name, since)| {
        let since: u64 = since.parse().expect("a whole number");
        (visitor(name), Holder { device: device(since % 1024), since_s: since / 1024 })
    }));
    devices
}

fn offer(facts: &str, until_ms: u64) -> Offer {
    let parts: Vec<&str> = facts.split(' ').collect();
    let [name, score, number, taker] = parts[..] else { panic!("facts of an offer are four: {facts:?}") };
    let score = Score::new(score.parse().expect("a score")).expect("an exact score");
    let shown = Shown { visitor: visitor(name), score, device: device(number.parse().expect("a number")) };
    Offer { shown, taker: (taker != "-").then(|| taker.parse().expect("a taker")), until_ms }
}

fn device(number: u64) -> Device {
    Device::new(number.try_into().expect("a small number")).expect("a device")
}

fn turn(facts: &str) -> Turn {
    let numbers: Vec<u64> = facts.split(' ').map(|n| n.parse().expect("facts of a turn are numbers")).collect();
    let [score, called_us, seq] = numbers[..] else { panic!("facts of a turn are three: {facts:?}") };
    Turn { score: Score::new(score).expect("an exact score"), called_us, seq }
}
