//! The two private servers alone: they come up, serve, can be killed and started again, and leave
//! nothing behind, however their owner ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::time::{Duration, Instant};

use stack::postgres::{Postgres, PostgresOptions};
use stack::redis::{Redis, RedisOptions};

fn psql(postgres: &Postgres, url: &str, sql: &str) -> String {
    let output = std::process::Command::new(postgres.bin().join("psql")).args([url, "-tAc", sql]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn postgres_serves_survives_a_kill_and_goes() {
    let postgres = Postgres::start(&PostgresOptions::default()).unwrap();
    let pid = postgres.node().pid().unwrap();
    psql(&postgres, &postgres.url(), "create table t as select 7 as a");
    let copy = postgres.create_database("copy", Some("usher")).unwrap();
    assert_eq!(psql(&postgres, &copy, "select a from t"), "7");
    assert_eq!(psql(&postgres, &copy, "show fsync"), "on");

    postgres.node().kill9().unwrap();
    assert_eq!(postgres.node().pid(), None);
    let again = postgres.up().unwrap();
    assert_ne!(again, pid);
    assert_eq!(psql(&postgres, &copy, "select a from t"), "7");

    let start = Instant::now();
    let directory = postgres.node().log().parent().unwrap().to_owned();
    drop(postgres);
    assert_eq!(stack::identity::start_of(again), None);
    assert!(!directory.exists(), "{} stayed", directory.display());
    assert!(start.elapsed() < Duration::from_secs(5), "stopping took {:?}", start.elapsed());
}

#[test]
fn redis_serves_on_port_and_socket_and_goes() {
    for options in [RedisOptions::default(), RedisOptions::on_socket()] {
        let redis = Redis::start(&options).unwrap();
        let pid = redis.node().pid().unwrap();
        redis.node().kill9().unwrap();
        let again = redis.up().unwrap();
        assert_ne!(pid, again);
        assert!(redis.url().starts_with("redis"), "{}", redis.url());
        drop(redis);
        assert_eq!(stack::identity::start_of(again), None);
    }
}

#[test]
fn a_setting_nobody_knows_fails_with_the_servers_own_words() {
    let settings = vec![("nonsense".to_owned(), "1".to_owned())];
    let problem = Redis::start(&RedisOptions { settings, ..RedisOptions::default() }).unwrap_err();
    assert!(problem.to_string().contains("nonsense"), "{problem}");
}

/// Not a test of its own: the owner that the next one kills.
#[test]
fn an_owner_to_be_killed() {
    let Some(report) = std::env::var_os("STACK_TEST_REPORT") else { return };
    let postgres = Postgres::start(&PostgresOptions::default()).unwrap();
    let redis = Redis::start(&RedisOptions::on_socket()).unwrap();
    let pids = [postgres.node().pid().unwrap(), redis.node().pid().unwrap()];
    let dir = postgres.node().log().parent().unwrap().display().to_string();
    let unfinished = std::path::Path::new(&report).with_extension("unfinished");
    std::fs::write(&unfinished, format!("{} {} {dir}", pids[0], pids[1])).unwrap();
    std::fs::rename(unfinished, report).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn killing_the_owner_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("report");
    let mut owner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_owner_to_be_killed", "--nocapture"])
        .env("STACK_TEST_REPORT", &report)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let within = |what: &str| {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    };
    while !report.exists() {
        assert!(owner.try_wait().unwrap().is_none(), "the owner ended by itself");
        within("the owner did not report");
    }
    let said = std::fs::read_to_string(&report).unwrap();
    let (pids, dir) = said.rsplit_once(' ').unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| stack::identity::start_of(*pid).is_some()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    while pids.iter().any(|pid| stack::identity::start_of(*pid).is_some()) || std::path::Path::new(dir).exists() {
        within("something was left");
    }
}
