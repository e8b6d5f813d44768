//! The signing keys: made by a command, read at start, read again when the file changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use queue_token::{Keyring, KeyringFile};

/// The keyring in force, swapped under its readers.
#[derive(Debug)]
pub struct Keys {
    file: PathBuf,
    ring: ArcSwap<Keyring>,
    read_at: std::sync::Mutex<Option<SystemTime>>,
}

impl Keys {
    /// Reads the key file.
    ///
    /// # Errors
    /// When it cannot be read or holds no usable key.
    pub fn load(file: &Path) -> Result<Self> {
        let (ring, changed) = read(file)?;
        Ok(Self { file: file.to_owned(), ring: ArcSwap::from_pointee(ring), read_at: std::sync::Mutex::new(changed) })
    }

    /// The keys in force.
    pub fn ring(&self) -> Arc<Keyring> {
        self.ring.load_full()
    }

    /// Reads the file again when it has changed, and answers whether the keys are new; keeps the old keys and says why
    /// when it is bad. Whoever is told that they are new forgets what was verified by the old ones.
    pub fn reload_if_changed(&self) -> bool {
        let changed = std::fs::metadata(&self.file).and_then(|meta| meta.modified()).ok();
        let Ok(mut read_at) = self.read_at.lock() else { return false };
        if changed.is_none() || *read_at == changed {
            return false;
        }
        *read_at = changed;
        match read(&self.file) {
            Ok((ring, _)) => {
                tracing::info!(?ring, "signing keys read again");
                self.ring.store(Arc::new(ring));
                true
            }
            Err(error) => {
                tracing::error!("signing keys kept as they were: {error:#}");
                false
            }
        }
    }
}

fn read(file: &Path) -> Result<(Keyring, Option<SystemTime>)> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {}; `usher-gateway keys new --out FILE` makes one", file.display()))?;
    let changed = std::fs::metadata(file).and_then(|meta| meta.modified()).ok();
    let parsed = KeyringFile::from_json(&text).with_context(|| format!("in {}", file.display()))?;
    let ring = Keyring::new(&parsed, crate::telemetry::now_s()).with_context(|| format!("in {}", file.display()))?;
    Ok((ring, changed))
}

/// Writes a new key file that only its owner may read; never over an existing one.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn write_new(file: &Path) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if file.exists() {
        bail!("{} exists; keys are never overwritten", file.display());
    }
    let made = KeyringFile::generate(crate::telemetry::now_s(), &rand::random());
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut out| out.write_all(made.to_json().map_err(std::io::Error::other)?.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}
