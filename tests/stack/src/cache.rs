//! Data directories prepared once and copied: `initdb`, migrations and the import of a fixture take seconds, a
//! copy takes a fraction of one.
//!
//! An entry is named by everything that went into it, appears under its name whole or not at all, and is made by
//! one process while others wait. A few of the newest are kept. Files in it belong to the caller; the copy is
//! given to the user that runs Postgres.

use std::fs::{File, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::binaries;
use crate::error::{Result, StackError};
use crate::owner::Owner;

/// How many entries stay.
const KEPT: usize = 6;
/// Changes when the layout of an entry does.
const LAYOUT: &str = "1";

/// Collects what an entry depends on.
#[derive(Debug)]
pub(crate) struct Key(Sha256);

impl Key {
    pub(crate) fn new(kind: &str) -> Key {
        Key(Sha256::new()).with(LAYOUT).with(kind)
    }

    pub(crate) fn with(mut self, part: impl AsRef<[u8]>) -> Key {
        let part = part.as_ref();
        self.0.update(part.len().to_le_bytes());
        self.0.update(part);
        self
    }

    fn name(self) -> String {
        self.0.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// An entry that cannot be pruned while this lives.
#[derive(Debug)]
pub(crate) struct Entry {
    path: PathBuf,
    _lock: File,
}

impl Entry {
    /// The entry of `key`, made by `make` in an empty directory when there is none yet.
    pub(crate) fn get(key: Key, make: impl FnOnce(&Path) -> Result<()>) -> Result<Entry> {
        let root = root()?;
        let name = key.name();
        let path = root.join(&name);
        let lock_path = root.join(format!("{name}.lock"));
        let mut lock = locked(&lock_path, File::lock_shared)?;
        if !path.is_dir() {
            drop(lock);
            lock = locked(&lock_path, File::lock)?;
            if !path.is_dir() {
                prepare(&root, &name, &path, make)?;
                prune(&root, &name);
            }
        }
        // The time of last use, which pruning goes by.
        let _ = lock.set_modified(SystemTime::now());
        Ok(Entry { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn prepare(root: &Path, name: &str, path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unfinished = root.join(format!("{name}.unfinished"));
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(StackError::io(format!("clearing {}", unfinished.display())))?;
    }
    make_private(&unfinished)?;
    if let Err(problem) = make(&unfinished) {
        let _ = std::fs::remove_dir_all(&unfinished);
        return Err(problem);
    }
    std::fs::rename(&unfinished, path).map_err(StackError::io(format!("naming {}", path.display())))
}

/// Removes the entries that were not used for longest, except those somebody holds.
fn prune(root: &Path, but: &str) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    let mut locks: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "lock"))
        .filter(|path| path.file_stem().is_some_and(|stem| stem != but))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    locks.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
    for (_, lock_path) in locks.into_iter().skip(KEPT - 1) {
        if let Ok(lock) = File::open(&lock_path)
            && lock.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(lock_path.with_extension(""));
            let _ = std::fs::remove_file(&lock_path);
        }
    }
}

/// Opens and locks a file, and again when somebody removed it in between: a lock on a file without a name
/// keeps nobody out.
fn locked(path: &Path, lock: impl Fn(&File) -> std::io::Result<()>) -> Result<File> {
    let doing = || format!("waiting for {}", path.display());
    loop {
        let file =
            File::options().create(true).truncate(false).write(true).open(path).map_err(StackError::io(doing()))?;
        lock(&file).map_err(StackError::io(doing()))?;
        let held = file.metadata().map_err(StackError::io(doing()))?;
        if path.metadata().is_ok_and(|named| named.ino() == held.ino()) {
            return Ok(file);
        }
    }
}

/// `target/stack-cache`, or a private directory below the temporary one for programs outside a target directory.
fn root() -> Result<PathBuf> {
    let root = binaries::target_directory().map_or_else(
        || {
            let uid = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("usher-stack-cache-{uid}"))
        },
        |target| target.join("stack-cache"),
    );
    make_private(&root)?;
    let meta = root.metadata().map_err(StackError::io(format!("looking at {}", root.display())))?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(StackError::Unsupported(format!("{} belongs to somebody else; remove it", root.display())));
    }
    Ok(root)
}

fn make_private(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StackError::io(format!("making {}", path.display())))
}

/// Copies a directory of plain files and directories, giving everything to `owner`.
pub(crate) fn copy_tree(from: &Path, to: &Path, owner: Option<Owner>) -> Result<()> {
    let doing = || format!("copying {} to {}", from.display(), to.display());
    make_private(to)?;
    for entry in std::fs::read_dir(from).map_err(StackError::io(doing()))? {
        let entry = entry.map_err(StackError::io(doing()))?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type().map_err(StackError::io(doing()))?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, owner)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target).map_err(StackError::io(doing()))?;
            if let Some(owner) = owner {
                owner.take(&target)?;
            }
        }
    }
    std::fs::set_permissions(to, Permissions::from_mode(0o700)).map_err(StackError::io(doing()))?;
    owner.map_or(Ok(()), |owner| owner.take(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn an_entry_is_made_once_by_one_of_many_and_a_failure_leaves_none() {
        let part = format!("{:?}", std::time::Instant::now());
        let key = || Key::new("test").with(&part);
        assert!(Entry::get(key(), |_| Err(StackError::Unsupported("no".into()))).is_err());

        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let entry = Entry::get(key(), |path| {
                        made.fetch_add(1, Ordering::SeqCst);
                        std::fs::write(path.join("a"), "b").unwrap();
                        Ok(())
                    });
                    assert_eq!(std::fs::read(entry.unwrap().path().join("a")).unwrap(), b"b");
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
        let entry = Entry::get(key(), |_| unreachable!()).unwrap();
        std::fs::remove_dir_all(entry.path()).unwrap();
        std::fs::remove_file(entry.path().with_extension("lock")).unwrap();
    }

    #[test]
    fn keys_differ_by_where_their_parts_end() {
        let ab_c = Key::new("x").with("ab").with("c").name();
        let a_bc = Key::new("x").with("a").with("bc").name();
        assert_ne!(ab_c, a_bc);
    }
}
