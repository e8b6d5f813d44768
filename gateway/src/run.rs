//! Assembles the gateway and runs it until a signal.

use std::sync::Arc;

use anyhow::Result;
use pingora::listeners::ListenerConfig;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use queue::settings::GuardedPath;

use crate::config::Config;
use crate::control::Control;
use crate::credentials::Credentials;
use crate::edge::Edge;
use crate::file_sales::{FileSales, Reader};
use crate::govern::Governor;
use crate::keys::Keys;
use crate::limits::ClientLimits;
use crate::line::jobs::Jobs;
use crate::line::rooms::Rooms;
use crate::proxy::Proxy;
use crate::room::Gate;
use crate::routes::Guards;
use crate::telemetry;
use crate::upstream::{self, Nodes};

/// Buffers per connection: many visitors wait, each with little to say.
const READ_BUFFER_BYTES: usize = 4096;
const WRITE_BUFFER_BYTES: usize = 1460;

/// Runs the gateway; returns after an orderly stop.
///
/// # Errors
/// When a file or an address cannot be used.
pub fn run(config: Config) -> Result<()> {
    let prometheus = telemetry::init_metrics()?;
    let config = Arc::new(config);
    let keys = Arc::new(Keys::load(&config.keys_file)?);
    let credentials = Arc::new(Credentials::default());
    let rooms = Arc::new(Rooms::new(credentials.clone()));
    let limits = Arc::new(ClientLimits::new(&config.limits));
    let files = Arc::new(FileSales::new(config.sales_dir.clone()));
    let control = Control::bind(&config, rooms.clone(), files.clone(), prometheus)?;
    // The proxy library retries a taken port for half a minute and then lives on without it: find out now.
    drop(std::net::TcpListener::bind(config.listen).map_err(|e| anyhow::anyhow!("listen {}: {e}", config.listen))?);

    let threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let settings = ServerConf {
        threads,
        grace_period_seconds: Some(config.shutdown_grace_s),
        graceful_shutdown_timeout_seconds: Some(5),
        upstream_keepalive_pool_size: 512,
        max_retries: 4,
        // Timers that are hardly ever waited for to the end: those of the runtime cost less to set and to clear.
        fast_timeout_to_tokio_threshold_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();

    let governor = Governor::new(&config.upstreams, rooms.clone());
    let reader = Reader { files, rooms: rooms.clone() };
    let (rooms_, keys_, limits_) = (rooms.clone(), keys.clone(), limits.clone());
    let jobs = Jobs { config: config.clone(), rooms: rooms_, keys: keys_, limits: limits_ };
    let jobs = server.add_service(background_service("line", jobs));
    let reader = server.add_service(background_service("files", reader));
    // What files say is compared with what the line knows.
    reader.add_dependency(&jobs);
    server.add_service(background_service("governor", governor)).add_dependency(&jobs);
    let balancer = upstream::balancer(&config.upstreams, &config.health_path)?;
    let nodes = Nodes::new(balancer.task(), &config.upstreams);
    server.add_service(balancer);
    server.add_service(background_service("control", control));

    let whole = |path: &String| GuardedPath { path: path.clone(), methods: Vec::new() };
    let private = Guards::new(&[], &config.private_paths.iter().map(whole).collect::<Vec<_>>());
    let gate = Arc::new(Gate { config: config.clone(), keys, rooms, credentials, limits });
    let behind = Proxy { gate: gate.clone(), nodes, private };
    let proxy = pingora::proxy::http_proxy(&server.configuration, behind);
    let mut proxy = Service::new("edge".to_owned(), Edge::new(gate, proxy));
    proxy.add_listener(
        ListenerConfig::tcp(config.listen.to_string())
            .l4_buffer(L4BufferSettings::new(READ_BUFFER_BYTES, WRITE_BUFFER_BYTES)),
    );
    let proxy = server.add_service(proxy);
    // No fan is served before it is known what is guarded.
    proxy.add_dependencies([&jobs, &reader]);

    tracing::info!(listen = %config.listen, control = %config.control_listen, threads, "gateway starts");
    server.run(RunArgs::default());
    tracing::info!("gateway stopped");
    Ok(())
}
