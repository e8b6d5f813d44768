//! The summary as text for a person at a terminal.

use std::fmt::{self, Write};

use super::summary::{Latency, Summary};

/// The summary in lines of at most about 110 characters.
pub fn print(summary: &Summary) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, summary);
    out
}

fn write_all(out: &mut String, s: &Summary) -> fmt::Result {
    let end = if s.aborted { ", stopped by a signal" } else { "" };
    writeln!(
        out,
        "scenario {} · seed {} · {:.1} s{end} · {:.0} requests/s",
        s.scenario, s.seed, s.elapsed_s, s.requests_per_s
    )?;
    writeln!(out)?;
    operations(out, s)?;
    writeln!(out)?;
    fans(out, s)?;
    let money: Vec<String> =
        s.sold.money.iter().map(|(currency, amount)| format!("{} {currency}", minor(*amount))).collect();
    writeln!(
        out,
        "sold     {} bookings, {} seats, {} places, {}; {} holds",
        s.sold.bookings,
        s.sold.seats,
        s.sold.places,
        if money.is_empty() { "no money".to_owned() } else { money.join(" + ") },
        s.sold.holds
    )?;
    if let Some(lag) = &s.generator.lag_ms {
        writeln!(out, "generator late by p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms", lag.p50, lag.p99, lag.max)?;
    }
    for warning in &s.generator.warnings {
        writeln!(out, "WARNING  {warning}")?;
    }
    if s.thresholds > 0 {
        writeln!(out, "thresholds {} of {} kept", s.thresholds - s.missed.len(), s.thresholds)?;
    }
    for miss in &s.missed {
        writeln!(out, "MISSED   {miss}")?;
    }
    if s.broken_count > 0 {
        writeln!(out, "BROKEN   {} invariants seen broken during the run", s.broken_count)?;
    }
    for breach in &s.broken {
        writeln!(out, "BROKEN   {breach}")?;
    }
    Ok(())
}

fn operations(out: &mut String, s: &Summary) -> fmt::Result {
    writeln!(
        out,
        "{:<9}{:>9}{:>9}{:>8}{:>8}   {:<37} when sent",
        "ms", "count", "refused", "errors", "unknown", "from the intended moment"
    )?;
    writeln!(
        out,
        "{:<9}{:>9}{:>9}{:>8}{:>8}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "", "", "", "", "p50", "p90", "p99", "max", "p99"
    )?;
    for op in &s.operations {
        let intended = op.intended_ms.unwrap_or_default();
        let sent = op.sent_ms.unwrap_or_default();
        writeln!(
            out,
            "{:<9}{:>9}{:>9}{:>8}{:>8}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>10.1}",
            op.operation,
            op.count,
            op.refused,
            op.errors,
            op.unknown,
            intended.p50,
            intended.p90,
            intended.p99,
            intended.max,
            sent.p99
        )?;
    }
    for op in s.operations.iter().filter(|op| !op.problems.is_empty()) {
        let problems: Vec<String> = op.problems.iter().map(|(problem, count)| format!("{problem} {count}")).collect();
        writeln!(out, "  {}: {}", op.operation, problems.join(", "))?;
    }
    Ok(())
}

fn fans(out: &mut String, s: &Summary) -> fmt::Result {
    writeln!(out, "fans     {} came, {} joined the line, {} got in", s.fans.arrived, s.fans.joined, s.fans.got_in)?;
    let outcomes: Vec<String> =
        s.fans.outcomes.iter().map(|(outcome, count)| format!("{} {count}", outcome.replace('_', " "))).collect();
    writeln!(out, "         {}", outcomes.join(", "))?;
    if let Some(Latency { p50, p90, max, .. }) = s.fans.wait_s {
        writeln!(out, "wait     p50 {p50:.1} s, p90 {p90:.1} s, at most {max:.1} s")?;
    }
    if s.fans.moved_back > 0 {
        writeln!(out, "         {} times a position rose between two polls", s.fans.moved_back)?;
    }
    Ok(())
}

/// Minor units as people write them, for the two decimals that nearly all currencies have.
fn minor(amount: i64) -> String {
    format!("{}.{:02}", amount / 100, amount % 100)
}
