//! Under which user Postgres runs, since it refuses to run as root.
//!
//! An ordinary user runs it as themselves. Root drops to `postgres`, else to `nobody`; every directory on
//! the way to the data must then let that user through.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::error::{Result, StackError};

/// A user to drop to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Whom Postgres must run as; `None` when that is who we are.
    pub(crate) fn of_postgres() -> Result<Option<Owner>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd")
            .map_err(StackError::io("reading /etc/passwd for a user to run Postgres as"))?;
        ["postgres", "_postgres", "nobody"].iter().find_map(|name| in_passwd(&passwd, name)).map(Some).ok_or_else(
            || StackError::Missing {
                what: "a user to run Postgres as".to_owned(),
                hint: "root cannot run it, and neither `postgres` nor `nobody` exists".to_owned(),
            },
        )
    }

    /// Gives one file or directory to this user.
    pub(crate) fn take(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .map_err(StackError::io(format!("giving {} to the Postgres user", path.display())))
    }

    /// Whether this user can reach `directory` through all of its ancestors.
    pub(crate) fn can_reach(self, directory: &Path) -> bool {
        directory.ancestors().all(|step| {
            let Ok(meta) = std::fs::metadata(step) else { return step.as_os_str().is_empty() };
            let mode = meta.permissions().mode();
            let bit = if meta.uid() == self.uid {
                0o100
            } else if meta.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            mode & bit != 0
        })
    }
}

fn in_passwd(passwd: &str, name: &str) -> Option<Owner> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Owner { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_from_its_passwd_line_only() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/sh\n";
        assert_eq!(in_passwd(passwd, "postgres"), Some(Owner { uid: 101, gid: 104 }));
        assert_eq!(in_passwd(passwd, "post"), None);
    }

    #[test]
    fn a_closed_ancestor_is_noticed() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let stranger = Owner { uid: 64_000, gid: 64_000 };
        set(&inner, 0o755);
        set(outer.path(), 0o700);
        assert!(!stranger.can_reach(&inner));
        set(outer.path(), 0o711);
        assert!(stranger.can_reach(&inner));
    }
}
