//! Sales that stand in files: `NAME.toml` in the configured directory holds the settings of sale NAME.
//!
//! A file acts when its content is another than the one that acted last. The digest of that one is kept beside the
//! settings in the line's Redis, so a restart and any number of gateways make one change, and what an organiser changes
//! afterwards stands until the file changes again. A file that is bad changes nothing and is told to the organiser; one that
//! is removed leaves its sale as it is.
//! Leaves out: closing or forgetting sales, which is the organiser's.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use queue::configure::Expect;
use queue::{Clock, LineError};
use queue_token::SaleId;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::line::rooms::Rooms;

mod terms;

use terms::{Terms, parse};

/// Between two looks at the files; a file acts when two looks find it the same.
const BETWEEN: Duration = Duration::from_millis(250);
/// Longest file.
const FILE_MAX_BYTES: u64 = 64 * 1024;
/// Most files.
const FILES_MAX: usize = 1000;
/// So many files act at the same time: one sale whose Redis is slow keeps few others waiting.
const AT_ONCE: usize = 256;
/// Another change may come in between; then the file is laid over what it left.
const TRIES: usize = 3;
/// A sale that Redis does not know may be one that it has lost. Another gateway that knows it brings it back within this
/// time, with all that an organiser changed since the file acted.
const OTHERS_BRING_BACK: Duration = Duration::from_secs(1);

/// The service that reads the files and lets them act. Ready once it has done so for the first time.
pub struct Reader {
    /// The files.
    pub files: Arc<FileSales>,
    /// The rooms.
    pub rooms: Arc<Rooms>,
}

#[async_trait]
impl BackgroundService for Reader {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        tokio::select! {
            () = self.files.sync(&self.rooms) => ready.notify_ready(),
            _ = shutdown.changed() => return,
        }
        let mut times = interval(BETWEEN);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reading = async {
            loop {
                times.tick().await;
                self.files.sync(&self.rooms).await;
            }
        };
        tokio::select! {
            () = reading => {}
            _ = shutdown.changed() => {}
        }
    }
}

/// The files and what became of them.
#[derive(Debug, Default)]
pub struct FileSales {
    dir: Option<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether there was a look at the directory yet.
    looked: bool,
    files: BTreeMap<String, File>,
}

/// What a change of a file shows in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    /// It has just changed: it is read when it is still the same at the next look, so that nobody is caught writing.
    Changed,
    /// It says this, and that is not yet certain to have acted.
    Read(Box<Terms>),
    /// It has acted, here or through another gateway.
    Done,
    /// It is bad.
    Faulty(String),
}

impl FileSales {
    /// The files of a directory; none without one. Nothing is read yet.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, known: Mutex::default() }
    }

    /// Looks at the files, reads those that have changed, and lets act what has not acted yet. One at a time.
    pub async fn sync(self: &Arc<Self>, rooms: &Rooms) {
        if self.dir.is_none() {
            return;
        }
        let files = self.clone();
        // A disk may take any time.
        let pending = match tokio::task::spawn_blocking(move || files.look()).await {
            Ok(pending) => pending,
            Err(error) => return tracing::error!(%error, "the look at the sales' files ended early"),
        };
        stream::iter(pending)
            .for_each_concurrent(AT_ONCE, async |(name, terms)| {
                if self.act(rooms, &terms).await {
                    self.note_done(&name, &terms);
                }
            })
            .await;
    }

    fn note_done(&self, name: &str, terms: &Terms) {
        // Unless the file has changed meanwhile.
        if let Some(file) = self.known().files.get_mut(name)
            && matches!(&file.stage, Stage::Read(read) if read.digest == terms.digest)
        {
            file.stage = Stage::Done;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the file of a sale.
    pub fn fault(&self, sale: &SaleId) -> Option<String> {
        match &self.known().files.get(sale.as_str())?.stage {
            Stage::Faulty(fault) => Some(fault.clone()),
            _ => None,
        }
    }

    /// What is wrong with any file, by its name.
    pub fn faults(&self) -> Vec<(String, String)> {
        let known = self.known();
        let faulty = known.files.iter().filter_map(|(name, file)| match &file.stage {
            Stage::Faulty(fault) => Some((format!("{name}.toml"), fault.clone())),
            _ => None,
        });
        faulty.collect()
    }

    /// One look at the directory; answers what has yet to act. Nothing is locked while the disk is waited for.
    fn look(&self) -> Vec<(String, Box<Terms>)> {
        let Some(dir) = &self.dir else { return Vec::new() };
        let listed = list(dir).inspect_err(|error| {
            tracing::debug!(dir = %dir.display(), %error, "the sales' directory cannot be read");
        });
        let standing = self.note_stamps(listed.as_ref().ok());
        for (name, stamp) in standing {
            let stage = read(dir, &name, stamp);
            self.known().files.insert(name, File { stamp, stage });
        }
        let known = self.known();
        let pending = known.files.iter().filter_map(|(name, file)| match &file.stage {
            Stage::Read(terms) => Some((name.clone(), terms.clone())),
            _ => None,
        });
        pending.collect()
    }

    /// Notes what a look found, unless it found no directory; answers what can be read now.
    fn note_stamps(&self, listed: Option<&BTreeMap<String, Stamp>>) -> Vec<(String, Stamp)> {
        let mut known = self.known();
        let is_first = !std::mem::replace(&mut known.looked, true);
        let Some(listed) = listed else { return Vec::new() };
        known.files.retain(|name, _| {
            let stays = listed.contains_key(name);
            if !stays {
                tracing::info!(sale = name, "a sale's file was removed; the sale stays as it is");
            }
            stays
        });
        let mut standing = Vec::new();
        for (name, &stamp) in listed {
            match known.files.get(name) {
                Some(file) if file.stamp == stamp => {
                    if matches!(file.stage, Stage::Changed) {
                        standing.push((name.clone(), stamp));
                    }
                }
                // Nobody knows since when a file stands that was there before this gateway.
                None if is_first => standing.push((name.clone(), stamp)),
                _ => drop(known.files.insert(name.clone(), File { stamp, stage: Stage::Changed })),
            }
        }
        standing
    }

    /// Lets a file act unless it has; answers whether that is settled.
    async fn act(&self, rooms: &Rooms, terms: &Terms) -> bool {
        for _ in 0..TRIES {
            match act_once(rooms, terms).await {
                Ok(true) => return true,
                // Somebody else was faster: perhaps another gateway with the same file.
                Ok(false) | Err(LineError::Conflict { .. }) => {}
                Err(error) => {
                    tracing::warn!(sale = %terms.sale, error = ?error, "a sale's file could not act yet");
                    return false;
                }
            }
        }
        false
    }
}

async fn act_once(rooms: &Rooms, terms: &Terms) -> Result<bool, LineError> {
    let Some(line) = rooms.line() else { return Ok(false) };
    let is_known = rooms.refresh(&terms.sale, 0).await?;
    let view = rooms.get(&terms.sale).and_then(|room| room.view());
    let expect = match view {
        // Redis has just been given back what it lost; that is read first.
        Some(_) if !is_known => return Ok(false),
        Some(view) if view.snapshot.file_digest.as_deref() == Some(&*terms.digest) => return Ok(true),
        Some(view) => Expect::Version(view.snapshot.version),
        None => {
            sleep(OTHERS_BRING_BACK).await;
            if rooms.refresh(&terms.sale, 0).await? {
                return Ok(false);
            }
            // Nobody can tell a sale that was lost from one that never was: the bucket is empty, and calling rests.
            Expect::Lost(1)
        }
    };
    line.list_sale(&terms.sale).await?;
    let (digest, settings) = (Some(&*terms.digest), &terms.settings);
    let version = line.configure_from(digest, &terms.sale, settings, terms.opens_at_us, expect, Clock::Server).await?;
    tracing::info!(sale = %terms.sale, version, rate_per_min = settings.rate_per_min, "settings read from the sale's file");
    rooms.refresh(&terms.sale, 0).await?;
    Ok(true)
}

fn list(dir: &Path) -> std::io::Result<BTreeMap<String, Stamp>> {
    let mut listed = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        let Some(name) =
            path.file_stem().and_then(|name| name.to_str()).filter(|name| is_toml && !name.starts_with('.'))
        else {
            continue;
        };
        // A file may be gone between the list and the look at it.
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if meta.is_file() && listed.len() < FILES_MAX {
            let stamp =
                Stamp { inode: meta.ino(), bytes: meta.size(), changed_s: meta.mtime(), changed_ns: meta.mtime_nsec() };
            listed.insert(name.to_owned(), stamp);
        }
    }
    Ok(listed)
}

fn read(dir: &Path, name: &str, stamp: Stamp) -> Stage {
    let file = dir.join(format!("{name}.toml"));
    let text = if stamp.bytes > FILE_MAX_BYTES {
        Err(format!("is longer than {FILE_MAX_BYTES} bytes"))
    } else {
        std::fs::read_to_string(&file).map_err(|error| error.to_string())
    };
    match text.and_then(|text| parse(name, &text)) {
        Ok(terms) => Stage::Read(Box::new(terms)),
        Err(fault) => {
            tracing::error!(file = %file.display(), fault, "a sale's file is bad; the sale stays as it is");
            Stage::Faulty(fault)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "rate_per_min = 90\nmax_inside = 5\nopens_at = 2027-01-15T08:00:00Z\n[[paths]]\npath = \"/x\"\n";

    #[test]
    fn a_file_is_read_once_it_stands_and_only_when_it_changes() {
        let dir = std::env::temp_dir().join(format!("usher-file-sales-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let files = FileSales::new(Some(dir.clone()));
        std::fs::write(dir.join("gala.toml"), GOOD).unwrap();
        std::fs::write(dir.join("notes.txt"), "no sale").unwrap();
        assert_eq!(files.look().len(), 1, "what stood at the start is read at once");
        std::fs::write(dir.join("gala.toml"), "rate_per_min = 1").unwrap();
        assert!(files.look().is_empty() && files.faults().is_empty(), "not yet: it may still be written to");
        assert!(files.look().is_empty());
        let gala = "gala".parse().unwrap();
        assert!(files.fault(&gala).unwrap().contains("max_inside"));
        std::fs::write(dir.join("gala.toml"), GOOD.replace("90", "91")).unwrap();
        files.look();
        assert_eq!(files.look()[0].1.settings.rate_per_min, 91.0);
        assert_eq!(files.fault(&gala), None);
        std::fs::remove_file(dir.join("gala.toml")).unwrap();
        assert!(files.look().is_empty());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_first_file_in_an_empty_directory_is_left_to_be_written() {
        let dir = std::env::temp_dir().join(format!("usher-first-file-{}", std::process::id()));
        let files = FileSales::new(Some(dir.clone()));
        assert!(files.look().is_empty(), "there is no directory yet");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("early.toml"), "rate_per_m").unwrap();
        assert!(files.look().is_empty() && files.faults().is_empty(), "nor is the directory of old");
        std::fs::remove_file(dir.join("early.toml")).unwrap();
        assert!(files.look().is_empty());
        std::fs::write(dir.join("gala.toml"), "rate_per_m").unwrap();
        assert!(files.look().is_empty() && files.faults().is_empty(), "it has only just come");
        std::fs::write(dir.join("gala.toml"), GOOD).unwrap();
        assert!(files.look().is_empty() && files.faults().is_empty());
        assert_eq!(files.look().len(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
