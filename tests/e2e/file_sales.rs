//! Sales that stand in files: a change acts on every gateway, a bad file on none, and what an organiser changed stands
//! until the file changes again, also after a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use stack::redis::Redis;
use stack::{Fixture, Setting, StackOptions};

use crate::world::{World, wait_for};

/// A change of a file acts on every gateway within this time.
const ACTS_WITHIN: Duration = Duration::from_secs(2);

struct Files {
    world: Arc<World>,
    dir: PathBuf,
}

impl Files {
    fn write(&self, name: &str, text: &str) {
        write(&self.dir, name, text);
    }

    async fn document(&self, gateway: usize) -> Value {
        self.world.control(gateway, Method::GET, "/control/sales/gala").send().await.unwrap().json().await.unwrap()
    }

    async fn until_rate(&self, rate: f64) -> Duration {
        let since = Instant::now();
        for gateway in 0..2 {
            wait_for("the rate acts", || async { self.document(gateway).await["rate_per_min"] == rate }).await;
        }
        since.elapsed()
    }
}

fn write(dir: &Path, name: &str, text: &str) {
    // As editors and deployments do: whole, under its name at once.
    let draft = dir.join(format!(".{name}.draft"));
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, dir.join(name)).unwrap();
}

fn file(rate: f64) -> String {
    format!("rate_per_min = {rate:?}\nmax_inside = 50\nstate = \"open\"\n[[paths]]\npath = \"/e2e/gala\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_acts_once_and_an_organisers_change_stands_until_it_changes_again() {
    let dir = std::env::temp_dir().join(format!("usher-e2e-sales-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    write(&dir, "gala.toml", &file(90.0));
    let settings = vec![Setting::Gateway(format!("sales_dir=\"{}\"", dir.display()))];
    let options = StackOptions { gateways: 2, fixture: Fixture::Empty, settings, ..StackOptions::default() };
    let world = tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap();
    let files = Files { world: Arc::new(world), dir };

    // Read at the start, by two gateways, once.
    files.until_rate(90.0).await;
    assert_eq!(files.document(0).await["version"], 1);
    let guarded = files.world.get("/e2e/gala").send().await.unwrap();
    assert_ne!(guarded.status(), 503, "{guarded:?}");

    // A change acts on both gateways at once, and again once.
    files.write("gala.toml", &file(120.0));
    let took = files.until_rate(120.0).await;
    assert!(took < ACTS_WITHIN, "the change took {took:?}");
    assert_eq!(files.document(1).await["version"], 2);

    // A bad file changes nothing, and every gateway says what is wrong with it.
    files.write("gala.toml", &file(-1.0));
    files.write("ball.toml", "rate_per_min = 'many'\n");
    for gateway in 0..2 {
        wait_for("the fault is told", || async { files.document(gateway).await["file_fault"].is_string() }).await;
        let document = files.document(gateway).await;
        assert!(document["file_fault"].as_str().unwrap().starts_with("/rate_per_min: must be from"), "{document}");
        assert_eq!((&document["rate_per_min"], &document["version"]), (&json!(120.0), &json!(2)));
        let all: Value =
            files.world.control(gateway, Method::GET, "/control/sales").send().await.unwrap().json().await.unwrap();
        assert_eq!(all["file_faults"][0]["file"], "ball.toml", "{all}");
        assert!(all["file_faults"][0]["fault"].as_str().unwrap().starts_with("/rate_per_min: invalid type"), "{all}");
    }

    // An organiser's change stands, also when the file that acted last comes back and a gateway starts again.
    let settings = json!({"rate_per_min": 200, "max_inside": 50, "paths": [{"path": "/e2e/gala"}]});
    let put = files.world.control(0, Method::PUT, "/control/sales/gala").json(&settings).send().await.unwrap();
    assert_eq!(put.status(), 200);
    let forged = json!({"rate_per_min": 200, "max_inside": 50, "file_digest": "x"});
    let put = files.world.control(0, Method::PUT, "/control/sales/gala").json(&forged).send().await.unwrap();
    assert_eq!(put.status(), 400, "the digest is not the organiser's");
    files.write("gala.toml", &file(120.0));
    wait_for("the file is good again", || async { files.document(0).await["file_fault"].is_null() }).await;
    files.world.stack.gateway(0).node().kill9().unwrap();
    let again = files.world.clone();
    tokio::task::spawn_blocking(move || again.stack.gateway(0).up()).await.unwrap().unwrap();
    let document = files.document(0).await;
    assert_eq!((&document["rate_per_min"], &document["version"]), (&json!(200.0), &json!(3)), "{document}");

    // Until the file changes; and one that is gone leaves the sale as it is.
    files.write("gala.toml", &file(150.0));
    files.until_rate(150.0).await;
    std::fs::remove_file(files.dir.join("gala.toml")).unwrap();
    files.write("ball.toml", "rate_per_min = 1\nmax_inside = 1\n");
    wait_for("the other file acts", || async {
        files.world.control(1, Method::GET, "/control/sales/ball").send().await.unwrap().status() == 200
    })
    .await;
    assert_eq!(files.document(1).await["rate_per_min"], 150.0);
    std::fs::remove_dir_all(&files.dir).unwrap();
}

/// Empties Redis, which proves that it is empty, and begins to count what it is asked.
fn empty(redis: &Redis) {
    for command in [&["FLUSHALL"][..], &["CONFIG", "RESETSTAT"]] {
        assert_eq!(redis.command(command).unwrap(), ["OK"]);
    }
    assert_eq!(redis.command(&["DBSIZE"]).unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_undoes_nothing_when_redis_forgets_its_sale() {
    let dir = std::env::temp_dir().join(format!("usher-e2e-forgotten-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    write(&dir, "gala.toml", &file(1_200.0));
    let settings = vec![Setting::Gateway(format!("sales_dir=\"{}\"", dir.display()))];
    let options = StackOptions { gateways: 2, fixture: Fixture::Empty, settings, ..StackOptions::default() };
    let world = tokio::task::spawn_blocking(move || World::start(&options)).await.unwrap();
    let files = Files { world: Arc::new(world), dir };
    let world = &files.world;
    files.until_rate(1_200.0).await;
    let settings = json!({"rate_per_min": 2_400, "max_inside": 50, "paths": [{"path": "/e2e/gala"}]});
    let put = world.control(0, Method::PUT, "/control/sales/gala").json(&settings).send().await.unwrap();
    assert_eq!(put.status(), 200);
    files.until_rate(2_400.0).await;

    // A gateway that starts after the loss knows the file alone; the other one, which it does not hear of at first, knows
    // what the organiser changed.
    world.stack.gateway(1).node().kill9().unwrap();
    world.stack.gateway(0).node().pause().unwrap();
    let redis = &world.stack.redis().servers()[0];
    empty(redis);
    let starting = world.clone();
    let starting = tokio::task::spawn_blocking(move || starting.stack.gateway(1).up());
    wait_for("the new gateway has found nothing", || async {
        redis.command(&["INFO", "commandstats"]).unwrap().iter().any(|line| line.contains("cmdstat_fcall:"))
    })
    .await;
    world.stack.gateway(0).node().resume().unwrap();
    starting.await.unwrap().unwrap();
    files.until_rate(2_400.0).await;
    assert_eq!(files.document(1).await["version"], 2, "brought back, not made anew");

    // Nobody else is there: the sale comes from its file, and nobody can say whom it had called.
    for gateway in 0..2 {
        world.stack.gateway(gateway).node().kill9().unwrap();
    }
    empty(redis);
    let again = world.clone();
    tokio::task::spawn_blocking(move || again.stack.gateway(0).up()).await.unwrap().unwrap();
    wait_for("the sale is there", || async { files.document(0).await["version"] == 1 }).await;
    assert_eq!(files.document(0).await["sale_state"], "regrouping");
    let joined = world.join("gala").await;
    assert_eq!(joined["state"], "waiting", "{joined}");
    world.until_inside(0, "gala", joined["place"].as_str().unwrap()).await;
    std::fs::remove_dir_all(&files.dir).unwrap();
}
