//! A booking node in the test's own process, with everything it needs.

mod audit;
mod documented;
mod fan;
pub(crate) mod localstripe;
pub(crate) mod oracle;
mod provider;
mod viewer;
mod wire;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::routing::get;
use axum::serve::ListenerExt;
use booking::app::deliver_announcements::Consumer;
use booking::app::import_event::import_event;
use booking::config::Config;
use booking::payments::PaymentProvider;
use booking::services::Services;
use booking::{http, jobs, storage};
use queue_token::{Keyring, KeyringFile, Pass, PassId, VisitorId};
use serde_json::Value;
use sqlx::PgPool;
use stack::postgres::Postgres;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use documented::Undocumented;
pub(crate) use fan::{Answer, Fan, hold_path, path_of, payment};
pub(crate) use provider::{Faults, FaultyProvider};
pub(crate) use viewer::{Told, Viewer};
pub(crate) use wire::Wire;

/// A seated event guarded by the sale `demo`: 62 seats, and the area `pit` of 40.
pub(crate) const GUARDED: &str = "theatre";
/// The same hall, guarded by nothing.
pub(crate) const OPEN: &str = "open-theatre";
/// General admission only: the area `club` of 50, guarded by nothing.
pub(crate) const CLUB: &str = "club";

/// One Postgres for the whole test run, with a migrated database to clone. It ends with this process.
fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let settings = [("fsync", "off"), ("max_connections", "400")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let server = Postgres::start(&stack::postgres::PostgresOptions { settings }).unwrap();
        let url = server.create_database("template_booking", None).unwrap();
        let prepare = async {
            let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
            storage::MIGRATIONS.run(&pool).await.unwrap();
            for event in [GUARDED, OPEN, CLUB] {
                import(&pool, event).await;
            }
            pool.close().await;
        };
        std::thread::scope(|scope| {
            let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(prepare);
            scope.spawn(run).join().unwrap();
        });
        server
    })
}

/// The database's own client.
pub(crate) fn psql() -> std::path::PathBuf {
    postgres().bin().join("psql")
}

/// Puts a test event on sale, as [`description`] has it.
pub(crate) async fn import(pool: &PgPool, event: &str) {
    let folder = TempDir::new().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo");
    for name in ["small-theatre.json", "small-theatre.sidecar.json"] {
        std::fs::copy(demo.join(name), folder.path().join(name)).unwrap();
    }
    let file = folder.path().join("event.toml");
    std::fs::write(&file, description(event)).unwrap();
    import_event(pool, &file).await.unwrap();
}

/// The description of a test event.
pub(crate) fn description(event: &str) -> String {
    let head = format!(
        "id = \"{event}\"\nname = \"The {event}\"\ncategory = \"drama\"\nperformers = [\"Troupe {event}\"]\n\
         starts_at = \"2030-01-01T20:00:00Z\"\ncurrency = \"EUR\"\nvenue = \"Hall {event}\"\ncity = \"Porto\"\n"
    );
    let seated = "plan = \"small-theatre.json\"\nsidecar = \"small-theatre.sidecar.json\"\n";
    let pricing = "[pricing]\nfee = 150\ntax_bp = 600\n";
    match event {
        GUARDED => format!("{head}sale = \"demo\"\n{seated}{pricing}"),
        CLUB => format!(
            "{head}{pricing}[[areas]]\narea = \"club\"\nname = \"Club\"\ncapacity = 50\n\
             price = {{ amount = 2200, currency = \"EUR\" }}\n"
        ),
        _ => format!("{head}{seated}{pricing}"),
    }
}

/// A booking node with its surroundings; everything ends with it.
pub(crate) struct TestApp {
    pub(crate) services: Services,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) psp: String,
    database: String,
    keyring: Arc<Keyring>,
    stop: CancellationToken,
    jobs: TaskTracker,
    undocumented: Undocumented,
    folder: TempDir,
}

/// What differs between tests.
#[derive(Default)]
pub(crate) struct Options {
    /// Lines for `--set`.
    pub(crate) set: Vec<&'static str>,
    /// Misbehaviour of the provider.
    pub(crate) faults: Option<Arc<Faults>>,
    /// Whether the jobs run.
    pub(crate) jobs: bool,
    /// What lies between the node and its database.
    pub(crate) wire: Option<Arc<Wire>>,
    /// Who learns of bookings.
    pub(crate) consumer: Option<Arc<dyn Consumer>>,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with(Options { jobs: true, ..Options::default() }).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = TempDir::new().unwrap();
        let stop = CancellationToken::new();
        let keyring = Arc::new(new_keyring());
        let keys = serve_keys(&keyring, &stop).await;
        let psp = serve_psp(folder.path(), &stop).await;
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let database =
            tokio::task::spawn_blocking(move || postgres().create_database(&name, Some("template_booking")).unwrap());
        let database = database.await.unwrap();
        let reached = match &options.wire {
            Some(wire) => wire.lay(&database).await,
            None => database.clone(),
        };
        let config = config(folder.path(), &reached, &psp, &keys, &options);
        let services = services(config, &options);
        let (jobs, undocumented) = (TaskTracker::new(), Undocumented::default());
        let url = listen(undocumented.listen(http::public(services.clone())), &stop).await;
        if options.jobs {
            jobs::start(&services, &jobs, &stop);
        }
        booking::feed::start_bell(&services, &jobs, &stop).unwrap();
        let client = reqwest::Client::new();
        Self { services, url, client, psp, database, keyring, stop, jobs, undocumented, folder }
    }

    /// A second node on the same database: its URL.
    pub(crate) async fn second_node(&self) -> String {
        let services = Services::new(self.services.config.clone()).unwrap();
        booking::feed::start_bell(&services, &self.jobs, &self.stop).unwrap();
        listen(self.undocumented.listen(http::public(services)), &self.stop).await
    }

    /// The operators' port: its URL.
    pub(crate) async fn admin(&self) -> String {
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
        listen(http::admin(self.services.clone(), metrics), &self.stop).await
    }

    /// The URL of the node's database, past the wire.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Connections of the test's own, past the wire.
    pub(crate) async fn beside(&self) -> PgPool {
        PgPool::connect(&self.database).await.unwrap()
    }

    /// The configuration of nodes that run as processes of their own.
    pub(crate) fn config_file(&self) -> std::path::PathBuf {
        self.folder.path().join("booking.toml")
    }

    pub(crate) fn db(&self) -> &PgPool {
        &self.services.db
    }

    /// Takes a connection away from the node as soon as nobody has it, however short it waits for one itself.
    pub(crate) async fn take_connection(&self) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
        until("a connection is free", || async { self.db().acquire().await.ok() }).await
    }

    /// A fan with a live pass of the sale `demo`.
    pub(crate) fn fan(&self) -> Fan<'_> {
        let visitor = VisitorId::from_bytes(rand::random());
        Fan { app: self, authorization: Some(format!("Pass {}", self.pass("demo", visitor, 600))), node: None }
    }

    /// Somebody without any token.
    pub(crate) fn stranger(&self) -> Fan<'_> {
        Fan { app: self, authorization: None, node: None }
    }

    /// Somebody with this `Authorization`.
    pub(crate) fn with_authorization(&self, value: String) -> Fan<'_> {
        Fan { app: self, authorization: Some(value), node: None }
    }

    pub(crate) fn pass(&self, sale: &str, visitor: VisitorId, life_s: i64) -> String {
        let now = jiff::Timestamp::now().as_second();
        let pass = Pass {
            sale: sale.parse().unwrap(),
            visitor,
            id: PassId::from_bytes(rand::random()),
            issued_at_s: u64::try_from(now - 100).unwrap(),
            expires_at_s: u64::try_from(now + life_s).unwrap(),
        };
        self.keyring.sign_pass(&pass, u64::try_from(now).unwrap()).unwrap()
    }

    /// What the provider has in its books.
    pub(crate) async fn ledger(&self) -> Vec<Value> {
        let ledger: Value =
            self.client.get(format!("{}/v1/ledger", self.psp)).send().await.unwrap().json().await.unwrap();
        ledger["items"].as_array().unwrap().clone()
    }

    /// Checks the invariants of the tables, then ends the node.
    pub(crate) async fn check(self) {
        // The node's own connections may have been cut.
        let direct = self.beside().await;
        audit::check(&direct).await;
        direct.close().await;
        self.undocumented.check();
        self.stop.cancel();
        self.jobs.close();
        let ended = async {
            self.jobs.wait().await;
            self.services.close().await;
        };
        // What hangs on a wire that is mute ends with the process.
        let _ = tokio::time::timeout(Duration::from_secs(15), ended).await;
    }
}

fn new_keyring() -> Keyring {
    let now_s = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let mut entropy = [0u8; 64];
    entropy[..32].copy_from_slice(&rand::random::<[u8; 32]>());
    entropy[32..].copy_from_slice(&rand::random::<[u8; 32]>());
    Keyring::new(&KeyringFile::generate(now_s, &entropy), now_s).unwrap()
}

async fn serve_keys(keyring: &Keyring, stop: &CancellationToken) -> String {
    let jwks = keyring.jwks_json(u64::try_from(jiff::Timestamp::now().as_second()).unwrap());
    let routes = axum::Router::new().route("/keys", get(move || async move { jwks }));
    format!("{}/keys", listen(routes, stop).await)
}

async fn listen(routes: axum::Router, stop: &CancellationToken) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        tokio::select! {
            served = axum::serve(listener, routes) => served.unwrap(),
            () = stopped => {}
        }
    });
    url
}

async fn serve_psp(folder: &Path, stop: &CancellationToken) -> String {
    let port_file = folder.join("psp.port");
    let webhook_secret = folder.join("psp.secret");
    std::fs::write(&webhook_secret, "whsec_test").unwrap();
    let options = stack::psp::PspOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        ledger: folder.join("ledger.ndjson"),
        port_file: Some(port_file.clone()),
        later: stack::psp::Later { webhook_secret_file: Some(webhook_secret), processed_ms: 50 },
    };
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move { stack::psp::serve(&options, stopped).await.unwrap() });
    let port = until("the provider listens", || async { std::fs::read_to_string(&port_file).ok() }).await;
    format!("http://127.0.0.1:{port}")
}

fn config(folder: &Path, database: &str, psp: &str, keys: &str, options: &Options) -> Config {
    std::fs::write(folder.join("organiser.token"), "organiser").unwrap();
    std::fs::write(folder.join("buyer.key"), "ab".repeat(32)).unwrap();
    let file = folder.join("booking.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\norganiser_token_file = \"organiser.token\"\n\
         buyer_key_file = \"buyer.key\"\npass_keys_urls = [\"{keys}\"]\nsecure_cookies = false\n\
         [database]\nurl = \"{database}\"\nmax_connections = 12\nacquire_timeout_ms = 20000\n\
         [payments]\nsandbox_url = \"{psp}\"\nsandbox_webhook_secret_file = \"psp.secret\"\n\
         answer_within_ms = 4000\n[jobs]\nsweep_every_ms = 50\nreconcile_every_ms = 50\n"
    );
    std::fs::write(&file, text).unwrap();
    let set: Vec<String> = options.set.iter().map(|&set| set.to_owned()).collect();
    Config::load(&file, &set).unwrap()
}

fn services(config: Config, options: &Options) -> Services {
    let inner = Services::new(config.clone()).unwrap();
    let provider: Arc<dyn PaymentProvider> = match &options.faults {
        None => Arc::clone(&inner.provider),
        Some(faults) => Arc::new(FaultyProvider::new(Arc::clone(&inner.provider), Arc::clone(faults))),
    };
    match &options.consumer {
        Some(consumer) => Services::with_consumer(config, provider, Arc::clone(consumer)).unwrap(),
        None => Services::with_provider(config, provider).unwrap(),
    }
}

/// The one value of the one row that a query finds.
pub(crate) async fn value<T>(pool: &PgPool, sql: &'static str) -> T
where
    (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
    T: Send + Unpin,
{
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// Waits until so many transactions of the database wait for locks of others.
pub(crate) async fn waiting(pool: &PgPool, wanted: i64) {
    until(&format!("{wanted} wait for a lock"), || async {
        let query =
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        (value::<i64>(pool, query).await >= wanted).then_some(())
    })
    .await;
}

/// Waits until something is there; fails after 15 s.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    for _ in 0..750 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited 15 s until {what}");
}
