//! The ledger: every accepted change as one line of a file, on disk before it is answered.
//!
//! One thread owns payments and file. It takes what waits, decides in order, writes and syncs once, then answers all
//! of it, reads too: nobody ever sees what a crash could take back. If the file fails, the thread ends and everything
//! is refused from then on. A line cut off by a crash was never answered and is dropped at the next start.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::payment::{Change, Payment, Refusal, Request};

/// How many requests may wait, and how many share one sync.
const WAITING: usize = 1024;
const BATCH: usize = 256;

/// What identifies a repeated request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Idempotency {
    pub(super) key: String,
    pub(super) fingerprint: String,
}

/// One line of the file: the payment after an accepted change, and how it was answered.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    at: String,
    op: String,
    #[serde(flatten)]
    idempotency: Idempotency,
    status: u16,
    payment: Payment,
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

enum Command {
    Create(Request, Idempotency, oneshot::Sender<Outcome>),
    Change(String, Change, Idempotency, oneshot::Sender<Outcome>),
    Read(Query, oneshot::Sender<Vec<Payment>>),
}

/// The ledger's thread has ended: its file failed.
#[derive(Debug, thiserror::Error)]
#[error("the ledger takes nothing more")]
pub(super) struct Closed;

/// A handle on the ledger's thread; it ends when all handles are gone.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    commands: mpsc::Sender<Command>,
}

impl Ledger {
    pub(super) async fn create(&self, request: Request, key: Idempotency) -> Result<Outcome, Closed> {
        self.ask(|answer| Command::Create(request, key, answer)).await
    }

    pub(super) async fn change(&self, payment: String, change: Change, key: Idempotency) -> Result<Outcome, Closed> {
        self.ask(|answer| Command::Change(payment, change, key, answer)).await
    }

    pub(super) async fn read(&self, query: Query) -> Result<Vec<Payment>, Closed> {
        self.ask(|answer| Command::Read(query, answer)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Closed> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Closed)?;
        answered.await.map_err(|_| Closed)
    }
}

/// Reads the file, if there is one, and starts the thread.
pub(super) fn open(path: &Path) -> std::io::Result<Ledger> {
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    let books = Books::read(&mut file)?;
    let (commands, waiting) = mpsc::channel(WAITING);
    std::thread::Builder::new().name("ledger".to_owned()).spawn(move || keep(books, file, waiting))?;
    Ok(Ledger { commands })
}

/// An answer that waits for the sync.
type Answer = Box<dyn FnOnce() + Send>;

fn keep(mut books: Books, mut file: File, mut waiting: mpsc::Receiver<Command>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut lines = Vec::new();
        let mut answers = vec![books.take(first, &mut lines)];
        while answers.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            answers.push(books.take(next, &mut lines));
        }
        if !lines.is_empty()
            && let Err(problem) = file.write_all(&lines).and_then(|()| file.sync_data())
        {
            eprintln!("the ledger cannot be written: {problem}");
            return;
        }
        answers.into_iter().for_each(|answer| answer());
    }
}

/// All payments, in memory.
#[derive(Debug, Default)]
struct Books {
    // Ordered by when they were made.
    payments: Vec<Payment>,
    by_id: HashMap<String, usize>,
    by_reference: BTreeMap<String, Vec<usize>>,
    answered: HashMap<String, Answered>,
}

impl Books {
    fn read(file: &mut File) -> std::io::Result<Books> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(file, &mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut books = Books::default();
        for (number, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
            if !line.is_empty() {
                let line = serde_json::from_slice(line)
                    .map_err(|problem| std::io::Error::other(format!("line {}: {problem}", number + 1)))?;
                books.enter(line);
            }
        }
        let whole = u64::try_from(whole).map_err(std::io::Error::other)?;
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        Ok(books)
    }

    fn take(&mut self, command: Command, lines: &mut Vec<u8>) -> Answer {
        match command {
            Command::Create(request, key, answer) => {
                let outcome = self.once(&key, lines, |_| {
                    let payment = Payment::new(new_id(), request, now())?;
                    Ok(Some(("authorize", 201, payment)))
                });
                Box::new(move || drop(answer.send(outcome)))
            }
            Command::Change(id, change, key, answer) => {
                let outcome = self.once(&key, lines, |books| {
                    let Some(at) = books.by_id.get(&id) else { return Ok(None) };
                    let op = match change {
                        Change::Capture(_) => "capture",
                        Change::Void => "void",
                        Change::Refund(_) => "refund",
                    };
                    Ok(Some((op, 200, books.payments[*at].after(change)?)))
                });
                Box::new(move || drop(answer.send(outcome)))
            }
            Command::Read(query, answer) => {
                let found = self.find(&query);
                Box::new(move || drop(answer.send(found)))
            }
        }
    }

    /// Decides a request unless its key was answered before, and writes what was accepted.
    fn once(
        &mut self,
        key: &Idempotency,
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
                let idempotency = key.clone();
                let line = Line { at: now(), op: op.to_owned(), idempotency, status, payment: payment.clone() };
                serde_json::to_writer(&mut *lines, &line).expect("a line holds nothing that JSON cannot");
                lines.push(b'\n');
                self.enter(line);
                Outcome::Done { status, payment }
            }
        }
    }

    fn enter(&mut self, line: Line) {
        let Line { idempotency: Idempotency { key, fingerprint }, status, payment, .. } = line;
        self.answered.insert(key, Answered { fingerprint, status, payment: payment.clone() });
        if let Some(at) = self.by_id.get(&payment.payment) {
            self.payments[*at] = payment;
            return;
        }
        let at = self.payments.len();
        self.by_id.insert(payment.payment.clone(), at);
        self.by_reference.entry(payment.reference.clone()).or_default().push(at);
        self.payments.push(payment);
    }

    fn find(&self, query: &Query) -> Vec<Payment> {
        let at = |places: &[usize]| places.iter().map(|at| self.payments[*at].clone()).collect();
        match query {
            Query::One(id) => self.by_id.get(id).map(|place| at(&[*place])).unwrap_or_default(),
            Query::Reference(reference) => {
                self.by_reference.get(reference).map(|places| at(places)).unwrap_or_default()
            }
            Query::All => self.payments.clone(),
        }
    }
}

fn new_id() -> String {
    let tail: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(22).map(char::from).collect();
    format!("pay_{tail}")
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psp::payment::Status;

    fn key(key: &str, fingerprint: &str) -> Idempotency {
        Idempotency { key: key.into(), fingerprint: fingerprint.into() }
    }

    fn request(reference: &str) -> Request {
        let text = format!(r#"{{"reference":"{reference}","amount":100,"currency":"EUR","token":"tok_ok"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    async fn create(ledger: &Ledger, name: &str) -> Payment {
        match ledger.create(request("b/1"), key(name, "f")).await.unwrap() {
            Outcome::Done { status: 201, payment } => payment,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_key_is_answered_once_and_for_one_request_only() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(&dir.path().join("ledger")).unwrap();
        let first = create(&ledger, "k").await;
        assert_eq!(create(&ledger, "k").await, first);
        assert_ne!(create(&ledger, "other").await, first);
        assert!(matches!(ledger.create(request("b/1"), key("k", "g")).await, Ok(Outcome::KeyReused)));
        assert_eq!(ledger.read(Query::Reference("b/1".into())).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_new_start_knows_everything_that_was_answered_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let ledger = open(&path).unwrap();
        let made = create(&ledger, "k").await;
        let id = made.payment.clone();
        let voided = ledger.change(id.clone(), Change::Void, key("v", "f")).await.unwrap();
        assert!(matches!(voided, Outcome::Done { status: 200, .. }));
        drop(ledger);
        File::options().append(true).open(&path).unwrap().write_all(br#"{"at":"cut o"#).unwrap();

        let again = open(&path).unwrap();
        let all = again.read(Query::All).await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].status, Status::Voided);
        assert_eq!(create(&again, "k").await, made, "the answer of then, not the payment of now");
        create(&again, "new").await;
        drop(again);
        assert_eq!(open(&path).unwrap().read(Query::All).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_ledger_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        std::fs::write(&path, "not a ledger\n").unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("line 1"));
    }
}
