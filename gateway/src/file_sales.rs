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
use std::sync::{Mutex, PoisonError};

use queue::configure::Expect;
use queue::{Clock, LineError, Settings, SettingsError};
use queue_token::SaleId;
use sha2::{Digest, Sha256};

use crate::line::rooms::Rooms;
use crate::line::view::parse_time_us;

/// Longest file.
const FILE_MAX_BYTES: u64 = 64 * 1024;
/// Most files.
const FILES_MAX: usize = 1000;
/// Another change may come in between; then the file is laid over what it left.
const TRIES: usize = 3;

/// The files and what became of them.
#[derive(Debug, Default)]
pub struct FileSales {
    dir: Option<PathBuf>,
    files: Mutex<BTreeMap<String, File>>,
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

/// What a good file says.
#[derive(Debug, Clone, PartialEq)]
struct Terms {
    sale: SaleId,
    settings: Settings,
    opens_at_us: Option<u64>,
    digest: String,
}

impl FileSales {
    /// The files of a directory; none without one. Nothing is read yet.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, files: Mutex::default() }
    }

    /// Looks at the files, reads those that have changed, and lets act what has not acted yet.
    pub async fn sync(&self, rooms: &Rooms) {
        for (name, terms) in self.look() {
            if self.act(rooms, &terms).await {
                let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
                // Unless the file has changed meanwhile.
                if let Some(file) = files.get_mut(&name)
                    && matches!(&file.stage, Stage::Read(read) if read.digest == terms.digest)
                {
                    file.stage = Stage::Done;
                }
            }
        }
    }

    /// What is wrong with the file of a sale.
    pub fn fault(&self, sale: &SaleId) -> Option<String> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match &files.get(sale.as_str())?.stage {
            Stage::Faulty(fault) => Some(fault.clone()),
            _ => None,
        }
    }

    /// What is wrong with any file, by its name.
    pub fn faults(&self) -> Vec<(String, String)> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let faulty = files.iter().filter_map(|(name, file)| match &file.stage {
            Stage::Faulty(fault) => Some((format!("{name}.toml"), fault.clone())),
            _ => None,
        });
        faulty.collect()
    }

    /// One look at the directory; answers what has yet to act.
    fn look(&self) -> Vec<(String, Box<Terms>)> {
        let Some(dir) = &self.dir else { return Vec::new() };
        let listed = match list(dir) {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "the sales' directory cannot be read");
                return Vec::new();
            }
        };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = files.is_empty();
        files.retain(|name, _| {
            let stays = listed.contains_key(name);
            if !stays {
                tracing::info!(sale = name, "a sale's file was removed; the sale stays as it is");
            }
            stays
        });
        for (name, stamp) in listed {
            match files.get_mut(&name) {
                Some(file) if file.stamp == stamp => {
                    if matches!(file.stage, Stage::Changed) {
                        file.stage = read(dir, &name, stamp);
                    }
                }
                // Nobody knows since when a file stands that was there before this gateway.
                None if is_first => {
                    let stage = read(dir, &name, stamp);
                    files.insert(name, File { stamp, stage });
                }
                _ => drop(files.insert(name, File { stamp, stage: Stage::Changed })),
            }
        }
        let pending = files.iter().filter_map(|(name, file)| match &file.stage {
            Stage::Read(terms) => Some((name.clone(), terms.clone())),
            _ => None,
        });
        pending.collect()
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
        None => Expect::Absent,
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

/// What the file of a sale says. Every fault names its member by a JSON pointer.
fn parse(name: &str, text: &str) -> Result<Terms, String> {
    let sale: SaleId = name.parse().map_err(|error| format!("the file's name: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
    let json = to_json(toml::Value::Table(table)).to_string();
    let settings = Settings::parse_strictly(json.as_bytes()).map_err(|fault| told(&[fault]))?;
    settings.check().map_err(|faults| told(&faults))?;
    let opens_at_us = match settings.opens_at.as_deref() {
        None => None,
        Some(time) => Some(parse_time_us(time).ok_or("/opens_at: must be an RFC 3339 time")?),
    };
    let digest = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Terms { sale, settings, opens_at_us, digest })
}

fn told(faults: &[SettingsError]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The same document as JSON; a time becomes its text.
fn to_json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(to_json).collect(),
        toml::Value::Table(members) => {
            serde_json::Value::Object(members.into_iter().map(|(name, value)| (name, to_json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "rate_per_min = 90\nmax_inside = 5\nopens_at = 2027-01-15T08:00:00Z\n[[paths]]\npath = \"/x\"\n";

    #[test]
    fn a_good_file_is_read() {
        let terms = parse("gala", GOOD).unwrap();
        assert_eq!((terms.settings.rate_per_min, terms.opens_at_us), (90.0, Some(1_800_000_000_000_000)));
        assert_eq!(terms.settings.paths[0].path, "/x");
        assert_eq!(terms.digest.len(), 64);
        assert_ne!(terms.digest, parse("gala", &GOOD.replace("90", "91")).unwrap().digest);
    }

    #[test]
    fn the_commented_example_is_good() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/sales/spring-gala.toml.example");
        parse("spring-gala", &std::fs::read_to_string(file).unwrap()).unwrap();
    }

    #[test]
    fn faults_name_their_members() {
        for (name, text, expected) in [
            ("gala", "rate_per_min = 90\nmax_inside = 0", "/max_inside: must be from 1 to 10000000"),
            ("gala", "rate = 90", "/rate: is not a setting"),
            ("gala", "rate_per_min = \"x\"\nmax_inside = 1", "/rate_per_min: "),
            ("gala", "rate_per_min = 1\nmax_inside = 1\npaths = [{path = 7}]", "/paths/0/path: "),
            ("gala", "rate_per_min = 1\nmax_inside = 1\nfile_digest = \"x\"", "/file_digest: is not a setting"),
            ("gala", "rate_per_min = 1\nmax_inside = 1\nopens_at = \"noon\"", "/opens_at: must be"),
            ("gala", "rate_per_min = ", "TOML parse error"),
            ("Gala Night", GOOD, "the file's name: "),
        ] {
            let fault = parse(name, text).unwrap_err();
            assert!(fault.starts_with(expected), "{fault}");
        }
    }

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
}
