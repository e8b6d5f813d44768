//! Callbacks of providers: believed by their signature, written down once, answered, and worked off apart.
//!
//! A callback says only which payment to ask about; the provider is asked for the payment itself. So a callback that
//! comes twice, late or out of order has one effect. Writing is batched: whatever waits goes into one statement.

use std::sync::OnceLock;

use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, mpsc, oneshot};

use super::settle_payment::reconcile;
use crate::error::Error;
use crate::passes::chain;
use crate::services::Services;
use crate::storage::callbacks::{self, Callback};
use crate::storage::payments;

/// Callbacks that wait to be written; beyond it they are answered 503 and come again.
const WAITING: usize = 4096;
/// Callbacks written by one statement.
const BATCH: usize = 512;
/// Callbacks worked off in one go, how many at once, and after how long another node takes what this one left.
const ROUND: i64 = 256;
const AT_ONCE: usize = 8;
const LEASE_S: u32 = 30;
/// Most rounds in one go.
const ROUNDS: usize = 20;

type Written = oneshot::Sender<bool>;

/// Takes callbacks and wakes whoever works them off.
#[derive(Debug, Default)]
pub struct Callbacks {
    writer: OnceLock<mpsc::Sender<(Callback, Written)>>,
    /// Something was written.
    pub(crate) came: Notify,
}

/// Writes a callback down; on disk when it returns.
///
/// # Errors
/// When the database cannot be had or too many wait; the provider sends it again.
pub async fn receive_callback(services: &Services, callback: Callback) -> Result<(), Error> {
    let unavailable = |source: &'static str| Error::Unavailable {
        what: "the book of callbacks",
        source: source.into(),
        retry: false,
    };
    let writer = services.callbacks.writer.get_or_init(|| {
        let (sender, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write(services.background(), waiting));
        sender
    });
    let (written, done) = oneshot::channel();
    writer.try_send((callback, written)).map_err(|_| unavailable("too many wait"))?;
    match done.await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(unavailable("the batch could not be written")),
    }
}

/// Writes what waits, batch by batch, as long as the node lives.
async fn write(services: Services, mut waiting: mpsc::Receiver<(Callback, Written)>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let (events, answers): (Vec<Callback>, Vec<Written>) = batch.drain(..).unzip();
        let inserted = callbacks::insert(&services.db, services.provider.name(), &events).await;
        let written = match inserted {
            Ok(new) => {
                metrics::counter!("usher_booking_callbacks_total", "kind" => "new").increment(new);
                let repeated = u64::try_from(events.len()).unwrap_or(0).saturating_sub(new);
                metrics::counter!("usher_booking_callbacks_total", "kind" => "repeated").increment(repeated);
                services.callbacks.came.notify_one();
                true
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "callbacks could not be written; they come again");
                false
            }
        };
        for answer in answers {
            // A caller who went away sends it again.
            let _ = answer.send(written);
        }
    }
}

/// Works off what waits: asks the provider about each payment once, however many callbacks named it. What fails is left
/// to the next round.
///
/// # Errors
/// When the database cannot be had.
pub async fn work_off(services: &Services) -> Result<usize, Error> {
    let mut done = 0;
    for _ in 0..ROUNDS {
        let taken = callbacks::take_due(&services.db, services.provider.name(), ROUND, LEASE_S).await?;
        if taken.is_empty() {
            break;
        }
        done += taken.len();
        let mut by_payment: std::collections::BTreeMap<_, Vec<String>> = std::collections::BTreeMap::new();
        for one in taken {
            by_payment.entry((one.reference, one.provider_payment)).or_default().push(one.event);
        }
        stream::iter(by_payment)
            .for_each_concurrent(AT_ONCE, |((reference, payment), events)| async move {
                if let Err(error) = look(services, reference, payment, &events).await {
                    tracing::warn!(error = %chain(&error), "a callback is worked off later");
                }
            })
            .await;
    }
    Ok(done)
}

async fn look(
    services: &Services,
    reference: Option<String>,
    payment: Option<String>,
    events: &[String],
) -> Result<(), Error> {
    let provider = services.provider.name();
    let found = payments::of_callback(&services.db, provider, reference.as_deref(), payment.as_deref()).await?;
    match found {
        Some(payment) => reconcile(services, &payment).await?,
        None => {
            tracing::warn!(reference, payment, "a callback is about no payment of ours");
            metrics::counter!("usher_booking_callbacks_total", "kind" => "stranger").increment(1);
        }
    }
    callbacks::finish(&services.db, provider, events).await
}
