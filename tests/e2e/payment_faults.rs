//! A sale in which cards do everything that cards do, and both booking nodes are killed in turn: in the end every seat
//! has its money and every cent its seat. The proofs that the faults bit: the killed nodes are gone, and payments were
//! open at the moment of each kill.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use stack::{Fixture, Pace, Setting, StackOptions, binaries, kills};
use tokio::runtime::{Builder, Runtime};

use crate::world::World;

/// How long after the last fan everything is settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);

/// Which node dies, in turn.
const DEATHS: [usize; 3] = [0, 1, 0];
/// So many further bookings between one death and the next: about eleven seconds of the scenario's twelve fans a second.
const SOLD_BETWEEN: i64 = 120;
/// On a slow machine they take longer.
const SOLD_WITHIN: Duration = Duration::from_secs(60);
const OPENS_WITHIN: Duration = Duration::from_secs(30);
/// How long a killed node stays away: longer than a client tries again, shorter than a hold.
const AWAY: Duration = Duration::from_secs(3);

/// One value of the database.
fn look(world: &World, sql: &str) -> i64 {
    world.stack.sql(sql).unwrap().parse().unwrap()
}

fn confirmed(world: &World) -> i64 {
    look(world, "select count(*) from booking where state = 'confirmed'")
}

/// The sale goes on: so many more are sold than before.
fn wait_for_sales(world: &World) {
    let (begun, before) = (Instant::now(), confirmed(world));
    loop {
        let more = confirmed(world) - before;
        if more >= SOLD_BETWEEN {
            return;
        }
        assert!(begun.elapsed() < SOLD_WITHIN, "{more} more bookings within {SOLD_WITHIN:?}, not {SOLD_BETWEEN}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn kill_and_start_again(world: &World, runtime: &Runtime, booking: usize) {
    let node = world.stack.booking(booking).node();
    let before = node.pid();
    let open = runtime.block_on(kills::kill_at_payment(&world.stack, booking, OPENS_WITHIN)).unwrap();
    assert!(open > 0, "no payment is ever open");
    assert_eq!(node.pid(), None, "the node was killed");
    std::thread::sleep(AWAY);
    node.spawn().unwrap();
    assert_ne!(node.pid(), before, "the node was killed");
    println!("{} died with {open} payments open and {} bookings confirmed", node.name(), confirmed(world));
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
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    for booking in DEATHS {
        wait_for_sales(&world);
        kill_and_start_again(&world, &runtime, booking);
    }
    let ended = crowd.wait().unwrap();
    // 99: a threshold of speed or errors; what counts here is the audit.
    assert!([Some(0), Some(99)].contains(&ended.code()), "{ended}");

    runtime.block_on(kills::settled(&world.stack, SETTLED_WITHIN)).unwrap();
    let mut audit = Command::new(&loadtest);
    audit.arg("audit").arg("--history").arg(&history);
    audit.args(["--postgres", &world.ready().postgres, "--psp", &world.ready().psp]);
    let audit = audit.output().unwrap();
    let said = String::from_utf8_lossy(&audit.stdout).into_owned();
    println!("{said}");
    assert!(audit.status.success(), "{said}");
    assert!(confirmed(&world) > 100, "the sale went on");
    let tokens = look(&world, "select count(distinct state) from payment");
    assert!(tokens >= 2, "payments went in several ways");
    let taken: Value = serde_json::from_str(&runtime.block_on(ledger(&world))).unwrap();
    assert!(taken["items"].as_array().unwrap().len() > 150);
}

async fn ledger(world: &World) -> String {
    let url = format!("{}/v1/ledger", world.ready().psp);
    world.client.get(url).send().await.unwrap().text().await.unwrap()
}
