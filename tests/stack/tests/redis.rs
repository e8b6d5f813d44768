//! Several Redis servers that belong together: sentinels replace a dead primary, a cluster moves its slots, and
//! nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::time::Duration;

use stack::RedisLayout;
use stack::redis::{Aof, RedisOptions, Servers};

fn start(layout: RedisLayout) -> Servers {
    Servers::start(layout, &RedisOptions { aof: Aof::Off, ..RedisOptions::default() }).unwrap()
}

fn gone(servers: Servers) {
    let pids: Vec<u32> = servers.nodes().filter_map(|node| node.pid()).collect();
    let directory = servers.node().log().parent().unwrap().to_owned();
    drop(servers);
    assert!(pids.iter().all(|pid| stack::identity::start_of(*pid).is_none()), "some of {pids:?} stayed");
    assert!(!directory.exists(), "{} stayed", directory.display());
}

#[test]
fn sentinels_replace_a_dead_primary() {
    let servers = start(RedisLayout::Sentinel);
    let first = servers.primary("").unwrap();
    first.command(&["SET", "a", "1"]).unwrap();
    servers.wait_until_replicated().unwrap();
    let facts = first.command(&["INFO", "replication"]).unwrap();
    assert!(facts.iter().any(|fact| fact == "min_slaves_good_slaves:2"), "{facts:?}");
    servers.others("").unwrap()[0].node().pause().unwrap();
    servers.others("").unwrap()[0].node().resume().unwrap();

    let took = servers.failover().unwrap();
    eprintln!("another primary took writes after {took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    let second = servers.primary("").unwrap();
    assert_ne!(first.url(), second.url());
    assert_eq!(second.command(&["GET", "a"]).unwrap(), ["1"]);
    second.command(&["SET", "a", "2"]).unwrap();
    assert!(servers.move_slot("a").is_err());
    gone(servers);
}

/// The sentinels take their time with a server that comes back.
#[test]
#[ignore = "takes half a minute"]
fn a_killed_primary_comes_back_as_a_replica() {
    let servers = start(RedisLayout::Sentinel);
    let first = servers.primary("").unwrap();
    servers.failover().unwrap();
    servers.up().unwrap();
    assert_ne!(first.url(), servers.primary("").unwrap().url());
    first.command(&["SET", "a", "1"]).unwrap_err();
    first
        .node()
        .wait_until(Duration::from_secs(60), || match first.command(&["ROLE"]) {
            Ok(role) if role[0] == "slave" => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .unwrap();
    gone(servers);
}

#[test]
fn a_cluster_moves_a_slot_with_what_is_in_it() {
    let servers = start(RedisLayout::Cluster);
    for key in ["{a}:1", "{a}:2", "b", "c"] {
        servers.primary(key).unwrap().command(&["SET", key, key]).unwrap();
    }
    let before = servers.primary("{a}").unwrap().url();
    let now = servers.move_slot("{a}").unwrap();
    assert_ne!(now.url(), before);
    assert_eq!(servers.primary("{a}").unwrap().url(), now.url());
    for key in ["{a}:1", "{a}:2", "b", "c"] {
        assert_eq!(servers.primary(key).unwrap().command(&["GET", key]).unwrap(), [key]);
    }
    assert!(servers.failover().is_err());

    // One that is gone takes its own slots with it and no others, and comes back with them.
    let dead = servers.primary("b").unwrap();
    let other = servers.primary("c").unwrap();
    assert_ne!(dead.url(), other.url());
    dead.node().kill9().unwrap();
    // What counts is how it is once the others know.
    other
        .node()
        .wait_until(Duration::from_secs(15), || {
            let facts = other.command(&["CLUSTER", "INFO"]).map_err(|error| error.to_string())?;
            let failed = facts.iter().find_map(|fact| fact.strip_prefix("cluster_slots_fail:"));
            if failed.is_some_and(|slots| slots != "0") { Ok(()) } else { Err(format!("it says {facts:?}")) }
        })
        .unwrap();
    assert!(servers.primary("b").is_err());
    assert_eq!(other.command(&["GET", "c"]).unwrap(), ["c"]);
    servers.up().unwrap();
    assert_eq!(servers.primary("b").unwrap().url(), dead.url());
    gone(servers);
}
