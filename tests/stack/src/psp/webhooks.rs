//! Tells events to the endpoint, and keeps the clock of what is being processed.
//!
//! At most so many tellings run at once; a failed one goes back to the ledger, which says when to try again. So an
//! endpoint that hangs delays its own events and nothing else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::event::{self, Event, SIGNATURE};
use super::faults::Faults;
use super::ledger::{Closed, Ledger};
use super::telling::Told;

/// Tellings at once.
const AT_ONCE: usize = 128;
/// How long an endpoint may take for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often the ledger is asked for what has come due.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long after the first copies of an event another one follows.
const ONCE_MORE_AFTER: Duration = Duration::from_millis(500);

/// Who tells events, and with which secret.
#[derive(Debug)]
pub(super) struct Teller {
    ledger: Ledger,
    faults: Faults,
    secret: Option<Vec<u8>>,
    client: reqwest::Client,
}

impl Teller {
    pub(super) fn new(ledger: Ledger, faults: Faults, secret: Option<Vec<u8>>) -> anyhow::Result<Teller> {
        // The program may have chosen one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .timeout(ANSWER_WITHIN)
            .build()
            .context("preparing the HTTP client")?;
        Ok(Teller { ledger, faults, secret, client })
    }

    /// Runs until the ledger ends; to be dropped before.
    pub(super) async fn run(self) {
        let teller = Arc::new(self);
        let room = Arc::new(Semaphore::new(AT_ONCE));
        // Whoever drops this ends what is being told; it is told again at the next start.
        let mut telling = JoinSet::new();
        loop {
            while telling.try_join_next().is_some() {}
            let free = room.available_permits();
            let Ok(events) = teller.ledger.take_events(if teller.secret.is_some() { free } else { 0 }).await else {
                return;
            };
            let full = free > 0 && events.len() == free;
            for (event, url) in events {
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { break };
                let teller = Arc::clone(&teller);
                telling.spawn(async move {
                    let told = teller.tell(&event, &url).await;
                    drop(permit);
                    told
                });
            }
            if !full {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    async fn tell(&self, event: &Event, url: &str) -> Result<(), Closed> {
        if self.faults.drops_webhook() {
            return self.ledger.told(event.id.clone(), Told::Dropped).await;
        }
        let (at_once, once_more) = event.copies();
        let body = event.body();
        let copies = futures_util::future::join_all((0..at_once).map(|_| self.send(&body, url)));
        let mut taken = copies.await.iter().all(|taken| *taken);
        for _ in 0..once_more {
            tokio::time::sleep(ONCE_MORE_AFTER).await;
            taken = self.send(&body, url).await && taken;
        }
        self.ledger.told(event.id.clone(), if taken { Told::Delivered } else { Told::Failed }).await
    }

    /// One copy; whether it was taken.
    async fn send(&self, body: &[u8], url: &str) -> bool {
        let now_s = Timestamp::now().as_second();
        let signature = event::signature(self.secret.as_deref().unwrap_or_default(), body, now_s);
        let request = self.client.post(url).header(CONTENT_TYPE, "application/json").header(SIGNATURE, signature);
        match request.body(body.to_vec()).send().await {
            Ok(answer) => answer.status().is_success(),
            Err(_) => false,
        }
    }
}
