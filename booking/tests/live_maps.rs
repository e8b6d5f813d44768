//! Goal: what a viewer shows at any version is what the tables were at that version. Method: two nodes on one database,
//! buyers and an organiser who change seats at random, viewers who break off at random, come back to either node, and
//! now and then claim to know a version that nobody knows. Each viewer notes what it shows at each version it comes
//! to; in the end every note is held against a replay of the history, which shares nothing with the feed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::{OPEN, Options, TestApp, Viewer, hold_path, until};

const VIEWERS: u64 = 10;
const BUYERS: u64 = 4;
/// The last version, while it is not known yet.
const GOING_ON: i64 = i64::MAX;

/// What a viewer shows.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    seats: Vec<u8>,
    areas: BTreeMap<String, Value>,
}

/// What happened to a viewer.
#[derive(Debug, Default)]
struct Tally {
    notes: Vec<(i64, Shown)>,
    breaks: u32,
    resumed: u32,
    resets: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_show_what_the_tables_were() {
    play(seed_or(1), 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn viewers_show_what_the_tables_were_for_many_seeds() {
    for seed in 0..12 {
        play(seed_or(seed), 60).await;
    }
}

fn seed_or(seed: u64) -> u64 {
    std::env::var("USHER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(seed)
}

async fn play(seed: u64, rounds: u32) {
    println!("USHER_SEED={seed}");
    let set = vec!["holds.ttl_s=1", "jobs.sweep_every_ms=50", "holds.max_holds_per_visitor=100"];
    let app = Arc::new(TestApp::with(Options { jobs: true, set, ..Options::default() }).await);
    let nodes = [app.url.clone(), app.second_node().await];
    let admin = app.admin().await;
    let end = Arc::new(AtomicI64::new(GOING_ON));
    let mut viewers = Vec::new();
    for number in 0..VIEWERS {
        let (nodes, end) = (nodes.clone(), Arc::clone(&end));
        let viewer = Viewer::new(&reqwest::Client::new(), OPEN);
        viewers.push(tokio::spawn(watch(viewer, nodes, StdRng::seed_from_u64(seed * 1000 + number), end)));
    }
    let buyers = (0..BUYERS).map(|number| {
        let rng = StdRng::seed_from_u64(seed * 1000 + 500 + number);
        buy(&app, &nodes[usize::try_from(number).unwrap() % 2], rng, rounds)
    });
    let organise = organise(&app, &admin, StdRng::seed_from_u64(seed * 1000 + 900), rounds);
    tokio::join!(futures_util::future::join_all(buyers), organise);
    end.store(last_version(&app).await, Ordering::SeqCst);
    let mut tallies = Vec::new();
    for viewer in viewers {
        tallies.push(tokio::time::timeout(Duration::from_secs(20), viewer).await.expect("viewers end").unwrap());
    }
    let truth = replay(&app).await;
    let mut notes = 0;
    for tally in &tallies {
        for (version, shown) in &tally.notes {
            let was = &truth[usize::try_from(*version).unwrap()];
            assert_eq!(shown, was, "version {version}, seed {seed}");
            notes += 1;
        }
    }
    let sum = |of: fn(&Tally) -> u32| tallies.iter().map(of).sum::<u32>();
    let (breaks, resumed, resets) = (sum(|t| t.breaks), sum(|t| t.resumed), sum(|t| t.resets));
    println!("{} versions, {notes} notes, {breaks} breaks, {resumed} resumed, {resets} resets", truth.len() - 1);
    assert!(notes > 50 && breaks > 10 && resumed > 5 && resets > 0, "the test did not bite");
    Arc::into_inner(app).expect("nobody else has it").check().await;
}

/// Looks, breaks off, comes back, until all is over; then sees the end.
async fn watch(mut viewer: Viewer, nodes: [String; 2], mut rng: StdRng, end: Arc<AtomicI64>) -> Tally {
    let mut tally = Tally::default();
    viewer.load(&nodes[0]).await;
    note(&mut tally, &viewer);
    loop {
        let last = end.load(Ordering::SeqCst);
        let node = &nodes[rng.random_range(0..2)];
        // Somebody whose memory is nonsense must be told to start anew.
        let odd = rng.random_bool(0.1).then_some("987654321");
        viewer.follow(node, odd).await;
        let before = viewer.version;
        // The viewer breaks off some time, but not before it has seen the end, once there is one.
        let patience = Duration::from_millis(if last == GOING_ON { rng.random_range(20..900) } else { 10_000 });
        let deadline = tokio::time::Instant::now() + patience;
        while viewer.version < last {
            let Ok(Some(told)) = tokio::time::timeout_at(deadline, viewer.next()).await else { break };
            match told.kind.as_str() {
                "change" if viewer.apply(&told) => note(&mut tally, &viewer),
                "reset" => {
                    tally.resets += 1;
                    viewer.load(node).await;
                    note(&mut tally, &viewer);
                }
                _ => {}
            }
        }
        viewer.leave();
        if last != GOING_ON {
            assert_eq!(viewer.version, last, "the end was not told");
            return tally;
        }
        tally.breaks += 1;
        tally.resumed += u32::from(viewer.version > before);
    }
}

fn note(tally: &mut Tally, viewer: &Viewer) {
    tally.notes.push((viewer.version, Shown { seats: viewer.seats.clone(), areas: viewer.areas.clone() }));
}

/// Holds, releases, lets lapse, and buys, through one node.
async fn buy(app: &TestApp, node: &str, mut rng: StdRng, rounds: u32) {
    for _ in 0..rounds {
        let fan = app.stranger().at(node);
        let row = ["A", "B", "C", "D"][rng.random_range(0..4)];
        let wish = match rng.random_range(0..4) {
            0 => json!({ "areas": [{ "area": "pit", "quantity": rng.random_range(1..4) }] }),
            1 => json!({ "best": { "quantity": rng.random_range(1..4) } }),
            _ => json!({ "seats": [format!("stalls-{row}-{}", rng.random_range(1..11))] }),
        };
        let hold = fan.hold(OPEN, wish).await;
        if hold.status == 201 {
            let hold = hold.json();
            let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap())).at(node);
            match rng.random_range(0..8) {
                0 => {
                    let booking = buyer.book(&hold).await;
                    if booking.status == 201 {
                        buyer.pay(&booking.json(), "tok_ok").await;
                    }
                }
                1..5 => {
                    buyer.delete(&hold_path(&hold)).await;
                }
                // Left to lapse.
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..80))).await;
    }
}

/// Blocks and frees seats, adds places, changes prices.
async fn organise(app: &TestApp, admin: &str, mut rng: StdRng, rounds: u32) {
    let organiser = app.with_authorization("Bearer organiser".to_owned()).at(admin);
    for round in 0..rounds {
        let seats = json!({ "seats": [format!("stalls-A-{}", rng.random_range(1..9))] });
        let path = |rest: &str| format!("/v1/organiser/events/{OPEN}/{rest}");
        match round % 6 {
            0 => drop(organiser.post(&path("areas/pit/capacity"), json!({ "add": 1 })).await.expect(200)),
            1 | 2 => drop(organiser.post(&path("seats/unblock"), seats).await.expect(200)),
            _ => drop(organiser.post(&path("seats/block"), seats).await),
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..80))).await;
    }
}

/// The version when no hold is left that could lapse.
async fn last_version(app: &TestApp) -> i64 {
    until("all holds are over", || async {
        let query = "select version from event_version v where event_id = $1
                     and not exists (select from hold h where h.event_id = v.event_id and h.state = 'active')";
        sqlx::query_scalar(query).bind(OPEN).fetch_optional(app.db()).await.unwrap()
    })
    .await
}

/// What the tables were at each version, from the history.
async fn replay(app: &TestApp) -> Vec<Shown> {
    let query = "select state, seats, areas from seat_event where event_id = $1 order by version";
    let rows: Vec<(i16, Vec<i32>, Value)> = sqlx::query_as(query).bind(OPEN).fetch_all(app.db()).await.unwrap();
    let pit = json!({ "area": "pit", "capacity": 40, "held": 0, "sold": 0 });
    let mut now = Shown { seats: vec![0; 62], areas: BTreeMap::from([("pit".to_owned(), pit)]) };
    let mut all = vec![now.clone()];
    for (state, seats, areas) in rows {
        for seat_no in seats {
            now.seats[usize::try_from(seat_no).unwrap()] = u8::try_from(state).unwrap();
        }
        for area in areas.as_array().unwrap() {
            let name = area["area"].as_str().unwrap().to_owned();
            let stock =
                json!({ "area": name, "capacity": area["capacity"], "held": area["held"], "sold": area["sold"] });
            now.areas.insert(name, stock);
        }
        all.push(now.clone());
    }
    all
}
