//! All payments in memory, what every key was answered, and which events wait; and the lines that say so in the
//! ledger's file. Reading the lines again gives the same books. The time is passed in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::event::{Endpoint, Event};
use super::payment::{Change, Payment, Refusal, Request, Status};
use super::telling::{Counts, End, Telling, Told};

/// Most payments that end in one go.
const MOST_FINISHED: usize = 256;

/// What identifies a repeated request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Idempotency {
    pub(super) key: String,
    pub(super) fingerprint: String,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Change(Box<Changed>),
    Told { told: String, end: End },
    Endpoint { endpoint: Endpoint },
}

/// The payment after an accepted change, how it was answered, and the event that tells it.
#[derive(Debug, Serialize, Deserialize)]
struct Changed {
    at: Timestamp,
    op: String,
    // Nobody asked for the end of what was being processed.
    #[serde(flatten)]
    idempotency: Option<Idempotency>,
    status: u16,
    payment: Payment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
}

/// What was answered to a key.
#[derive(Debug, Clone)]
struct Answered {
    fingerprint: String,
    status: u16,
    payment: Payment,
}

/// An answer to a change.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Done now or before: the HTTP status and the payment.
    Done { status: u16, payment: Payment },
    /// No such payment.
    Unknown,
    /// The key was used for another request.
    KeyReused,
    /// Not to be done.
    Refused(Refusal),
}

/// What to read.
#[derive(Debug)]
pub(super) enum Query {
    One(String),
    Reference(String),
    All,
}

/// All payments.
#[derive(Debug)]
pub(super) struct Books {
    // Ordered by when they were made.
    payments: Vec<Payment>,
    by_id: HashMap<String, usize>,
    by_reference: BTreeMap<String, Vec<usize>>,
    answered: HashMap<String, Answered>,
    // What is being processed, by when it ends.
    due: BTreeSet<(Timestamp, usize)>,
    endpoint: Endpoint,
    telling: Telling,
    later: Duration,
}

impl Books {
    /// Empty ones, of a provider that takes `later` to process what it processes.
    pub(super) fn new(later: Duration) -> Books {
        Books {
            payments: Vec::new(),
            by_id: HashMap::new(),
            by_reference: BTreeMap::new(),
            answered: HashMap::new(),
            due: BTreeSet::new(),
            endpoint: Endpoint::default(),
            telling: Telling::default(),
            later,
        }
    }

    /// Enters a line of the file.
    pub(super) fn read(&mut self, line: &[u8]) -> serde_json::Result<()> {
        match serde_json::from_slice(line)? {
            Line::Change(changed) => self.enter(*changed, None),
            Line::Told { told, .. } => self.telling.forget(&told),
            Line::Endpoint { endpoint } => self.endpoint = endpoint,
        }
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        request: Request,
        key: &Idempotency,
        now: Timestamp,
        lines: &mut Vec<u8>,
    ) -> Outcome {
        let due = self.after_processing(now, 1);
        self.once(key, now, lines, |_| Ok(Some(("authorize", 201, Payment::new(new_id("pay"), request, now, due)?))))
    }

    pub(super) fn change(
        &mut self,
        id: &str,
        change: Change,
        key: &Idempotency,
        now: Timestamp,
        lines: &mut Vec<u8>,
    ) -> Outcome {
        self.once(key, now, lines, |books| {
            let Some(at) = books.by_id.get(id) else { return Ok(None) };
            let op = match change {
                Change::Capture(_) => "capture",
                Change::Void => "void",
                Change::Refund(_) => "refund",
                Change::Finish => "finish",
            };
            Ok(Some((op, 200, books.payments[*at].after(change)?)))
        })
    }

    /// Ends what has been processed long enough.
    pub(super) fn finish(&mut self, now: Timestamp, lines: &mut Vec<u8>) {
        for _ in 0..MOST_FINISHED {
            let Some((due, at)) = self.due.first().copied().filter(|(due, _)| *due <= now) else { return };
            self.due.remove(&(due, at));
            if let Ok(payment) = self.payments[at].after(Change::Finish) {
                self.accept("finish", None, 200, payment, now, lines);
            }
        }
    }

    /// Says where events are told from now on.
    pub(super) fn set_endpoint(&mut self, endpoint: Endpoint, lines: &mut Vec<u8>) {
        self.endpoint.clone_from(&endpoint);
        write(lines, &Line::Endpoint { endpoint });
    }

    pub(super) fn endpoint(&self) -> (Endpoint, Counts) {
        (self.endpoint.clone(), self.telling.counts())
    }

    /// Hands out events whose time has come, each with the address to tell it to.
    pub(super) fn take_events(&mut self, now: Timestamp, room: usize) -> Vec<(Event, String)> {
        let urls = &self.endpoint.urls;
        if urls.is_empty() {
            return Vec::new();
        }
        let turn = |tries: u32| usize::try_from(tries - 1).unwrap_or_default() % urls.len();
        let taken = self.telling.take(now, room);
        taken.into_iter().map(|(event, tries)| (event, urls[turn(tries)].clone())).collect()
    }

    /// Takes back an event that was handed out.
    pub(super) fn told(&mut self, id: String, told: Told, now: Timestamp, lines: &mut Vec<u8>) {
        if let Some(end) = self.telling.told(&id, told, now, rand::rng().random()) {
            write(lines, &Line::Told { told: id, end });
        }
    }

    pub(super) fn find(&self, query: &Query) -> Vec<Payment> {
        let at = |places: &[usize]| places.iter().map(|at| self.payments[*at].clone()).collect();
        match query {
            Query::One(id) => self.by_id.get(id).map(|place| at(&[*place])).unwrap_or_default(),
            Query::Reference(reference) => {
                self.by_reference.get(reference).map(|places| at(places)).unwrap_or_default()
            }
            Query::All => self.payments.clone(),
        }
    }

    /// Decides a request unless its key was answered before, and writes what was accepted.
    fn once(
        &mut self,
        key: &Idempotency,
        now: Timestamp,
        lines: &mut Vec<u8>,
        decide: impl FnOnce(&Books) -> Result<Option<(&'static str, u16, Payment)>, Refusal>,
    ) -> Outcome {
        if let Some(before) = self.answered.get(&key.key) {
            if before.fingerprint != key.fingerprint {
                return Outcome::KeyReused;
            }
            return Outcome::Done { status: before.status, payment: before.payment.clone() };
        }
        match decide(self) {
            Err(refusal) => Outcome::Refused(refusal),
            Ok(None) => Outcome::Unknown,
            Ok(Some((op, status, payment))) => {
                self.accept(op, Some(key.clone()), status, payment.clone(), now, lines);
                Outcome::Done { status, payment }
            }
        }
    }

    fn accept(
        &mut self,
        op: &str,
        idempotency: Option<Idempotency>,
        status: u16,
        payment: Payment,
        at: Timestamp,
        lines: &mut Vec<u8>,
    ) {
        let event = self.endpoint.wants(&payment, idempotency.is_some()).then(|| new_id("evt"));
        let changed = Changed { at, op: op.to_owned(), idempotency, status, payment, event };
        let line = Line::Change(Box::new(changed));
        write(lines, &line);
        if let Line::Change(changed) = line {
            self.enter(*changed, Some(at));
        }
    }

    /// Enters a change; one of an earlier run has waited long enough with its event.
    fn enter(&mut self, changed: Changed, now: Option<Timestamp>) {
        let Changed { at: made_at, idempotency, status, payment, event, .. } = changed;
        if let Some(Idempotency { key, fingerprint }) = idempotency {
            self.answered.insert(key, Answered { fingerprint, status, payment: payment.clone() });
        }
        if let Some(id) = event {
            let event = Event { id, made_at, payment: payment.clone() };
            let tell_at = now.map_or(made_at, |now| self.after_processing(now, event.held_back()));
            self.telling.add(event, tell_at);
        }
        let at = match self.by_id.get(&payment.payment) {
            Some(at) => *at,
            None => {
                let at = self.payments.len();
                self.by_id.insert(payment.payment.clone(), at);
                self.by_reference.entry(payment.reference.clone()).or_default().push(at);
                self.payments.push(payment.clone());
                at
            }
        };
        if let Some(due) = self.payments[at].due_at {
            self.due.remove(&(due, at));
        }
        if let Some(due) = payment.due_at.filter(|_| payment.status == Status::Processing) {
            self.due.insert((due, at));
        }
        self.payments[at] = payment;
    }

    fn after_processing(&self, now: Timestamp, times: u32) -> Timestamp {
        let wait = self.later * times;
        now.checked_add(wait).unwrap_or(Timestamp::MAX)
    }
}

fn write(lines: &mut Vec<u8>, line: &Line) {
    serde_json::to_writer(&mut *lines, line).expect("a line holds nothing that JSON cannot");
    lines.push(b'\n');
}

fn new_id(kind: &str) -> String {
    let tail: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(22).map(char::from).collect();
    format!("{kind}_{tail}")
}
