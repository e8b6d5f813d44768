//! The summary of a run: everything the text, the JSON file and the HTML page show.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::engine::Finished;
use crate::exit::Exit;
use crate::history::Kind;
use crate::meter::{Meter, quantile_of};
use crate::scenario::{Miss, Quantile};

/// A generator that is later than this at the 99th percentile is part of what it measures.
const LAG_WARNING_MS: f64 = 50.0;

/// A distribution, in the unit of its field's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half are below.
    pub p50: f64,
    /// Nine in ten are below.
    pub p90: f64,
    /// 95 in a hundred are below.
    pub p95: f64,
    /// 99 in a hundred are below.
    pub p99: f64,
    /// 999 in a thousand are below.
    pub p999: f64,
    /// All are at or below.
    pub max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>, us_per_unit: f64) -> Option<Self> {
        let at = |quantile| quantile_of(histogram, quantile).map(|us| us / us_per_unit);
        Some(Self {
            p50: at(Quantile::P50)?,
            p90: at(Quantile::P90)?,
            p95: at(Quantile::P95)?,
            p99: at(Quantile::P99)?,
            p999: at(Quantile::P999)?,
            max: at(Quantile::Max)?,
        })
    }
}

/// One kind of operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperationSummary {
    /// Its name.
    pub operation: &'static str,
    /// All of them.
    pub count: u64,
    /// Those that took effect.
    pub ok: u64,
    /// Refusals that belong to the game.
    pub refused: u64,
    /// Errors.
    pub errors: u64,
    /// Those whose effect is unknown.
    pub unknown: u64,
    /// Everything but ok, by problem.
    pub problems: BTreeMap<String, u64>,
    /// Latency from the moment it was due.
    pub intended_ms: Option<Latency>,
    /// Latency from the moment it was sent.
    pub sent_ms: Option<Latency>,
}

/// Fans by how far they came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fans {
    /// Came.
    pub arrived: u64,
    /// Got a place.
    pub joined: u64,
    /// Got a pass.
    pub got_in: u64,
    /// By how the visit ended.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Time in the line, of those who got in.
    pub wait_s: Option<Latency>,
    /// Positions that rose between two polls.
    pub moved_back: u64,
}

/// What was sold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sold {
    /// Holds acknowledged.
    pub holds: u64,
    /// Bookings confirmed.
    pub bookings: u64,
    /// Seats of them.
    pub seats: u64,
    /// Places in areas of them.
    pub places: u64,
    /// Money of them, minor units by currency.
    pub money: BTreeMap<String, i64>,
}

/// How well the generator itself kept time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generator {
    /// How late it got to its operations.
    pub lag_ms: Option<Latency>,
    /// What its figures are worth, when not their face value.
    pub warnings: Vec<String>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The scenario's name.
    pub scenario: String,
    /// The seed of all draws.
    pub seed: u64,
    /// Addresses asked.
    pub targets: Vec<String>,
    /// When it began.
    pub started_at: String,
    /// How long it took.
    pub elapsed_s: f64,
    /// Whether a signal ended it.
    pub aborted: bool,
    /// Requests per second over the whole run.
    pub requests_per_s: f64,
    /// By kind of operation.
    pub operations: Vec<OperationSummary>,
    /// The fans.
    pub fans: Fans,
    /// The sales.
    pub sold: Sold,
    /// The generator.
    pub generator: Generator,
    /// Invariants seen broken, the first ones.
    pub broken: Vec<String>,
    /// Invariants seen broken, all.
    pub broken_count: u64,
    /// Thresholds missed.
    pub missed: Vec<String>,
    /// Thresholds in all.
    pub thresholds: usize,
    /// The exit code that all this means.
    pub exit: u8,
}

impl Summary {
    /// The summary of a finished run.
    pub fn of(run: &Finished) -> Self {
        let meter = &run.meter;
        let missed: Vec<Miss> = run
            .scenario
            .thresholds
            .iter()
            .filter_map(|threshold| threshold.judge(meter.value(threshold.metric)))
            .collect();
        let (broken, broken_count) = run.watch.breaches();
        let exit = Exit::of_run(broken_count > 0, run.aborted, !missed.is_empty());
        Self {
            scenario: run.scenario.name.clone(),
            seed: run.scenario.seed,
            targets: run.targets.clone(),
            started_at: run.started_at.clone(),
            elapsed_s: run.elapsed_s,
            aborted: run.aborted,
            requests_per_s: meter.requests().0 as f64 / run.elapsed_s.max(0.001),
            operations: Kind::OPERATIONS.into_iter().filter_map(|kind| operation(meter, kind)).collect(),
            fans: Fans {
                arrived: meter.arrived,
                joined: meter.joined,
                got_in: meter.got_in,
                outcomes: meter.outcomes.iter().map(|(outcome, count)| (outcome.name(), *count)).collect(),
                wait_s: Latency::of(&meter.wait, 1e6),
                moved_back: meter.moved_back,
            },
            sold: Sold {
                holds: meter.holds,
                bookings: meter.confirmed,
                seats: meter.seats_sold,
                places: meter.places_sold,
                money: meter.money.clone(),
            },
            generator: generator(run),
            broken: broken.to_vec(),
            broken_count,
            missed: missed.iter().map(ToString::to_string).collect(),
            thresholds: run.scenario.thresholds.len(),
            exit: exit.code(),
        }
    }

    /// The exit that all this means.
    pub fn exit(&self) -> Exit {
        Exit::of_run(self.broken_count > 0, self.aborted, !self.missed.is_empty())
    }
}

fn operation(meter: &Meter, kind: Kind) -> Option<OperationSummary> {
    let operation = meter.operations.get(&kind)?;
    Some(OperationSummary {
        operation: kind.name(),
        count: operation.count(),
        ok: operation.ok,
        refused: operation.refused,
        errors: operation.errors,
        unknown: operation.unknown,
        problems: operation.problems.clone(),
        intended_ms: Latency::of(&operation.intended, 1e3),
        sent_ms: Latency::of(&operation.sent, 1e3),
    })
}

fn generator(run: &Finished) -> Generator {
    let lag_ms = Latency::of(&run.meter.lag, 1e3);
    let mut warnings = Vec::new();
    if let Some(lag) = lag_ms.filter(|lag| lag.p99 > LAG_WARNING_MS) {
        warnings.push(format!(
            "the generator was late by {:.0} ms at the 99th percentile: latencies are partly its own",
            lag.p99
        ));
    }
    let starved: u64 =
        run.meter.operations.values().filter_map(|operation| operation.problems.get("no_connection")).sum();
    if starved > 0 {
        warnings.push(format!(
            "{starved} requests found no free connection in time: raise limits.connections or see why answers are slow"
        ));
    }
    if let Some(fault) = &run.history_fault {
        warnings.push(format!("the history is not whole: {fault}"));
    }
    Generator { lag_ms, warnings }
}
