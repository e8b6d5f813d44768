//! What a stack was for: the first rule of which one function is in it. Pure.

/// A group, and parts of names of which one is in a stack of it.
pub(super) type Rule = (&'static str, &'static [&'static str]);

/// How many samples a group has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) group: &'static str,
    pub(super) count: usize,
}

/// Before the names of functions in the kernel.
const KERNEL: &str = "kernel:";

/// Before the names of functions in the library of PL/pgSQL.
const LANGUAGE: &str = "plpgsql:";

/// Of the booking node.
pub(super) const NODE: &[Rule] = &[
    ("the statement: columns, sqlx, its socket", &["sqlx", "storage::hold_batch"]),
    ("the writer: mirror, plan, answers", &["writer::task", "writer::mirror", "writer::plan"]),
    ("kernel: answers sent", &["kernel:tcp_sendmsg", "kernel:__sys_sendto", "kernel:do_writev", "kernel:vfs_write"]),
    ("kernel: requests received", &["kernel:tcp_recvmsg", "kernel:__sys_recvfrom", "kernel:vfs_read"]),
    ("kernel: waiting and waking", &["kernel:do_epoll", "kernel:do_futex", "kernel:ep_poll", "kernel:schedule"]),
    ("kernel: other", &[KERNEL]),
    ("buyer token and cookie", &["booking::buyer", "hmac", "sha2", "http::cookies", "base64"]),
    ("JSON", &["serde_json", "HoldDocument", "serde_core"]),
    ("logs and metrics", &["tracing_subscriber", "tracing_core", "metrics", "http::request::record"]),
    ("the use case: names, prices, view", &["booking::app", "booking::events", "booking::http"]),
    ("HTTP: hyper, axum, tower", &["hyper", "axum", "tower", "matchit", "http::"]),
    ("tokio", &["tokio"]),
];

/// Of Postgres.
pub(super) const POSTGRES: &[Rule] = &[
    ("commit: log written and flushed", &["XLogFlush", "XLogWrite", "issue_xlog_fsync", "XLogBackgroundFlush"]),
    ("log records", &["XLogInsert"]),
    ("index entries", &["btinsert", "_bt_doinsert", "ExecInsertIndexTuples"]),
    (
        "rows found by index",
        &["btgettuple", "index_getnext", "index_fetch", "_bt_search", "index_beginscan", "btrescan"],
    ),
    ("rows written and locked", &["heap_insert", "heap_update", "heap_multi_insert", "heap_lock_tuple", "heapam_"]),
    ("checks of rows", &["ExecConstraints", "AfterTrigger", "ExecBRUpdate", "ExecBRInsert"]),
    (
        "locks, snapshots, end of transaction",
        &["LockAcquire", "LockRelease", "GetSnapshotData", "ResourceOwnerRelease", "CommitTransaction", "ProcArrayEnd"],
    ),
    ("plans begun and ended", &["ExecutorStart", "ExecutorEnd", "GetCachedPlan", "CreateQueryDesc", "InitPlan"]),
    ("plans run: joins, sorts, expressions", &["ExecutorRun", "standard_ExecutorRun"]),
    ("the function's own steps", &[LANGUAGE]),
    ("parameters and results", &["exec_bind_message", "exec_parse", "printtup", "pq_", "array_recv", "secure_"]),
    ("kernel: other", &[KERNEL]),
];

/// The stack up to the first function of the language of `hold_batch`: what lies further out is the call of it, which all
/// its statements have in common.
pub(super) fn inner(mut stack: Vec<String>) -> Vec<String> {
    if let Some(call) = stack.iter().position(|name| name.starts_with(LANGUAGE)) {
        stack.truncate(call + 1);
    }
    stack
}

/// The shares, largest first; what no rule knows is the last.
pub(super) fn shares(stacks: &[Vec<String>], rules: &[Rule]) -> Vec<Share> {
    let mut counts = vec![0; rules.len()];
    let mut other = 0;
    for stack in stacks {
        let is_in = |(_, parts): &Rule| stack.iter().any(|name| parts.iter().any(|part| name.contains(part)));
        match rules.iter().position(is_in) {
            Some(rule) => counts[rule] += 1,
            None => other += 1,
        }
    }
    let groups = rules.iter().zip(counts).map(|((group, _), count)| Share { group, count });
    let mut shares: Vec<Share> = groups.filter(|share| share.count > 0).collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.count));
    shares.push(Share { group: "other", count: other });
    shares
}

/// Reads what `perf script` prints: a line for the process, one for each function, an empty one.
pub(super) fn read(said: &str) -> Vec<(u32, Vec<String>)> {
    let samples = said.split("\n\n").filter_map(|sample| {
        let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
        let pid = lines.next()?.split_whitespace().next()?.trim_end_matches(':').parse().ok()?;
        let names = lines.filter_map(|line| {
            let (_, rest) = line.trim().split_once(' ')?;
            let (name, object) = rest.rsplit_once(" (")?;
            Some(match object {
                _ if object.starts_with("[kernel") => format!("{KERNEL}{name}"),
                _ if object.contains("plpgsql") => format!("{LANGUAGE}{name}"),
                _ => name.to_owned(),
            })
        });
        Some((pid, names.collect()))
    });
    samples.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "   17 \n\t ffff tcp_sendmsg ([kernel.kallsyms])\n\t 55 hyper::proto::h1 (/bin/usher-booking)\n\n\
                        \x20  18 \n\t 7 btinsert (/bin/postgres)\n\t 8 a (/lib/plpgsql.so)\n\t 9 LockAcquire (/bin/postgres)\n\n   17 \n\t 9 a::sqlx (b) ::c (/bin/usher-booking)\n";

    #[test]
    fn samples_are_read_and_told_apart() {
        let samples = read(SAID);
        let node: Vec<Vec<String>> = samples.iter().filter(|(pid, _)| *pid == 17).map(|(_, s)| s.clone()).collect();
        assert_eq!((samples.len(), node.len()), (3, 2));
        assert_eq!(node[0], ["kernel:tcp_sendmsg", "hyper::proto::h1"]);
        let groups: Vec<(&str, usize)> = shares(&node, NODE).iter().map(|share| (share.group, share.count)).collect();
        assert_eq!(groups, [(NODE[0].0, 1), (NODE[2].0, 1), ("other", 0)]);
        assert_eq!(inner(samples[1].1.clone()), ["btinsert", "plpgsql:a"]);
    }
}
