//! A sale in which cards do everything that cards do, and both booking nodes are killed in turn: in the end every seat
//! has its money and every cent its seat. The proofs that the faults bit: the killed nodes are gone, and payments were
//! open at the moment of each kill.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use stack::{Fixture, Pace, Setting, StackOptions, binaries};

use crate::world::World;

/// How long after the last fan everything is settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);

/// One value of the database.
fn look(world: &World, sql: &str) -> i64 {
    let psql = world.stack.postgres().bin().join("psql");
    let output = Command::new(psql).args(["--no-psqlrc", "-tA", "-c", sql, &world.ready().postgres]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

const OPEN: &str = "select count(*) from payment where state in ('created', 'authorized') or refunded < refund_due";

fn kill_and_start_again(world: &World, booking: usize) {
    let begun = Instant::now();
    while look(world, OPEN) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "no payment is ever open");
        std::thread::sleep(Duration::from_millis(20));
    }
    let node = world.stack.booking(booking).node();
    let before = node.pid();
    node.kill9().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    node.spawn().unwrap();
    assert_ne!(node.pid(), before, "the node was killed");
}

#[test]
#[ignore = "long"]
fn every_card_and_two_dead_nodes_leave_a_clean_audit() {
    let pace = Pace { rate_per_min: 6_000.0, burst: 50, max_inside: 2_000 };
    // Short enough that what a card never answers ends within the test.
    let settings = ["payments.provider_timeout_ms=3000", "payments.pending_s=15"];
    let settings = settings.map(|setting| Setting::Booking(setting.to_owned())).to_vec();
    let options =
        StackOptions { gateways: 2, bookings: 2, fixture: Fixture::Demo, pace, settings, ..StackOptions::default() };
    let world = Arc::new(World::start(&options));
    let root = binaries::workspace().unwrap();
    let loadtest = binaries::find("usher-loadtest").unwrap();
    let history = world.ready().dir.join("history.ndjson");
    let mut command = Command::new(&loadtest);
    command.arg("run").arg(root.join("config/scenarios/payments.toml")).arg("--history").arg(&history);
    for gateway in &world.ready().gateway {
        command.args(["--target", gateway]);
    }
    let log = std::fs::File::create(world.ready().dir.join("crowd.log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut crowd = world.stack.companion(command, "crowd").unwrap();
    for booking in [0, 1, 0] {
        std::thread::sleep(Duration::from_secs(12));
        kill_and_start_again(&world, booking);
    }
    let ended = crowd.wait().unwrap();
    // 99: a threshold of speed or errors; what counts here is the audit.
    assert!([Some(0), Some(99)].contains(&ended.code()), "{ended}");

    let begun = Instant::now();
    while look(&world, OPEN) > 0 {
        assert!(begun.elapsed() < SETTLED_WITHIN, "{} payments are still open", look(&world, OPEN));
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut audit = Command::new(&loadtest);
    audit.arg("audit").arg("--history").arg(&history);
    audit.args(["--postgres", &world.ready().postgres, "--psp", &world.ready().psp]);
    let audit = audit.output().unwrap();
    let said = String::from_utf8_lossy(&audit.stdout).into_owned();
    println!("{said}");
    assert!(audit.status.success(), "{said}");
    assert!(look(&world, "select count(*) from booking where state = 'confirmed'") > 100, "the sale went on");
    let tokens = look(&world, "select count(distinct state) from payment");
    assert!(tokens >= 2, "payments went in several ways");
    let taken: Value = serde_json::from_str(&ledger(&world)).unwrap();
    assert!(taken["items"].as_array().unwrap().len() > 150);
}

fn ledger(world: &World) -> String {
    let url = format!("{}/v1/ledger", world.ready().psp);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { world.client.get(url).send().await.unwrap().text().await.unwrap() })
}
