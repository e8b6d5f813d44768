//! The sandbox payment provider: a real HTTP server that moves no money and forgets nothing.
//!
//! [`payment`] knows what may become of a payment, and [`token`] which way its token sends it; [`books`] hold all of
//! them, [`ledger`] keeps every accepted change in a file and answers for nothing that is not on disk; [`routes`] speaks
//! HTTP behind [`faults`]. What no answer has told is told by [`webhooks`]: [`event`] says in which words, [`telling`] when.

mod books;
mod event;
mod faults;
mod ledger;
mod payment;
mod routes;
mod telling;
mod token;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use self::event::{SIGNATURE, signature};
use self::faults::Faults;
use self::routes::Provider;
use self::webhooks::Teller;

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
    /// What comes after the answer.
    #[command(flatten)]
    pub later: Later,
}

/// What comes after an answer: the end of what is being processed, and the telling of events.
#[derive(Debug, Clone, clap::Args)]
pub struct Later {
    /// A file with the secret that signs events; without it none are told.
    #[arg(long)]
    pub webhook_secret_file: Option<PathBuf>,
    /// How long a payment is processed that is not decided at once.
    #[arg(long, default_value_t = PROCESSED_MS)]
    pub processed_ms: u64,
}

const PROCESSED_MS: u64 = 1000;

impl Default for Later {
    fn default() -> Self {
        Self { webhook_secret_file: None, processed_ms: PROCESSED_MS }
    }
}

impl Later {
    fn secret(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(file) = &self.webhook_secret_file else { return Ok(None) };
        let text = std::fs::read_to_string(file).with_context(|| format!("reading the secret {}", file.display()))?;
        anyhow::ensure!(!text.trim().is_empty(), "the secret {} is empty", file.display());
        Ok(Some(text.trim().as_bytes().to_vec()))
    }
}

/// Serves until `stop` resolves.
///
/// # Errors
/// When the ledger cannot be read, or the address not be taken.
pub async fn serve(options: &PspOptions, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let file = &options.ledger;
    let later = Duration::from_millis(options.later.processed_ms);
    let ledger = ledger::open(file, later).with_context(|| format!("opening the ledger {}", file.display()))?;
    let secret = options.later.secret()?;
    let provider = Provider { ledger: ledger.clone(), faults: Faults::default(), signs: secret.is_some() };
    let teller = Teller::new(ledger, provider.faults.clone(), secret)?;
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
    // Ends with this function.
    let mut telling = JoinSet::new();
    telling.spawn(teller.run());
    let serving = axum::serve(listener, routes::router(provider)).with_graceful_shutdown(stop);
    tokio::select! {
        served = serving => served.context("serving"),
        () = async { let _ = drained.await; tokio::time::sleep(DRAIN).await; } => Ok(()),
    }
}
