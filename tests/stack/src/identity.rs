//! Tells whether a pid is still the process it was.
//!
//! A pid is recycled, a pid with its start time is not. A zombie counts as gone: it holds nothing and
//! cannot be stopped again.

use std::path::Path;

/// The environment variable that every process of a stack carries; its value is the stack's directory.
pub const MARKER: &str = "USHER_STACK_DIR";

/// When `pid` was started, as text to compare; `None` when no such process lives.
#[must_use]
pub fn start_of(pid: u32) -> Option<String> {
    if Path::new("/proc/self/stat").exists() { start_in_proc(pid) } else { start_by_ps(pid) }
}

fn start_in_proc(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything, so count from the last one:
    // state is the first field behind it, the start time the twentieth.
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

fn start_by_ps(pid: u32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (state, start) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| start.trim().to_owned())
}

/// All living processes that carry the marker of `dir` (Linux; elsewhere none are found), as pid and start.
#[must_use]
pub fn marked(dir: &Path) -> Vec<(u32, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let wanted = format!("{MARKER}={}", dir.display());
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|b| *b == 0).any(|one| one == wanted.as_bytes()))
        })
        .filter_map(|pid| Some((pid, start_of(pid)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_living_process_keeps_its_identity_and_a_dead_one_has_none() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let start = start_of(child.id());
        assert!(start.is_some());
        assert_eq!(start_of(child.id()), start);
        child.kill().unwrap();
        // Dead but not yet waited for: a zombie.
        while start_of(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(start_of(child.id()), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_marked_process_is_found_by_its_directory_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("30").env(MARKER, dir.path()).spawn().unwrap();
        let found: Vec<u32> = marked(dir.path()).into_iter().map(|(pid, _)| pid).collect();
        assert_eq!(found, [child.id()]);
        assert!(marked(&dir.path().join("other")).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
