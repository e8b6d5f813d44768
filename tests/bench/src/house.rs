//! What is measured: one gateway of a private stack on a core of its own, and the verbs of the contract.
//!
//! Limits stay switched on, as they cost what they cost, but wide enough for one client that plays a crowd.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::Client;
use serde_json::{Value, json};
use stack::redis::Aof;
use stack::{Fixture, Setting, Stack, StackOptions};
use tokio::runtime::Runtime;

use crate::cores::Core;

/// Requests under way at once while a crowd is prepared.
const AT_ONCE: usize = 64;
/// Longest wait for a state of the gateway.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running stack with one gateway.
pub(crate) struct House {
    stack: Stack,
    runtime: Runtime,
    client: Client,
}

impl House {
    /// Starts it, with these settings of the gateway beyond the usual ones.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn open(settings: &[String]) -> Result<Self> {
        // One thread on one core, as the peers have; connections stay open for the whole round.
        let usual = [
            "threads=1",
            "limits.address_per_s=4000000",
            "limits.address_burst=4000000",
            "limits.join_per_s=4000000",
            "limits.join_burst=4000000",
            "limits.requests_per_connection=100000000",
        ];
        let settings = usual.iter().map(ToString::to_string).chain(settings.iter().cloned());
        let options = StackOptions {
            fixture: Fixture::Empty,
            redis_aof: Aof::Off,
            settings: settings.map(Setting::Gateway).collect(),
            build: false,
            ..StackOptions::default()
        };
        let stack = Stack::up(&options).context("starting the stack")?;
        let pids = &stack.ready().pids;
        Core::Measured.take(pids.gateway[0])?;
        for pid in pids.redis.iter().chain(&pids.booking).chain([&pids.psp]) {
            Core::Rest.take(*pid)?;
        }
        let client = Client::builder().timeout(Duration::from_secs(20)).build()?;
        Ok(Self { stack, runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?, client })
    }

    /// The gateway's public URL.
    pub(crate) fn url(&self) -> &str {
        &self.stack.ready().gateway[0]
    }

    /// The gateway's process.
    pub(crate) fn gateway_pid(&self) -> u32 {
        self.stack.ready().pids.gateway[0]
    }

    /// The line's Redis.
    pub(crate) fn redis_url(&self) -> &str {
        &self.stack.ready().redis
    }

    /// How often Redis has run a command; for `total`, any of them.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) fn redis_calls(&self, command: &str) -> Result<u64> {
        let stats = self.stack.redis().servers()[0].command(&["INFO", "commandstats"])?;
        let name = format!("cmdstat_{command}:");
        let line = stats.iter().find(|line| line.starts_with(&name));
        Ok(line.and_then(|line| line.split(['=', ',']).nth(1)?.parse().ok()).unwrap_or(0))
    }

    /// Creates a sale that guards the path `/bench`, and waits until the gateway knows it.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn create_sale(&self, sale: &str, settings: &Value) -> Result<()> {
        let mut body = json!({"paths": [{"path": "/bench"}]});
        let members = settings.as_object().into_iter().flatten();
        members.for_each(|(key, value)| body[key] = value.clone());
        self.runtime.block_on(async {
            let url = format!("{}/control/sales/{sale}", self.stack.ready().control[0]);
            let request = self.client.put(url).bearer_auth(&self.stack.ready().control_token).json(&body);
            let answer = request.send().await?;
            ensure!(answer.status() == 200, "the sale was refused: {}", answer.text().await?);
            Ok(())
        })?;
        self.wait_until(sale, "the sale is known", |_| true)
    }

    /// Waits until the numbers of a sale fulfil this.
    ///
    /// # Errors
    /// When they do not in time.
    pub(crate) fn wait_until(&self, sale: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let url = format!("{}/control/sales/{sale}", self.stack.ready().control[0]);
        let until = Instant::now() + PATIENCE;
        self.runtime.block_on(async {
            loop {
                let request = self.client.get(&url).bearer_auth(&self.stack.ready().control_token);
                let answer = request.send().await?;
                if answer.status() == 200 && holds(&answer.json().await?) {
                    return Ok(());
                }
                if Instant::now() > until {
                    bail!("not within {PATIENCE:?}: {what}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    }

    /// So many visitors join over HTTP; answers their documents in order of the answers.
    ///
    /// # Errors
    /// When one is refused.
    pub(crate) fn join_many(&self, sale: &str, visitors: usize) -> Result<Vec<Value>> {
        let url = format!("{}/_usher/sales/{sale}/join", self.url());
        let join = async || -> Result<Value> {
            let answer = self.client.post(&url).send().await?;
            ensure!(answer.status() == 201, "a join was answered {}", answer.status());
            Ok(answer.json().await?)
        };
        self.runtime.block_on(stream::iter(0..visitors).map(|_| join()).buffered(AT_ONCE).try_collect())
    }

    /// The body of a poll with this place.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn poll(&self, sale: &str, place: &str) -> Result<String> {
        let url = format!("{}/_usher/sales/{sale}/place", self.url());
        self.runtime.block_on(async {
            let request = self.client.get(&url).header("authorization", format!("Place {place}"));
            Ok(request.send().await?.error_for_status()?.text().await?)
        })
    }

    /// The runtime, for whoever speaks to the line beside the gateway.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// The texts of one member of these documents; those without it are left out.
pub(crate) fn texts(documents: &[Value], member: &str) -> Vec<String> {
    documents.iter().filter_map(|document| document[member].as_str().map(str::to_owned)).collect()
}
