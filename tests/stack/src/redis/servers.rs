//! The Redis of a stack, in any layout: one server, a primary under Sentinel, or a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Redis, RedisOptions, cluster, sentinel, with_fresh_ports};
use crate::error::{Result, StackError};
use crate::node::Node;
use crate::options::RedisLayout;
use crate::workdir::Workdir;

/// How long sentinels may take to replace a primary.
const FAILOVER_WITHIN: Duration = Duration::from_secs(30);

/// Servers that belong together; stopped when dropped.
#[derive(Debug)]
pub struct Servers {
    layout: RedisLayout,
    // Sentinels stop first: they would replace the others.
    sentinels: Vec<Redis>,
    servers: Vec<Redis>,
}

impl Servers {
    /// Starts servers of their own in a temporary directory. Only a single one may be on a socket.
    ///
    /// # Errors
    /// When Redis is not installed or they do not come up.
    pub fn start(layout: RedisLayout, options: &RedisOptions) -> Result<Servers> {
        Servers::start_in(&Workdir::temporary()?, layout, options)
    }

    pub(crate) fn start_in(workdir: &Arc<Workdir>, layout: RedisLayout, options: &RedisOptions) -> Result<Servers> {
        let (servers, sentinels) = match layout {
            RedisLayout::Single => (vec![Redis::start_in(workdir, options)?], Vec::new()),
            RedisLayout::Sentinel => with_fresh_ports(|| sentinel::start(workdir, options))?,
            RedisLayout::Cluster => (with_fresh_ports(|| cluster::start(workdir, options))?, Vec::new()),
        };
        Ok(Servers { layout, sentinels, servers })
    }

    /// Starts those that do not run, at the same addresses, and waits until all is whole.
    ///
    /// # Errors
    /// When that does not come about.
    pub fn up(&self) -> Result<()> {
        for server in self.servers.iter().chain(&self.sentinels) {
            server.up()?;
        }
        match self.layout {
            RedisLayout::Single => Ok(()),
            RedisLayout::Sentinel => sentinel::wait_until_known(&self.servers, &self.sentinels),
            RedisLayout::Cluster => cluster::wait_until_whole(&self.servers),
        }
    }

    /// What the line is to be told: `redis://…`, `redis+sentinel://…/NAME` or `redis+cluster://…`.
    #[must_use]
    pub fn url(&self) -> String {
        let list = |servers: &[Redis]| {
            let hosts: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
            hosts.join(",")
        };
        match self.layout {
            RedisLayout::Single => self.servers[0].url(),
            RedisLayout::Sentinel => format!("redis+sentinel://{}/{}", list(&self.sentinels), sentinel::NAME),
            RedisLayout::Cluster => format!("redis+cluster://{}", list(&self.servers)),
        }
    }

    /// Those that hold data: the single one, primary and replicas, or all primaries.
    #[must_use]
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// Those that watch the others; none but under Sentinel.
    #[must_use]
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// All processes, in the order in which they were started.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.servers.iter().chain(&self.sentinels).map(Redis::node)
    }

    /// The process of the first server: of the only one, where there is one.
    #[must_use]
    pub fn node(&self) -> &Node {
        self.servers[0].node()
    }

    /// The server that takes writes to a key: the single one, the primary that a sentinel names, or the one with the
    /// key's slot.
    ///
    /// # Errors
    /// When nobody knows.
    pub fn primary(&self, key: &str) -> Result<&Redis> {
        match self.layout {
            RedisLayout::Single => Ok(&self.servers[0]),
            RedisLayout::Cluster => cluster::owner(&self.servers, key),
            RedisLayout::Sentinel => {
                let port = self.sentinels.iter().find_map(|sentinel| sentinel::primary_by(sentinel).ok());
                let named = self.servers.iter().find(|server| Some(server.port()) == port);
                named.ok_or_else(|| StackError::Unsupported("no sentinel names a server of ours".to_owned()))
            }
        }
    }

    /// Those that do not take writes to a key: replicas, or the other primaries.
    ///
    /// # Errors
    /// When nobody knows.
    pub fn others(&self, key: &str) -> Result<Vec<&Redis>> {
        let primary = self.primary(key)?.port();
        Ok(self.servers.iter().filter(|server| server.port() != primary).collect())
    }

    /// `kill -9` of the primary, until every sentinel names another and that one takes writes; how long it took. The
    /// killed one stays down until [`up`](Servers::up).
    ///
    /// # Errors
    /// Without Sentinel, or when no other takes over in time.
    pub fn failover(&self) -> Result<Duration> {
        if self.layout != RedisLayout::Sentinel {
            return Err(StackError::Unsupported("only sentinels replace a primary".to_owned()));
        }
        let dead = self.primary("")?;
        dead.node.kill9()?;
        let killed = Instant::now();
        for sentinel in &self.sentinels {
            sentinel.node.wait_until(FAILOVER_WITHIN, || match sentinel::primary_by(sentinel)? {
                port if port == dead.port() => Err(format!("it still names the dead one at {port}")),
                _ => Ok(()),
            })?;
        }
        let next = self.primary("")?;
        next.node.wait_until(FAILOVER_WITHIN, || sentinel::takes_writes(next))?;
        Ok(killed.elapsed())
    }

    /// Waits until every replica that runs has what the primary has now.
    ///
    /// # Errors
    /// Without Sentinel, or when they do not follow.
    pub fn wait_until_replicated(&self) -> Result<()> {
        if self.layout != RedisLayout::Sentinel {
            return Err(StackError::Unsupported("only under Sentinel are there replicas".to_owned()));
        }
        let running = self.servers.iter().filter(|server| server.node.pid().is_some()).count();
        sentinel::wait_until_replicated(self.primary("")?, running.saturating_sub(1))
    }

    /// Moves the slot of a key, with all that is in it, to another server of the cluster, which is returned.
    ///
    /// # Errors
    /// Without a cluster, or when a server refuses.
    pub fn move_slot(&self, key: &str) -> Result<&Redis> {
        match self.layout {
            RedisLayout::Cluster => cluster::move_slot(&self.servers, key),
            _ => Err(StackError::Unsupported("only a cluster has slots".to_owned())),
        }
    }
}
