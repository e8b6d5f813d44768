//! The project's own programs: found beside the running one, built when they are not there.
//!
//! Tests run from `target/PROFILE/deps`, programs from `target/PROFILE`: both mean the same profile. Nothing is
//! built from outside the workspace, nor when `STACK_NO_BUILD=1` says that someone already did.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Result, StackError};
use crate::run::run;

/// Set to `1`, nothing is built: the programs are taken as they are.
pub const NO_BUILD: &str = "STACK_NO_BUILD";

/// The directory of this profile's programs, remembered from before any build replaced the running one.
pub(crate) fn directory() -> Result<&'static Path> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(known) = DIRECTORY.get() {
        return Ok(known);
    }
    let exe = std::env::current_exe().map_err(StackError::io("asking for the running program"))?;
    let mut directory = exe.parent().unwrap_or(Path::new("/"));
    if directory.ends_with("deps") {
        directory = directory.parent().unwrap_or(directory);
    }
    Ok(DIRECTORY.get_or_init(|| directory.to_owned()))
}

/// The cargo target directory that the running program stands in, if it does.
pub(crate) fn target_directory() -> Option<&'static Path> {
    directory().ok()?.ancestors().find(|step| step.join("CACHEDIR.TAG").is_file())
}

/// The workspace this program was compiled in, if it is still there.
#[must_use]
pub fn workspace() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    root.join("Cargo.lock").is_file().then(|| root.to_owned())
}

/// The program `name`, when it is there.
///
/// # Errors
/// [`StackError::Missing`] with how to build it.
pub fn find(name: &str) -> Result<PathBuf> {
    let path = directory()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(StackError::Missing {
        what: name.to_owned(),
        hint: format!("not in {}; build it with `cargo build --workspace --bins`", directory()?.display()),
    })
}

/// The program `name`, built first when it is missing.
pub(crate) fn ensure(name: &str) -> Result<PathBuf> {
    if let Ok(path) = find(name) {
        return Ok(path);
    }
    build(&["--bin", name])?;
    find(name)
}

/// Brings all programs up to date, unless [`NO_BUILD`] is set, once per process.
///
/// # Errors
/// With the compiler's last words.
pub fn build_all() -> Result<()> {
    static BUILT: Mutex<bool> = Mutex::new(false);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !*built {
        build(&["--bins"])?;
        *built = true;
    }
    Ok(())
}

fn build(what: &[&str]) -> Result<()> {
    let (Some(root), Some(target)) = (workspace(), target_directory()) else { return Ok(()) };
    if std::env::var_os(NO_BUILD).is_some_and(|value| value == "1") {
        return Ok(());
    }
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--workspace"]).args(what).current_dir(&root);
    command.arg("--target-dir").arg(target);
    match directory()?.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    // Without cargo there is nothing to build with; a program that is missing is named when it is needed.
    let cargo = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|place| place.join("cargo").is_file()));
    if !cargo {
        return Ok(());
    }
    let line: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    eprintln!("stack: cargo {} ({NO_BUILD}=1 skips this)", line.join(" "));
    run(command, "cargo build", "").map(drop)
}
