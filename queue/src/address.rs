//! Where the line's Redis is: one URL for one server, for servers under Sentinel, or for a cluster.
//!
//! | URL | what |
//! |---|---|
//! | `redis://…`, `rediss://…`, `redis+unix://…` | one server, as the client library reads it |
//! | `redis+sentinel://[user:secret@]host:port,host:port/NAME` | the primary that these sentinels know by that name |
//! | `redis+cluster://[user:secret@]host:port,host:port` | a cluster that these nodes belong to |
//!
//! User and secret are those of the servers; sentinels are asked without. A sentinel's port is 26379 unless given,
//! a node's 6379.

use redis::{ErrorKind, RedisError};

const SENTINEL: &str = "redis+sentinel://";
const CLUSTER: &str = "redis+cluster://";

/// A parsed URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// One server: the URL as it was.
    Single(String),
    /// Servers under Sentinel.
    Sentinel {
        /// URLs of the sentinels.
        sentinels: Vec<String>,
        /// What they call the primary.
        name: String,
        /// What stands before a server's host in its URL: `user:secret@` or nothing.
        credentials: String,
    },
    /// A cluster: URLs of the nodes to begin with.
    Cluster(Vec<String>),
}

impl Address {
    /// Reads a URL. Whether hosts and ports are sound is left to the client library.
    pub(crate) fn parse(url: &str) -> Result<Self, RedisError> {
        if let Some(rest) = url.strip_prefix(SENTINEL) {
            let (hosts, name) = rest.split_once('/').unwrap_or((rest, ""));
            let name = name.trim_end_matches('/');
            if name.is_empty() {
                return Err(malformed("redis+sentinel://HOST:PORT,…/NAME needs the name of the primary"));
            }
            let (credentials, sentinels) = nodes(hosts, 26_379)?;
            let sentinels = sentinels.iter().map(|node| format!("redis://{node}/")).collect();
            return Ok(Self::Sentinel { sentinels, name: name.to_owned(), credentials });
        }
        if let Some(rest) = url.strip_prefix(CLUSTER) {
            let hosts = rest.trim_end_matches('/');
            if hosts.contains('/') {
                return Err(malformed("redis+cluster://HOST:PORT,… takes no path: a cluster has one database"));
            }
            let (credentials, nodes) = nodes(hosts, 6379)?;
            return Ok(Self::Cluster(nodes.iter().map(|node| format!("redis://{credentials}{node}/")).collect()));
        }
        Ok(Self::Single(url.to_owned()))
    }
}

/// `[user:secret@]host:port,host:port` as the credentials and the nodes, each with a port.
fn nodes(text: &str, port: u16) -> Result<(String, Vec<String>), RedisError> {
    let (credentials, hosts) = match text.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), text),
    };
    let nodes: Vec<String> = hosts.split(',').map(|host| with_port(host.trim(), port)).collect();
    if hosts.is_empty() || nodes.iter().any(|node| node.starts_with(':')) {
        return Err(malformed("a host is missing in the list of nodes"));
    }
    Ok((credentials, nodes))
}

fn with_port(host: &str, port: u16) -> String {
    let named = host.rsplit_once(':').is_some_and(|(_, tail)| !tail.contains(']'));
    if named { host.to_owned() } else { format!("{host}:{port}") }
}

fn malformed(why: &'static str) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentinel(sentinels: &[&str], name: &str, credentials: &str) -> Address {
        Address::Sentinel {
            sentinels: sentinels.iter().map(ToString::to_string).collect(),
            name: name.to_owned(),
            credentials: credentials.to_owned(),
        }
    }

    #[test]
    fn every_form_is_read() {
        let cluster = |nodes: &[&str]| Address::Cluster(nodes.iter().map(ToString::to_string).collect());
        let cases = [
            ("redis://127.0.0.1:6379/2", Address::Single("redis://127.0.0.1:6379/2".into())),
            ("redis+unix:///run/redis.sock", Address::Single("redis+unix:///run/redis.sock".into())),
            ("redis+sentinel://a:1,b/line", sentinel(&["redis://a:1/", "redis://b:26379/"], "line", "")),
            (
                "redis+sentinel://u:p%40s@[::1]:5,[::2]/x/",
                sentinel(&["redis://[::1]:5/", "redis://[::2]:26379/"], "x", "u:p%40s@"),
            ),
            ("redis+cluster://a:1,b:2/", cluster(&["redis://a:1/", "redis://b:2/"])),
            ("redis+cluster://:s@a", cluster(&["redis://:s@a:6379/"])),
        ];
        for (url, expected) in cases {
            assert!(Address::parse(url).unwrap() == expected, "{url}");
        }
    }

    #[test]
    fn what_lacks_a_host_or_a_name_is_refused() {
        for url in [
            "redis+sentinel://a:1",
            "redis+sentinel://a:1/",
            "redis+sentinel:///x",
            "redis+cluster://",
            "redis+cluster://a,,b",
            "redis+cluster://a/1",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
