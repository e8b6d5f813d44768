//! A wire between a node and its database that can swallow what goes over it, and be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// See the module.
pub(crate) struct Wire {
    /// Answers of the database get lost.
    deaf: AtomicBool,
    /// What is sent to the database gets lost.
    mute: AtomicBool,
    lost: AtomicUsize,
    cuts: watch::Sender<u64>,
}

impl Wire {
    pub(crate) fn new() -> Arc<Self> {
        let (cuts, _) = watch::channel(0);
        Arc::new(Self { deaf: false.into(), mute: false.into(), lost: 0.into(), cuts })
    }

    /// Lays the wire to a database; answers the URL of its near end.
    pub(crate) async fn lay(self: &Arc<Self>, url: &str) -> String {
        let (head, rest) = url.split_once('@').unwrap();
        let (far, name) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = listener.local_addr().unwrap();
        let (wire, far) = (Arc::clone(self), far.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&far).await.unwrap();
                let mut cut = wire.cuts.subscribe();
                let wire = Arc::clone(&wire);
                tokio::spawn(async move {
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = pump(from_client, to_server, &wire.mute, &wire.lost) => {}
                        () = pump(from_server, to_client, &wire.deaf, &wire.lost) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        format!("{head}@{near}/{name}")
    }

    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    pub(crate) fn set_mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::SeqCst);
    }

    /// How many batches of holds got lost on their way.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    /// Breaks all connections; new ones can be made.
    pub(crate) fn cut(&self) {
        self.set_deaf(false);
        self.set_mute(false);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallows: &AtomicBool,
    lost: &AtomicUsize,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        if swallows.load(Ordering::SeqCst) {
            // The owner of a hold: so it is a batch that got lost, not a look at the tables.
            let is_batch = buffer[..read].windows(6).any(|bytes| bytes == b"buyer:");
            lost.fetch_add(usize::from(is_batch), Ordering::SeqCst);
        } else if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
