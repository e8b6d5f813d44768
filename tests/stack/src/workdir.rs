//! One private directory with its guard: where a stack or a single server lives.
//!
//! A temporary one goes when the last server in it is stopped; a given one stays, and is never shared by two
//! launchers at a time. Only what an earlier stack left in it is ever replaced.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Result, StackError};
use crate::guard::Guard;
use crate::owner::Owner;

/// Says that a directory was made by a stack, so that another may clear it.
const SIGN: &str = ".usher-stack";

/// A private directory under guard.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    owner: Option<Owner>,
    // Fields drop in this order: the guard ends (and removes what is temporary) before the lock goes.
    guard: Guard,
    _lock: Option<File>,
}

impl Workdir {
    /// A new directory below the system's temporary one, removed in the end.
    ///
    /// # Errors
    /// When it cannot be made or the guard cannot be started.
    pub fn temporary() -> Result<Arc<Workdir>> {
        let owner = Owner::of_postgres()?;
        let path = new_temporary(owner)?;
        let guard = Guard::start(&path).inspect_err(|_| {
            // Nobody else will.
            let _ = std::fs::remove_dir(&path);
        })?;
        guard.remove_in_the_end(&path);
        Ok(Arc::new(Workdir { path, owner, guard, _lock: None }))
    }

    /// A directory that stays. It is made when missing, and cleared when an earlier stack used it.
    ///
    /// # Errors
    /// When it belongs to something else, or another stack runs in it.
    pub fn at(path: &Path) -> Result<Arc<Workdir>> {
        let owner = Owner::of_postgres()?;
        let made = !path.exists();
        std::fs::create_dir_all(path).map_err(StackError::io(format!("making {}", path.display())))?;
        let path = path.canonicalize().map_err(StackError::io(format!("finding {}", path.display())))?;
        if made {
            allow_passage(&path)?;
        }
        let lock = claim(&path)?;
        let guard = Guard::start(&path)?;
        Ok(Arc::new(Workdir { path, owner, guard, _lock: Some(lock) }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As whom Postgres runs in here.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// A directory named `name` that the Postgres user can reach: in here when the way is open, else a
    /// temporary one elsewhere.
    pub(crate) fn reachable(&self, name: &str) -> Result<PathBuf> {
        if self.owner.is_none_or(|owner| owner.can_reach(&self.path)) {
            return Ok(self.path.join(name));
        }
        let elsewhere = new_temporary(self.owner)?;
        self.guard.remove_in_the_end(&elsewhere);
        Ok(elsewhere.join(name))
    }
}

/// A fresh directory that only we can list; the Postgres user may pass through.
fn new_temporary(owner: Option<Owner>) -> Result<PathBuf> {
    let usual = std::env::temp_dir();
    let places = [usual.as_path(), Path::new("/tmp"), Path::new("/var/tmp")];
    let reachable = |place: &&Path| place.is_dir() && owner.is_none_or(|owner| owner.can_reach(place));
    let place = places.into_iter().find(reachable).unwrap_or(&usual);
    let path = tempfile::Builder::new()
        .prefix("usher-stack-")
        .tempdir_in(place)
        .map_err(StackError::io(format!("making a directory in {}", place.display())))?
        .keep();
    let path = path.canonicalize().map_err(StackError::io(format!("finding {}", path.display())))?;
    allow_passage(&path)?;
    Ok(path)
}

fn allow_passage(path: &Path) -> Result<()> {
    let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(StackError::io(format!("setting the mode of {}", path.display())))
}

fn claim(path: &Path) -> Result<File> {
    let sign = path.join(SIGN);
    let entries: Vec<_> = std::fs::read_dir(path)
        .map_err(StackError::io(format!("listing {}", path.display())))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    if !entries.is_empty() && !sign.exists() {
        return Err(StackError::Unsupported(format!(
            "{} holds files of something else; give an empty or a new directory",
            path.display()
        )));
    }
    let lock = File::create(&sign).map_err(StackError::io(format!("making {}", sign.display())))?;
    if lock.try_lock().is_err() {
        return Err(StackError::Unsupported(format!("another stack runs in {}", path.display())));
    }
    for entry in entries.iter().filter(|entry| **entry != sign) {
        let removed = if entry.is_dir() && !entry.is_symlink() {
            std::fs::remove_dir_all(entry)
        } else {
            std::fs::remove_file(entry)
        };
        removed.map_err(StackError::io(format!("clearing {}", entry.display())))?;
    }
    Ok(lock)
}
