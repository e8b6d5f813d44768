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
    /// Answers get lost from the next batch of holds on.
    deafens: AtomicBool,
    /// New connections are closed at once.
    down: AtomicBool,
    lost: AtomicUsize,
    cuts: watch::Sender<u64>,
}

impl Wire {
    pub(crate) fn new() -> Arc<Self> {
        let (cuts, _) = watch::channel(0);
        let (deaf, mute, deafens, down) = (false.into(), false.into(), false.into(), false.into());
        Arc::new(Self { deaf, mute, deafens, down, lost: 0.into(), cuts })
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
                // A cut that comes while the far end is not reached yet breaks this one, too.
                let mut cut = wire.cuts.subscribe();
                if wire.down.load(Ordering::SeqCst) {
                    continue;
                }
                let made = *cut.borrow_and_update();
                let server = TcpStream::connect(&far).await.unwrap();
                let wire = Arc::clone(&wire);
                tokio::spawn(async move {
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = wire.pump(from_client, to_server, &wire.mute, made) => {}
                        () = wire.pump(from_server, to_client, &wire.deaf, made) => {}
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

    /// Answers get lost, beginning with that to the next batch of holds, or to the next look what became of one.
    pub(crate) fn deafen_at_next_batch(&self) {
        self.deafens.store(true, Ordering::SeqCst);
    }

    /// Whether no new connections can be made.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// How many batches of holds got lost on their way.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    /// Breaks all connections; what is sent over new ones arrives.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
        self.set_deaf(false);
        self.set_mute(false);
    }

    async fn pump(
        &self,
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
        swallows: &AtomicBool,
        made: u64,
    ) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read) = from.read(&mut buffer).await {
            if read == 0 {
                return;
            }
            // The owner of a hold: so it is a batch, not a look at the tables.
            let names = |owner: &[u8]| buffer[..read].windows(owner.len()).any(|bytes| bytes == owner);
            let is_batch = names(b"buyer:") || names(b"visitor:");
            if swallows.load(Ordering::SeqCst) {
                self.lost.fetch_add(usize::from(is_batch), Ordering::SeqCst);
                continue;
            }
            if is_batch && self.deafens.swap(false, Ordering::SeqCst) {
                self.set_deaf(true);
            }
            // What comes over a wire that was cut meanwhile does not arrive.
            if *self.cuts.borrow() != made {
                return;
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}
