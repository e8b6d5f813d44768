//! Writes the history from a thread of its own, so that a slow disk never delays a fan's clock
//! unnoticed: the channel is bounded, and a full one shows as generator lag.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;

use super::record::Record;

/// Lines on their way to the disk at most.
const IN_FLIGHT: usize = 16_384;
/// The file is flushed this often.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// The sending end; clones share one file.
#[derive(Debug, Clone)]
pub struct History {
    lines: Option<mpsc::Sender<Vec<u8>>>,
}

/// The thread behind a [`History`].
#[derive(Debug)]
pub struct HistoryWriter {
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl History {
    /// Starts a history in `path`; without a path lines go nowhere.
    pub fn start(path: Option<&Path>) -> io::Result<(Self, HistoryWriter)> {
        let Some(path) = path else {
            return Ok((Self { lines: None }, HistoryWriter { thread: None }));
        };
        let file = File::create(path)?;
        let (lines, queue) = mpsc::channel(IN_FLIGHT);
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || write_all(BufWriter::with_capacity(1 << 18, file), queue))?;
        Ok((Self { lines: Some(lines) }, HistoryWriter { thread: Some(thread) }))
    }

    /// Writes one operation.
    pub async fn operation(&self, record: &Record) {
        self.line(record).await;
    }

    /// Writes any line.
    pub async fn line(&self, line: &impl Serialize) {
        let Some(lines) = &self.lines else { return };
        let mut text = serde_json::to_vec(line).expect("history lines have string keys and finite numbers");
        text.push(b'\n');
        // A closed channel means that the disk failed; the writer reports that at the end.
        let _ = lines.send(text).await;
    }
}

impl HistoryWriter {
    /// Waits until all is on disk; every [`History`] must be dropped before.
    pub fn finish(self) -> io::Result<()> {
        match self.thread {
            None => Ok(()),
            Some(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the history's thread panicked"))),
        }
    }
}

fn write_all(mut file: BufWriter<File>, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut flushed = Instant::now();
    loop {
        let next = runtime.block_on(async { tokio::time::timeout(FLUSH_EVERY, queue.recv()).await });
        match next {
            Ok(Some(line)) => file.write_all(&line)?,
            Ok(None) => break,
            Err(_) => {}
        }
        if flushed.elapsed() >= FLUSH_EVERY {
            file.flush()?;
            flushed = Instant::now();
        }
    }
    file.flush()?;
    file.get_ref().sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_line_is_on_disk_at_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("h.ndjson");
        let (history, writer) = History::start(Some(&path)).expect("starts");
        for op_id in 0..20_000 {
            history.operation(&Record { op_id, ..Record::default() }).await;
        }
        drop(history);
        writer.finish().expect("written");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text.lines().count(), 20_000);
        assert!(text.lines().last().expect("a line").contains("\"op_id\":19999"));
    }

    #[test]
    fn no_path_no_file() {
        let (_history, writer) = History::start(None).expect("starts");
        writer.finish().expect("nothing to do");
    }
}
