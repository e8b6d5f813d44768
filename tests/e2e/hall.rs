//! A hall of its own for tests of the hold path: a seated event that no sale guards, several booking nodes spoken to
//! directly, the database asked beside them, and the auditor's verdict at the end.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use stack::{Fixture, Setting, StackOptions, Workdir};

use crate::world::{World, seats_of};

/// Its event; the area `floor` belongs to it.
pub const EVENT: &str = "fire-hall";

const DESCRIPTION: &str = "id = \"fire-hall\"\nname = \"Fire hall\"\ncategory = \"drill\"\nperformers = [\"All\"]\n\
    starts_at = \"2030-01-01T20:00:00Z\"\ncurrency = \"EUR\"\nvenue = \"Hall\"\ncity = \"Porto\"\n\
    plan = \"plan.json\"\nsidecar = \"sidecar.json\"\n";

/// A running hall.
pub struct Hall {
    pub world: Arc<World>,
    pub seats: Arc<Vec<String>>,
}

/// One of our programs, built beside this test.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join(name)
}

impl Hall {
    /// So many seats, two booking nodes, these settings of theirs.
    pub async fn open(seats: usize, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|setting| Setting::Booking((*setting).to_owned())).collect();
        let world = tokio::task::spawn_blocking(move || {
            let folder = Workdir::temporary().unwrap();
            let mut generate = Command::new(program("usher-booking"));
            generate.current_dir(folder.path()).args(["admin", "plan", "generate", "--seats", &seats.to_string()]);
            let done = generate.args(["--out", "plan.json", "--sidecar", "sidecar.json"]).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            let file = folder.path().join("fire-hall.toml");
            std::fs::write(&file, DESCRIPTION).unwrap();
            let fixture = Fixture::File(file);
            World::start(&StackOptions { bookings: 2, fixture, settings, ..StackOptions::default() })
        });
        let world = Arc::new(world.await.unwrap());
        let plan: Value = world.get(&format!("/v1/events/{EVENT}/plan")).send().await.unwrap().json().await.unwrap();
        Self { world, seats: Arc::new(seats_of(&plan)) }
    }

    /// The path of the holds on one of the nodes.
    pub fn holds(&self, node: usize) -> String {
        format!("{}/v1/events/{EVENT}/holds", self.world.ready().booking[node])
    }

    /// What the database says.
    pub fn sql(&self, query: &str) -> String {
        self.world.stack.sql(query).unwrap()
    }

    /// How often Postgres had to break a deadlock.
    pub fn deadlocks(&self) -> String {
        self.sql("select deadlocks from pg_stat_database where datname = current_database()")
    }

    /// The auditor, who shares no code with the nodes, replays every change and finds nothing wrong.
    pub fn audit(&self) {
        let history = PathBuf::from(&self.world.ready().dir).join("history.ndjson");
        let opening = json!({"kind": "run", "version": 1, "event": EVENT, "sale": "none", "scenario": "fire", "seed": 1,
            "started_at": "2026-01-01T00:00:00Z", "targets": [], "burst": 1, "rate_per_min": 1});
        std::fs::write(&history, format!("{opening}\n")).unwrap();
        let mut audit = Command::new(program("usher-loadtest"));
        audit.arg("audit").arg("--history").arg(&history).args(["--postgres", &self.world.ready().postgres]);
        let done = audit.output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    }
}
