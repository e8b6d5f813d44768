//! A primary with two replicas, watched by three sentinels.
//!
//! The sentinels know each other and the replicas from their configuration, so nothing has to be discovered, and
//! call a server dead after a second. A primary that hears from no replica for a few seconds takes no more writes, which
//! bounds what a primary cut off from the rest may promise.

use std::sync::Arc;

use rand::RngExt;

use super::{Place, READY_WITHIN, Redis, RedisOptions};
use crate::configuration::write_private;
use crate::error::Result;
use crate::ports::HeldPort;
use crate::workdir::Workdir;

/// What the sentinels call the primary.
pub(super) const NAME: &str = "usher";
const SERVERS: usize = 3;
const SENTINELS: usize = 3;

/// Starts servers and sentinels and waits until all know each other. The first server is the primary.
pub(super) fn start(workdir: &Arc<Workdir>, options: &RedisOptions) -> Result<(Vec<Redis>, Vec<Redis>)> {
    let held: Vec<HeldPort> = (0..SERVERS + SENTINELS).map(|_| HeldPort::take()).collect::<Result<_>>()?;
    let ports: Vec<u16> = held.into_iter().map(HeldPort::release).collect();
    let (server_ports, sentinel_ports) = ports.split_at(SERVERS);
    let servers = start_servers(workdir, options, server_ports)?;
    let sentinels = start_sentinels(workdir, server_ports, sentinel_ports)?;
    wait_until_known(&servers, &sentinels)?;
    Ok((servers, sentinels))
}

fn start_servers(workdir: &Arc<Workdir>, options: &RedisOptions, ports: &[u16]) -> Result<Vec<Redis>> {
    let mut servers = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let mut options = options.clone();
        let mut set = |name: &str, value: &str| options.settings.push((name.to_owned(), value.to_owned()));
        set("min-replicas-to-write", "1");
        set("min-replicas-max-lag", "3");
        // A replica that comes is served at once, without waiting for others to come along.
        set("repl-diskless-sync-delay", "0");
        set("repl-ping-replica-period", "1");
        if number > 0 {
            set("replicaof", &format!("127.0.0.1 {}", ports[0]));
        }
        let server = Redis::new(workdir, &format!("redis-{}", number + 1), Place::Port(*port), &options)?;
        server.node.spawn()?;
        servers.push(server);
    }
    wait_until_replicated(&servers[0], SERVERS - 1)?;
    Ok(servers)
}

/// Waits until every replica that is there has acknowledged what the primary knows now, and is there at all. A link is
/// called up some time before anything is sent over it, and whoever is promoted in between has nothing.
pub(super) fn wait_until_replicated(primary: &Redis, replicas: usize) -> Result<()> {
    let mut wanted = None;
    primary.node.wait_until(READY_WITHIN, || {
        let facts = primary.ask(&["INFO", "replication"])?;
        let offset = |fact: &str, name: &str| {
            fact.split(',').find_map(|part| part.strip_prefix(name)).and_then(|offset| offset.parse::<u64>().ok())
        };
        let known = facts.iter().find_map(|fact| offset(fact, "master_repl_offset:")).unwrap_or(0);
        // The primary's own signs of life make it more than nothing.
        let wanted = *wanted.get_or_insert(known.max(1));
        let online = facts.iter().filter(|fact| fact.starts_with("slave") && fact.contains("state=online"));
        let followers = online.filter(|fact| offset(fact, "offset=").is_some_and(|offset| offset >= wanted)).count();
        if followers >= replicas { Ok(()) } else { Err(format!("not all replicas follow: {facts:?}")) }
    })
}

fn start_sentinels(workdir: &Arc<Workdir>, servers: &[u16], ports: &[u16]) -> Result<Vec<Redis>> {
    let ids: Vec<String> = ports.iter().map(|_| identity()).collect();
    let mut sentinels = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let name = format!("sentinel-{}", number + 1);
        let mut lines = vec![
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", workdir.path().display()),
            // Its title would overwrite the environment in which the guard looks for the marker.
            "set-proc-title no".to_owned(),
            format!("sentinel myid {}", ids[number]),
            format!("sentinel monitor {NAME} 127.0.0.1 {} 2", servers[0]),
            format!("sentinel down-after-milliseconds {NAME} 1000"),
            format!("sentinel failover-timeout {NAME} 3000"),
            format!("sentinel parallel-syncs {NAME} 2"),
        ];
        lines.extend(servers[1..].iter().map(|replica| format!("sentinel known-replica {NAME} 127.0.0.1 {replica}")));
        let others = ports.iter().zip(&ids).filter(|(other, _)| *other != port);
        lines.extend(others.map(|(other, id)| format!("sentinel known-sentinel {NAME} 127.0.0.1 {other} {id}")));
        // The sentinel keeps its state in there.
        let file = workdir.path().join(format!("{name}.conf"));
        write_private(&file, &(lines.join("\n") + "\n"))?;
        let arguments = vec![file.into(), "--sentinel".into()];
        let sentinel = Redis::with_arguments(workdir, &name, Place::Port(*port), arguments)?;
        sentinel.node.spawn()?;
        sentinels.push(sentinel);
    }
    Ok(sentinels)
}

/// Waits until every sentinel could carry out a failover and the primary takes writes.
pub(super) fn wait_until_known(servers: &[Redis], sentinels: &[Redis]) -> Result<()> {
    for sentinel in sentinels {
        sentinel.node.wait_until(READY_WITHIN, || {
            sentinel.ask(&["SENTINEL", "CKQUORUM", NAME])?;
            let facts = facts_of_primary(sentinel)?;
            let is = |name: &str, value: &str| facts.iter().any(|(n, v)| n == name && v == value);
            let whole = is("flags", "master") && is("num-slaves", "2") && is("num-other-sentinels", "2");
            if whole { Ok(()) } else { Err(format!("it knows {facts:?}")) }
        })?;
    }
    let primary = sentinels.first().and_then(|sentinel| primary_by(sentinel).ok());
    for server in servers.iter().filter(|server| Some(server.port()) == primary) {
        server.node.wait_until(READY_WITHIN, || takes_writes(server))?;
    }
    Ok(())
}

/// Whether a server calls itself primary and has a replica, so that it may be written to.
pub(super) fn takes_writes(server: &Redis) -> Result<(), String> {
    let facts = server.ask(&["INFO", "replication"])?;
    let has = |fact: &str| facts.iter().any(|known| known == fact);
    if has("role:master") && !has("min_slaves_good_slaves:0") { Ok(()) } else { Err(format!("{facts:?}")) }
}

/// The port of the primary as a sentinel knows it.
pub(super) fn primary_by(sentinel: &Redis) -> Result<u16, String> {
    let facts = facts_of_primary(sentinel)?;
    let port = facts.iter().find(|(name, _)| name == "port").and_then(|(_, port)| port.parse().ok());
    port.ok_or_else(|| format!("it names no port: {facts:?}"))
}

fn facts_of_primary(sentinel: &Redis) -> Result<Vec<(String, String)>, String> {
    let facts = sentinel.ask(&["SENTINEL", "MASTER", NAME])?;
    Ok(facts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}

/// What sentinels tell each other apart by.
fn identity() -> String {
    let bytes: [u8; 20] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
