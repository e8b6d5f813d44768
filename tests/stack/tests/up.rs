//! `stack up` as a program: it prints where everything is, and nothing is left behind, however it ends.
//!
//! Each test starts a launcher of its own and looks at the processes it named. On Linux the stack's marker in the
//! environment also tells of processes that nobody named.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use stack::{Ready, Signal, identity};

const PATIENCE: Duration = Duration::from_secs(90);

/// A launcher under test; killed, with its stack, when a test fails.
struct Launcher {
    child: Child,
    started: Instant,
}

impl Launcher {
    fn start(arguments: &[&str]) -> Launcher {
        Launcher::spawn(command(arguments).process_group(0))
    }

    fn spawn(command: &mut Command) -> Launcher {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Launcher { child, started: Instant::now() }
    }

    /// The line it prints, and how long that took.
    fn ready(&mut self) -> (Ready, Duration) {
        let mut line = String::new();
        let out = self.child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let took = self.started.elapsed();
        if line.is_empty() {
            panic!("not ready: {}", self.complaint());
        }
        (serde_json::from_str(&line).unwrap(), took)
    }

    fn signal(&self, signal: Signal) {
        stack::kill(self.child.id(), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the launcher did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn complaint(&mut self) -> String {
        let mut said = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The launcher with programs that are up to date: built once for all tests here.
fn command(arguments: &[&str]) -> Command {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| stack::binaries::build_all().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_stack"));
    command.args(["up", "--no-build"]).args(arguments);
    command
}

fn pids(ready: &Ready) -> Vec<u32> {
    let pids = &ready.pids;
    [pids.postgres, pids.psp].iter().chain(&pids.redis).chain(&pids.gateway).chain(&pids.booking).copied().collect()
}

fn all_there(ready: &Ready) {
    for pid in pids(ready) {
        assert!(identity::start_of(pid).is_some(), "{pid} of {:?} is gone", ready.pids);
    }
}

fn nothing_left(ready: &Ready) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut left = pids(ready);
        left.retain(|pid| identity::start_of(*pid).is_some());
        let unnamed = identity::marked(&ready.dir);
        if left.is_empty() && unnamed.is_empty() && !ready.dir.exists() {
            return;
        }
        let there = ready.dir.exists();
        assert!(Instant::now() < deadline, "left: {left:?}, unnamed: {unnamed:?}, directory: {there}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn program_of(pid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

#[test]
fn it_prints_where_everything_is_and_stops_when_told() {
    let mut launcher = Launcher::start(&["--gateways", "2", "--bookings", "2"]);
    let (ready, _) = launcher.ready();
    assert!(ready.ready);
    let counts = [ready.gateway.len(), ready.control.len(), ready.booking.len(), ready.booking_admin.len()];
    assert_eq!(counts, [2; 4]);
    assert_eq!(ready.mail, None);
    assert!(ready.dir.join("postgres.log").is_file(), "logs are in dir");
    all_there(&ready);
    if cfg!(target_os = "linux") {
        let named = |pid: u32, name: &str| assert!(program_of(pid).unwrap().contains(name), "{pid} is no {name}");
        named(ready.pids.postgres, "postgres");
        named(ready.pids.redis[0], "redis-server");
        named(ready.pids.psp, "stack psp");
        ready.pids.gateway.iter().for_each(|pid| named(*pid, "usher-gateway"));
        ready.pids.booking.iter().for_each(|pid| named(*pid, "usher-booking serve"));
    }
    launcher.signal(Signal::TERM);
    assert!(launcher.wait().success());
    nothing_left(&ready);
}

#[test]
fn redis_in_every_layout_is_served_and_goes() {
    for (layout, scheme, servers) in [("sentinel", "redis+sentinel://", 6), ("cluster", "redis+cluster://", 3)] {
        let mut launcher = Launcher::start(&["--redis", layout, "--gateways", "2"]);
        let (ready, took) = launcher.ready();
        eprintln!("{layout} ready after {took:?}");
        assert!(ready.redis.starts_with(scheme), "{}", ready.redis);
        assert_eq!(ready.pids.redis.len(), servers);
        all_there(&ready);
        // The sale was created through the line, so the gateways are on this Redis.
        launcher.signal(if layout == "sentinel" { Signal::TERM } else { Signal::KILL });
        launcher.wait();
        nothing_left(&ready);
    }
}

#[test]
fn the_second_start_is_ready_within_three_seconds() {
    let mut first = Launcher::start(&[]);
    first.ready();
    first.signal(Signal::TERM);
    first.wait();
    // Other tests share the cores, so one of a few must make it.
    let mut took = Vec::new();
    for _ in 0..5 {
        let mut again = Launcher::start(&[]);
        let (ready, time) = again.ready();
        again.signal(Signal::INT);
        assert!(again.wait().success());
        nothing_left(&ready);
        took.push(time);
        if time < Duration::from_secs(3) {
            eprintln!("ready after {took:?}");
            return;
        }
    }
    panic!("no start within 3 s: {took:?}");
}

#[test]
fn killing_the_launcher_leaves_nothing() {
    let mut launcher = Launcher::start(&["--fixture", "empty"]);
    let (ready, _) = launcher.ready();
    all_there(&ready);
    launcher.signal(Signal::KILL);
    launcher.wait();
    nothing_left(&ready);
}

#[test]
fn a_start_that_is_killed_half_way_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    for (moment, signal) in [(50, Signal::KILL), (300, Signal::TERM), (600, Signal::KILL), (900, Signal::INT)] {
        let dir = home.path().join(moment.to_string());
        let mut launcher = Launcher::start(&["--fixture", "empty", "--dir", dir.to_str().unwrap()]);
        std::thread::sleep(Duration::from_millis(moment));
        launcher.signal(signal);
        launcher.wait();
        nobody_marked(&dir);
    }
}

#[test]
fn a_failed_start_says_why_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    for setting in ["gateway.nonsense=1", "booking.nonsense=1"] {
        let dir = home.path().join(setting);
        let mut launcher = Launcher::start(&["--fixture", "empty", "--set", setting, "--dir", dir.to_str().unwrap()]);
        assert_eq!(launcher.wait().code(), Some(1));
        let said = launcher.complaint();
        assert!(said.contains("nonsense") && said.contains("ended before it was ready"), "{said}");
        nobody_marked(&dir);
    }
}

#[test]
fn ctrl_c_on_the_terminal_stops_it_in_good_order() {
    let mut launcher = Launcher::start(&["--fixture", "empty"]);
    let (ready, _) = launcher.ready();
    let group = rustix::process::Pid::from_raw(i32::try_from(launcher.child.id()).unwrap()).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    assert!(launcher.wait().success());
    nothing_left(&ready);
}

#[test]
fn it_ends_with_its_parent_unless_detached() {
    for detached in [false, true] {
        let program = command(&["--fixture", "empty"]);
        let arguments: Vec<_> = program.get_args().map(|one| one.to_str().unwrap()).collect();
        let flag = if detached { "--detached" } else { "" };
        let line = format!("'{}' {} {flag} & wait", env!("CARGO_BIN_EXE_stack"), arguments.join(" "));
        let mut shell = Launcher::spawn(Command::new("sh").args(["-c", &line]).process_group(0));
        let (ready, _) = shell.ready();
        shell.signal(Signal::KILL);
        shell.wait();
        if detached {
            std::thread::sleep(Duration::from_secs(1));
            all_there(&ready);
            let launcher = launcher_of(&ready);
            stack::kill(launcher, Signal::TERM).unwrap();
        }
        nothing_left(&ready);
    }
}

/// The process that started the psp, found as its parent.
fn launcher_of(ready: &Ready) -> u32 {
    let pid = ready.pids.psp.to_string();
    let output = Command::new("ps").args(["-o", "ppid=", "-p", &pid]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn two_at_once_do_not_meet_and_a_directory_is_not_shared() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("one");
    let path = dir.to_str().unwrap();
    let mut one = Launcher::start(&["--fixture", "empty", "--dir", path]);
    let mut two = Launcher::start(&["--fixture", "empty"]);
    let (first, _) = one.ready();
    let (second, _) = two.ready();
    assert_ne!(first.gateway, second.gateway);
    assert_ne!(first.postgres, second.postgres);

    let mut third = Launcher::start(&["--fixture", "empty", "--dir", path]);
    assert_eq!(third.wait().code(), Some(2));
    assert!(third.complaint().contains("another stack runs in"));
    all_there(&first);

    one.signal(Signal::TERM);
    one.wait();
    nobody_marked(&dir);
    assert!(dir.join("postgres.log").is_file(), "a given directory stays");
    all_there(&second);
    let mut again = Launcher::start(&["--fixture", "empty", "--dir", path]);
    again.ready();
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    for (arguments, word) in [
        (["--redis", "nonsense"], "single, sentinel, cluster"),
        (["--gateways", "0"], "between 1 and 16"),
        (["--fixture", "no/such/file"], "neither demo, empty nor a file"),
        (["--set", "nonsense"], "gateway.KEY=VALUE"),
        (["--dir", "/usr"], "holds files of something else"),
    ] {
        let mut launcher = Launcher::start(&arguments);
        assert_eq!(launcher.wait().code(), Some(2), "{arguments:?}");
        let said = launcher.complaint();
        assert!(said.contains(word), "{said}");
    }
}

/// Waits until nothing carries the marker of `dir` (Linux alone can tell).
fn nobody_marked(dir: &Path) {
    let dir: PathBuf = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let deadline = Instant::now() + PATIENCE;
    while !identity::marked(&dir).is_empty() {
        assert!(Instant::now() < deadline, "left: {:?}", identity::marked(&dir));
        std::thread::sleep(Duration::from_millis(10));
    }
}
