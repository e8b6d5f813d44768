//! The stack itself: everything started in order, watched until ready, stopped together.
//!
//! Order: Postgres (on a prepared copy), Redis and the payment provider at once; then the gateways, then the booking
//! nodes, which ask the gateways for the keys of passes. Stopping goes the other way.

use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::configuration::Secrets;
use crate::error::{Result, StackError};
use crate::identity::MARKER;
use crate::node::{Node, Signal};
use crate::options::StackOptions;
use crate::postgres::Postgres;
use crate::ready::Ready;
use crate::redis::Servers;
use crate::server::Server;
use crate::starting::{
    announce_webhooks, create_sale, describe, make_keys, start_nodes, start_postgres, start_psp, start_redis,
};
use crate::workdir::Workdir;
use crate::{binaries, find, fixture};

/// How long nodes may take to finish what they are doing.
const DRAIN: Duration = Duration::from_secs(7);

/// A running stack; everything stops when it is dropped.
#[derive(Debug)]
pub struct Stack {
    // Dropped in this order: first who asks, then who is asked.
    gateways: Vec<Server>,
    bookings: Vec<Server>,
    psp: Server,
    redis: Servers,
    postgres: Postgres,
    ready: Ready,
    workdir: Arc<Workdir>,
}

impl Stack {
    /// Builds what is out of date, starts everything and waits until all of it is ready.
    ///
    /// # Errors
    /// When something is missing, refused or not ready in time; nothing is left running then.
    pub fn up(options: &StackOptions) -> Result<Stack> {
        options.check()?;
        // What must be installed is said before minutes are spent on a build.
        find::postgres()?;
        find::redis()?;
        if options.build {
            binaries::build_all()?;
        }
        let workdir = match &options.dir {
            Some(dir) => Workdir::at(dir)?,
            None => Workdir::temporary()?,
        };
        let secrets = Secrets::make(workdir.path())?;
        let (postgres, redis, psp, keys) = std::thread::scope(|scope| {
            let keys = scope.spawn(|| make_keys(&workdir, &secrets));
            let postgres = scope.spawn(|| start_postgres(&workdir, options));
            let redis = scope.spawn(|| start_redis(&workdir, options));
            let psp = start_psp(&workdir, &secrets);
            (postgres.join(), redis.join(), psp, keys.join())
        });
        let crashed = |_| StackError::Unsupported("a starting thread panicked".to_owned());
        let (postgres, redis, psp) = (postgres.map_err(crashed)??, redis.map_err(crashed)??, psp?);
        keys.map_err(crashed)??;
        let (gateways, bookings) = start_nodes(&workdir, options, &secrets, &postgres, &redis, &psp)?;
        announce_webhooks(&psp, &bookings)?;
        for sale in fixture::sales(&options.fixture)? {
            create_sale(&gateways, &secrets, &sale, options)?;
        }
        let ready = describe(&workdir, &secrets, &gateways, &bookings, &psp, &redis, &postgres)?;
        ready.write(&workdir.path().join("ready.json"))?;
        Ok(Stack { gateways, bookings, psp, redis, postgres, ready, workdir })
    }

    /// Where everything is.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Gateway `i`, counted from 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn gateway(&self, i: usize) -> &Server {
        &self.gateways[i]
    }

    /// Booking node `i`, counted from 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn booking(&self, i: usize) -> &Server {
        &self.bookings[i]
    }

    /// The sandbox payment provider.
    #[must_use]
    pub fn psp(&self) -> &Server {
        &self.psp
    }

    /// The private Redis, in whichever layout.
    #[must_use]
    pub fn redis(&self) -> &Servers {
        &self.redis
    }

    /// The private Postgres.
    #[must_use]
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// Asks the database, or changes it; as [`Postgres::sql`].
    ///
    /// # Errors
    /// When Postgres refuses it or is not there.
    pub fn sql(&self, query: &str) -> Result<String> {
        self.postgres.sql(query)
    }

    /// Starts a further program that goes when the stack does, however the stack ends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn companion(&self, mut command: Command, name: &str) -> Result<Child> {
        use std::os::unix::process::CommandExt;
        let child = command
            .env(MARKER, self.workdir.path())
            .process_group(0)
            .spawn()
            .map_err(StackError::io(format!("starting {name}")))?;
        self.workdir.guard().told_of(child.id(), Signal::INT, name);
        Ok(child)
    }

    /// Leaves the directory where it is, for somebody to look into.
    pub fn keep_directory(&self) {
        self.workdir.guard().keep_all();
    }

    /// All processes, in the order in which they were started.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let servers = std::iter::once(&self.psp).chain(&self.bookings).chain(&self.gateways);
        std::iter::once(self.postgres.node()).chain(self.redis.nodes()).chain(servers.map(Server::node))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let nodes = self.gateways.iter().chain(&self.bookings).map(Server::node);
        nodes.clone().for_each(Node::ask_to_stop);
        let deadline = Instant::now() + DRAIN;
        for node in nodes {
            let _ = node.wait_for_exit(deadline.saturating_duration_since(Instant::now()));
        }
        // What did not go by then is killed as the fields are dropped.
    }
}
