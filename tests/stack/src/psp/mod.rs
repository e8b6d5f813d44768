//! The sandbox payment provider: a real HTTP server that moves no money and forgets nothing.
//!
//! [`payment`] knows what may become of a payment, [`ledger`] keeps every accepted change in a file and answers for
//! nothing that is not on disk, [`routes`] speaks HTTP. A payment's token decides how it goes.

mod ledger;
mod payment;
mod routes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

/// How long a stopping provider waits for answers under way.
const DRAIN: Duration = Duration::from_secs(5);

/// How the provider is started.
#[derive(Debug, Clone, clap::Args)]
pub struct PspOptions {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The file that keeps every accepted change; read again at the next start.
    #[arg(long)]
    pub ledger: PathBuf,
    /// A file to write the port number to, once it listens.
    #[arg(long)]
    pub port_file: Option<PathBuf>,
}

/// Serves until `stop` resolves.
///
/// # Errors
/// When the ledger cannot be read, or the address not be taken.
pub async fn serve(options: &PspOptions, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let file = &options.ledger;
    let ledger = ledger::open(file).with_context(|| format!("opening the ledger {}", file.display()))?;
    let listener =
        TcpListener::bind(options.listen).await.with_context(|| format!("listening on {}", options.listen))?;
    let address = listener.local_addr().context("asking for the port in hand")?;
    if let Some(file) = &options.port_file {
        // Whoever waits for the file must never read half a number.
        let unfinished = file.with_extension("unfinished");
        std::fs::write(&unfinished, address.port().to_string())
            .and_then(|()| std::fs::rename(&unfinished, file))
            .with_context(|| format!("writing {}", file.display()))?;
    }
    eprintln!("sandbox payment provider on http://{address}, ledger {}", file.display());
    let (draining, drained) = tokio::sync::oneshot::channel();
    let stop = async move {
        stop.await;
        let _ = draining.send(());
    };
    let listener = listener.tap_io(|stream| {
        // Without it small answers wait for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
    });
    let serving = axum::serve(listener, routes::router(ledger)).with_graceful_shutdown(stop);
    tokio::select! {
        served = serving => served.context("serving"),
        () = async { let _ = drained.await; tokio::time::sleep(DRAIN).await; } => Ok(()),
    }
}
