//! Every scenario that ships can be run: it is read as a run would read it.

use std::path::Path;

use loadtest::arrivals::Arrivals;
use loadtest::scenario::Scenario;

fn config() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../config"))
}

#[test]
fn every_shipped_scenario_is_usable() {
    let mut files: Vec<_> = std::fs::read_dir(config().join("scenarios"))
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.push(config().join("demo/crowd.toml"));
    assert!(files.len() >= 5);
    for file in files {
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        let fans = Arrivals::new(&scenario.arrivals, scenario.seed, 1_000).count();
        assert!(fans > 100, "{}: {fans} fans", file.display());
    }
}

#[test]
fn the_demo_has_its_crowd_and_then_a_trickle() {
    let scenario = Scenario::read(&config().join("demo/crowd.toml")).expect("usable");
    let moments: Vec<u64> = Arrivals::new(&scenario.arrivals, scenario.seed, 200_000).collect();
    let by = |s: u64| moments.iter().filter(|at| **at < s * 1_000_000).count();
    assert!((3_500..4_500).contains(&by(122)), "{}", by(122));
    assert!((250..450).contains(&(by(182) - by(122))), "a trickle goes on: {}", by(182) - by(122));
}
