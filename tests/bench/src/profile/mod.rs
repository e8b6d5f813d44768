//! Where a hold's time goes: our side of `holds_distinct` under `perf`, and what each sample was for.
//!
//! Not a measurement with a bar, but what explains one: `make profile-holds` prints the table of `docs/HOLDS.md`. Wants
//! `perf`, and leave to look at other processes (root, or `kernel.perf_event_paranoid` at most 1).

mod groups;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::counter::Counter;
use groups::{NODE, POSTGRES, Share, shares};

/// Looks per second and core; no divisor of the clocks that programs wake by.
const LOOKS_PER_S: u32 = 997;
/// How much of each stack is taken along, in bytes.
const STACK: &str = "dwarf,16384";
/// For so long it is looked; the load runs a second longer, and takes no more seats than there are.
const SECONDS: u32 = 5;

/// Plays holds of distinct seats, looks at node and Postgres meanwhile, and prints the shares. What `perf` wrote is kept
/// in `keep`, for those who look further.
///
/// # Errors
/// When there is no `perf`, it may not look, or the load fails.
pub(crate) fn holds(keep: Option<&Path>) -> Result<()> {
    let counter = Counter::open()?;
    let seats: Vec<String> = counter.seats()?.into_iter().map(|seat| format!("{{\"seats\":[\"{seat}\"]}}")).collect();
    counter.holds(&counter.fresh()?, &seats, 1)?;
    let event = counter.fresh()?;
    let (node, postgres) = (counter.pids().booking[0], counter.pids().postgres);
    let folder = tempfile::Builder::new().prefix("usher-profile-").tempdir()?;
    let data = keep.map_or_else(|| folder.path().join("perf.data"), Path::to_owned);
    // Reading the plan is no part of a hold.
    counter.warm_up(&event)?;
    // Those that serve the node's connections are there since the first round.
    let mut looked = vec![node];
    looked.extend(children(postgres)?);
    let looks = look(&data, &looked)?;
    let done = counter.holds(&event, &seats, SECONDS + 1)?;
    let ended = looks.wait_with_output().context("waiting for perf")?;
    ensure!(ended.status.success(), "perf failed: {}", String::from_utf8_lossy(&ended.stderr));
    let held = done.held_per_s * f64::from(SECONDS);
    println!("{:.0} holds a second while looked at", done.held_per_s);
    let samples = samples(&data)?;
    let (ours, theirs): (Vec<_>, Vec<_>) = samples.into_iter().partition(|(pid, _)| *pid == node);
    for (name, samples, rules) in [("booking node", ours, NODE), ("Postgres", theirs, POSTGRES)] {
        let stacks: Vec<Vec<String>> = samples.into_iter().map(|(_, stack)| groups::inner(stack)).collect();
        let us = |count: usize| count as f64 * 1e6 / f64::from(LOOKS_PER_S) / held.max(1.0);
        println!("\n{name}: {:.1} µs of processor time per hold", us(stacks.len()));
        for Share { group, count } in shares(&stacks, rules) {
            println!("{:5.1} % {:6.1} µs  {group}", 100.0 * count as f64 / stacks.len().max(1) as f64, us(count));
        }
        tell_leaves(name, &stacks);
    }
    Ok(())
}

/// The processes that a process started.
fn children(pid: u32) -> Result<Vec<u32>> {
    let list =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).context("the children of Postgres")?;
    Ok(list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

fn look(data: &Path, pids: &[u32]) -> Result<Child> {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-e", "cpu-clock", "-F", &LOOKS_PER_S.to_string(), "--call-graph", STACK]);
    perf.args(["-p", &pids.join(",")]).arg("-o").arg(data).args(["sleep", &SECONDS.to_string()]);
    perf.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("starting perf (Debian: linux-perf)")
}

/// Each sample's process and stack, the innermost function first; of functions in the kernel the name is marked.
fn samples(data: &Path) -> Result<Vec<(u32, Vec<String>)>> {
    let mut perf = Command::new("perf");
    perf.args(["script", "--no-inline", "-F", "pid,ip,sym,dso", "-i"]).arg(data);
    let output = perf.output().context("running perf script")?;
    ensure!(output.status.success(), "perf script failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(groups::read(&String::from_utf8_lossy(&output.stdout)))
}

/// The functions that most samples ended in, for those who look further.
fn tell_leaves(name: &str, stacks: &[Vec<String>]) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for leaf in stacks.iter().filter_map(|stack| stack.first()) {
        *counts.entry(leaf).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    for (leaf, count) in counts.into_iter().take(40) {
        eprintln!("# {name} {:5.1} % {leaf}", 100.0 * count as f64 / stacks.len() as f64);
    }
}
