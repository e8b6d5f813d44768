//! The program itself, from the command line to the exit code, against a fake that can misbehave.

mod fake;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fake::Fake;
use loadtest::history::{Kind, Record, Verdict};
use tempfile::TempDir;

const QUICK: &str = "
name = 'quick'
run_s = 20
drain_s = 5
[target]
event = 'arena'
sale = 'demo'
[[arrivals]]
shape = 'constant'
per_s = 60
for_s = 2
[behaviour]
quantity = { 1 = 1 }
payment = { tok_ok = 9, tok_declined = 1 }
leaves = 0.05
abandons = 0.05
releases = 0.05
[delays]
look_s = [0, 0.1]
choose_s = [0, 0.1]
details_s = [0, 0.1]
pay_s = [0, 0.1]
[limits]
backoff_s = 0.3
";

struct Run {
    output: Output,
    dir: TempDir,
}

impl Run {
    fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn summary(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.dir.path().join("run.json")).expect("the summary is there");
        serde_json::from_str(&text).expect("JSON")
    }

    fn history(&self) -> Vec<Record> {
        let text = std::fs::read_to_string(self.dir.path().join("run.ndjson")).expect("the history is there");
        text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
    }
}

fn command(dir: &TempDir, scenario: &str, target: &str) -> Command {
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    std::fs::write(path("scenario.toml"), scenario).expect("writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher-loadtest"));
    command.arg("run").arg(path("scenario.toml")).args(["--target", target]);
    command.arg("--history").arg(path("run.ndjson"));
    command.arg("--json").arg(path("run.json")).arg("--report").arg(path("run.html"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program against a fake while this test's runtime serves the fake.
async fn run(scenario: &str, arguments: &[&str], fake: Arc<Fake>) -> Run {
    let target = format!("http://{}", fake::start(fake).await);
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = command(&dir, scenario, &target);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joins").expect("runs");
    Run { output, dir }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_run_is_0_and_leaves_its_files() {
    let run = run(QUICK, &["--seed", "5"], Arc::default()).await;
    assert_eq!(run.code(), Some(0), "{}{}", run.stdout(), String::from_utf8_lossy(&run.output.stderr));
    let summary = run.summary();
    let count = |pointer: &str| summary.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(0);
    assert!(count("/fans/arrived") > 80);
    assert!(count("/sold/bookings") > 50, "{summary}");
    assert_eq!(count("/sold/bookings"), count("/sold/seats"));
    assert_eq!(summary["seed"], 5);
    let page = std::fs::read_to_string(run.dir.path().join("run.html")).expect("the page is there");
    assert!(page.contains("<svg") && !page.contains("http-equiv") && !page.contains("src="));
    let history = run.history();
    assert_eq!(history.first().and_then(|line| line.kind), Some(Kind::Run));
    assert_eq!(history.last().and_then(|line| line.kind), Some(Kind::End));
    let operations = history.len() as u64 - 2;
    let counted: u64 =
        summary["operations"].as_array().expect("a list").iter().filter_map(|op| op["count"].as_u64()).sum();
    assert_eq!(operations, counted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_are_asked_again_with_the_same_key() {
    let fake = Arc::new(Fake::default());
    fake.shaky.store(true, Ordering::Relaxed);
    let run = run(QUICK, &[], fake.clone()).await;
    assert_eq!(run.code(), Some(0), "{}", run.stdout());
    assert!(fake.replayed.load(Ordering::Relaxed) > 10);
    let unknown = run.history().iter().filter(|record| record.result == Verdict::Unknown).count();
    assert!(unknown > 10, "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_given_to_two_is_98() {
    let fake = Arc::new(Fake::default());
    fake.generous.store(true, Ordering::Relaxed);
    let run = run(QUICK, &[], fake).await;
    assert_eq!(run.code(), Some(98));
    assert!(run.stdout().contains("BROKEN   seat 7"), "{}", run.stdout());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missed_threshold_is_99() {
    let run =
        run(&format!("{QUICK}[thresholds]\nconfirmed_min = 100000\nhold_p99_ms = 60000\n"), &[], Arc::default()).await;
    assert_eq!(run.code(), Some(99));
    assert!(run.stdout().contains("MISSED   confirmed_min"), "{}", run.stdout());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_by_time_is_0_and_in_time() {
    let fake = Arc::new(Fake::default());
    fake.stuck.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let run = run(QUICK, &["--for", "1.5"], fake).await;
    assert_eq!(run.code(), Some(0), "{}", run.stdout());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let waiting = run.summary().pointer("/fans/outcomes/still_waiting").and_then(serde_json::Value::as_u64);
    assert!(waiting.is_some_and(|waiting| waiting > 50), "{waiting:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_is_105_with_a_summary() {
    let fake = Arc::new(Fake::default());
    fake.stuck.store(true, Ordering::Relaxed);
    let target = format!("http://{}", fake::start(fake).await);
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = command(&dir, QUICK, &target).spawn().expect("starts");
    let history = dir.path().join("run.ndjson");
    let until = Instant::now() + Duration::from_secs(10);
    while !std::fs::read_to_string(&history).is_ok_and(|text| text.contains("\"kind\":\"poll\"")) {
        assert!(Instant::now() < until, "the run never began");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stack::kill(child.id(), stack::Signal::INT).expect("the signal is sent");
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("joins").expect("ends");
    assert_eq!(status.code(), Some(105));
    let text = std::fs::read_to_string(history).expect("readable");
    assert!(text.lines().last().is_some_and(|line| line.contains("\"aborted\":true")), "{:?}", text.lines().last());
    assert!(dir.path().join("run.json").exists());
}

#[test]
fn what_cannot_be_used_is_104() {
    let dir = tempfile::tempdir().expect("a directory");
    for (scenario, target, said) in [
        ("name = 3\n", "http://127.0.0.1:1", "line 1"),
        (&*format!("{QUICK}[thresholds]\nhold_speed = 1\n"), "http://127.0.0.1:1", "/thresholds/hold_speed"),
        (QUICK, "gopher://x", "gopher://x"),
    ] {
        let output = command(&dir, scenario, target).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(104), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    let unknown = Command::new(env!("CARGO_BIN_EXE_usher-loadtest")).arg("dance").output().expect("runs");
    assert_eq!(unknown.status.code(), Some(104));
}
