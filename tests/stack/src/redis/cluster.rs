//! A cluster of three primaries that share the slots, and the moving of a slot between them.
//!
//! A primary that is gone takes its own slots with it and no others.

use std::sync::Arc;

use super::{Place, READY_WITHIN, Redis, RedisOptions};
use crate::error::{Result, StackError};
use crate::ports::HeldPort;
use crate::workdir::Workdir;

const PRIMARIES: usize = 3;
const SLOTS: usize = 16_384;

/// Starts the servers, joins them and waits until each knows who has which slots.
pub(super) fn start(workdir: &Arc<Workdir>, options: &RedisOptions) -> Result<Vec<Redis>> {
    let held: Vec<HeldPort> = (0..2 * PRIMARIES).map(|_| HeldPort::take()).collect::<Result<_>>()?;
    let ports: Vec<u16> = held.into_iter().map(HeldPort::release).collect();
    let mut servers = Vec::new();
    for (number, pair) in ports.chunks_exact(2).enumerate() {
        let mut options = options.clone();
        let mut set = |name: &str, value: &str| options.settings.push((name.to_owned(), value.to_owned()));
        set("cluster-enabled", "yes");
        set("cluster-port", &pair[1].to_string());
        set("cluster-node-timeout", "2000");
        set("cluster-require-full-coverage", "no");
        let server = Redis::new(workdir, &format!("redis-{}", number + 1), Place::Port(pair[0]), &options)?;
        server.node.spawn()?;
        servers.push(server);
    }
    for (number, server) in servers.iter().enumerate() {
        server.node.wait_until(READY_WITHIN, || server.ping())?;
        let (first, end) = (SLOTS * number / PRIMARIES, SLOTS * (number + 1) / PRIMARIES);
        // Told apart from the start, so that nobody has to settle who is right.
        server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
        server.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()])?;
    }
    for pair in ports[2..].chunks_exact(2) {
        servers[0].command(&["CLUSTER", "MEET", "127.0.0.1", &pair[0].to_string(), &pair[1].to_string()])?;
    }
    wait_until_whole(&servers)?;
    Ok(servers)
}

/// Waits until every server sees the whole cluster well.
pub(super) fn wait_until_whole(servers: &[Redis]) -> Result<()> {
    for server in servers {
        server.node.wait_until(READY_WITHIN, || {
            let facts = server.ask(&["CLUSTER", "INFO"])?;
            let has = |fact: &str| facts.iter().any(|known| known == fact);
            let whole = has("cluster_state:ok") && has("cluster_slots_ok:16384") && has("cluster_known_nodes:3");
            if whole { Ok(()) } else { Err(format!("it says {facts:?}")) }
        })?;
    }
    Ok(())
}

/// The server that has the slot of a key.
pub(super) fn owner<'a>(servers: &'a [Redis], key: &str) -> Result<&'a Redis> {
    let running = || servers.iter().filter(|server| server.node.pid().is_some());
    let nobody = || StackError::Unsupported(format!("no running server has the slot of {key}"));
    let slot = slot_of(running().next().ok_or_else(nobody)?, key)?;
    for server in running() {
        // Its own entry ends with the slots it has, as `first-last`, with `[slot->-node]` while one moves.
        let nodes = server.command(&["CLUSTER", "NODES"])?;
        let own = nodes.iter().find(|node| node.contains("myself")).map_or("", String::as_str);
        let ranges = own.split(' ').skip(8).filter(|range| !range.starts_with('['));
        let mut ranges = ranges.filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
        });
        if ranges.any(|range| range.contains(&slot)) {
            return Ok(server);
        }
    }
    Err(nobody())
}

/// Moves the slot of a key, with all keys in it, to another server, in the steps that a resharding tool takes.
pub(super) fn move_slot<'a>(servers: &'a [Redis], key: &str) -> Result<&'a Redis> {
    let from = owner(servers, key)?;
    let slot = slot_of(from, key)?.to_string();
    let place = servers.iter().position(|server| server.port() == from.port()).unwrap_or(0);
    let to = &servers[(place + 1) % servers.len()];
    let id = |server: &Redis| Ok::<_, StackError>(server.command(&["CLUSTER", "MYID"])?.concat());
    let (source, target) = (id(from)?, id(to)?);
    to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source])?;
    from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target])?;
    loop {
        let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"])?;
        if keys.is_empty() {
            break;
        }
        let port = to.port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.iter().map(String::as_str));
        from.command(&migrate)?;
    }
    for server in [to, from].into_iter().chain(servers) {
        server.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target])?;
    }
    Ok(to)
}

fn slot_of(server: &Redis, key: &str) -> Result<usize> {
    let answer = server.command(&["CLUSTER", "KEYSLOT", key])?.concat();
    answer.parse().map_err(|_| StackError::Answer { doing: format!("asking for the slot of {key}"), answer })
}
