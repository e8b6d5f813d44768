//! The ledger: every accepted change as one line of a file, on disk before it is answered.
//!
//! One thread owns books and file. It takes what waits, decides in order, writes and syncs once, then answers all
//! of it, reads too: nobody ever sees what a crash could take back. If the file fails, the thread ends and everything
//! is refused from then on. A line cut off by a crash was never answered and is dropped at the next start.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::books::{Books, Idempotency, Outcome, Query};
use super::event::{Endpoint, Event};
use super::payment::{Change, Payment, Request};
use super::telling::{Counts, Told};

/// How many requests may wait, and how many share one sync.
const WAITING: usize = 1024;
const BATCH: usize = 256;

enum Command {
    Create(Request, Idempotency, oneshot::Sender<Outcome>),
    Change(String, Change, Idempotency, oneshot::Sender<Outcome>),
    Read(Query, oneshot::Sender<Vec<Payment>>),
    SetEndpoint(Endpoint, oneshot::Sender<(Endpoint, Counts)>),
    Endpoint(oneshot::Sender<(Endpoint, Counts)>),
    Told(String, Told),
    TakeEvents(usize, oneshot::Sender<Vec<(Event, String)>>),
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

    /// Says where events are told from now on.
    pub(super) async fn set_endpoint(&self, endpoint: Endpoint) -> Result<(Endpoint, Counts), Closed> {
        self.ask(|answer| Command::SetEndpoint(endpoint, answer)).await
    }

    /// Where events are told, and how many were.
    pub(super) async fn endpoint(&self) -> Result<(Endpoint, Counts), Closed> {
        self.ask(Command::Endpoint).await
    }

    /// Ends what has been processed long enough, and hands out at most `room` events, each with the address to tell it to.
    pub(super) async fn take_events(&self, room: usize) -> Result<Vec<(Event, String)>, Closed> {
        self.ask(|answer| Command::TakeEvents(room, answer)).await
    }

    /// How the telling of an event went.
    pub(super) async fn told(&self, event: String, told: Told) -> Result<(), Closed> {
        self.commands.send(Command::Told(event, told)).await.map_err(|_| Closed)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Closed> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Closed)?;
        answered.await.map_err(|_| Closed)
    }
}

/// Reads the file, if there is one, and starts the thread of a provider that takes `later` to process what it processes.
pub(super) fn open(path: &Path, later: Duration) -> std::io::Result<Ledger> {
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    let books = read(&mut file, later)?;
    let (commands, waiting) = mpsc::channel(WAITING);
    std::thread::Builder::new().name("ledger".to_owned()).spawn(move || keep(books, file, waiting))?;
    Ok(Ledger { commands })
}

fn read(file: &mut File, later: Duration) -> std::io::Result<Books> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(file, &mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut books = Books::new(later);
    for (number, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
        if !line.is_empty() {
            let wrong = |problem| std::io::Error::other(format!("line {}: {problem}", number + 1));
            books.read(line).map_err(wrong)?;
        }
    }
    let whole = u64::try_from(whole).map_err(std::io::Error::other)?;
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok(books)
}

/// An answer that waits for the sync.
type Answer = Box<dyn FnOnce() + Send>;

#[expect(clippy::needless_pass_by_value, reason = "the thread's own")]
fn keep(mut books: Books, file: File, mut waiting: mpsc::Receiver<Command>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut lines = Vec::new();
        // What was told and is forgotten in a crash is told once more: nobody waits for the disk.
        let mut in_no_hurry = matches!(first, Command::Told(..));
        let mut answers = vec![take(&mut books, first, &mut lines)];
        while answers.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            in_no_hurry &= matches!(next, Command::Told(..));
            answers.push(take(&mut books, next, &mut lines));
        }
        let sync = |()| if in_no_hurry { Ok(()) } else { file.sync_data() };
        if !lines.is_empty()
            && let Err(problem) = (&file).write_all(&lines).and_then(sync)
        {
            eprintln!("the ledger cannot be written: {problem}");
            return;
        }
        answers.into_iter().for_each(|answer| answer());
    }
}

fn take(books: &mut Books, command: Command, lines: &mut Vec<u8>) -> Answer {
    let now = Timestamp::now();
    match command {
        Command::Create(request, key, answer) => send(answer, books.create(request, &key, now, lines)),
        Command::Change(id, change, key, answer) => send(answer, books.change(&id, change, &key, now, lines)),
        Command::Read(query, answer) => send(answer, books.find(&query)),
        Command::SetEndpoint(endpoint, answer) => {
            books.set_endpoint(endpoint, lines);
            send(answer, books.endpoint())
        }
        Command::Endpoint(answer) => send(answer, books.endpoint()),
        Command::Told(event, told) => {
            books.told(event, told, now, lines);
            Box::new(|| ())
        }
        Command::TakeEvents(room, answer) => {
            books.finish(now, lines);
            send(answer, books.take_events(now, room))
        }
    }
}

fn send<T: Send + 'static>(answer: oneshot::Sender<T>, outcome: T) -> Answer {
    // Whoever asked may have gone.
    Box::new(move || drop(answer.send(outcome)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psp::payment::Status;

    const LATER: Duration = Duration::from_millis(1);

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
        let ledger = open(&dir.path().join("ledger"), LATER).unwrap();
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
        let ledger = open(&path, LATER).unwrap();
        let made = create(&ledger, "k").await;
        let id = made.payment.clone();
        let voided = ledger.change(id.clone(), Change::Void, key("v", "f")).await.unwrap();
        assert!(matches!(voided, Outcome::Done { status: 200, .. }));
        drop(ledger);
        File::options().append(true).open(&path).unwrap().write_all(br#"{"at":"cut o"#).unwrap();

        let again = open(&path, LATER).unwrap();
        let all = again.read(Query::All).await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].status, Status::Voided);
        assert_eq!(create(&again, "k").await, made, "the answer of then, not the payment of now");
        create(&again, "new").await;
        drop(again);
        assert_eq!(open(&path, LATER).unwrap().read(Query::All).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_ledger_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        std::fs::write(&path, "not a ledger\n").unwrap();
        assert!(open(&path, LATER).unwrap_err().to_string().contains("line 1"));
    }
}
