//! Runs a script on a subject: next to a model that must agree after every operation, under rules that must hold.

use std::collections::BTreeMap;

use queue::offer::Offered;
use queue::take::Taken;
use queue::{SaleState, Standing};

use super::generate::Generator;
use super::observation::Observation;
use super::operations::{Call, Gateway, Intent, Reply, Step};
use super::profiles::Profile;
use super::rules::{Rule, Rules, Seen, Violation};
use super::subject::Subject;

/// When the test clock starts: above 10^15, as real ones do.
const START_US: u64 = 1_760_000_000_000_000;
/// How old a rank table may be, in the snapshot taken after every step.
const SNAPSHOT_AGE_MS: u64 = 1000;

/// What went wrong.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Subject and model say different things.
    Disagreement(String),
    /// A promise is broken.
    Broken(Violation),
}

impl Fault {
    /// The promise broken, if it was one.
    pub(crate) fn rule(&self) -> Option<Rule> {
        match self {
            Self::Disagreement(_) => None,
            Self::Broken(violation) => Some(violation.rule),
        }
    }
}

/// A run that went wrong: every step up to the one that showed it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) steps: Vec<Step>,
    pub(crate) fault: Fault,
}

/// How often what happened, so that a suite can show that it was not vacuous.
pub(crate) type Events = BTreeMap<&'static str, u64>;

/// Where steps come from.
pub(crate) enum Script<'a> {
    /// Made up as it goes.
    Fresh(Box<Generator>, usize),
    /// Played again.
    Again(std::slice::Iter<'a, Step>),
}

impl Script<'_> {
    pub(crate) fn fresh(profile: &Profile, seed: u64) -> Self {
        Self::Fresh(Box::new(Generator::new(profile, seed)), profile.steps)
    }

    fn next(&mut self, seen: &Observation, now_us: u64) -> Option<Step> {
        match self {
            Self::Fresh(_, 0) => None,
            Self::Fresh(generator, left) => {
                *left -= 1;
                Some(generator.next(seen, now_us))
            }
            Self::Again(steps) => steps.next().cloned(),
        }
    }

    fn learn(&mut self, reply: &Reply) {
        if let (Self::Fresh(generator, _), Reply::Configured(Ok(version))) = (self, reply) {
            generator.learn_version(*version);
        }
    }
}

/// Runs the script. With a model, both must agree; with `rules`, the promises must hold on the subject.
pub(crate) fn run(
    subject: &mut dyn Subject,
    mut model: Option<&mut dyn Subject>,
    rules: bool,
    mut script: Script<'_>,
) -> Result<Events, Box<Failure>> {
    subject.reset();
    if let Some(model) = &mut model {
        model.reset();
    }
    let (mut events, mut gateway, mut watch) = (Events::new(), Gateway::default(), Rules::default());
    let (mut now_us, mut before, mut steps) = (START_US, Observation::default(), Vec::new());
    while let Some(step) = script.next(&before, now_us) {
        now_us = now_us.saturating_add_signed(step.advance_us);
        let (known, call) = gateway.resolve(&step.intent, now_us);
        note_step(&mut events, &step);
        steps.push(step);
        let reply = subject.apply(known, &call, now_us);
        let snapshot = subject.snapshot(SNAPSHOT_AGE_MS, now_us);
        let after = subject.observe();
        if let Some(model) = &mut model {
            let expected =
                (model.apply(known, &call, now_us), model.snapshot(SNAPSHOT_AGE_MS, now_us), model.observe());
            if let Some(said) = difference(&(&reply, &snapshot, &after), &(&expected.0, &expected.1, &expected.2)) {
                let said = format!("{call:?}\n{said}");
                return Err(Box::new(Failure { steps, fault: Fault::Disagreement(said) }));
            }
        }
        let seen = Seen { call: &call, reply: &reply, now_us, before: &before, after: &after };
        if known
            && rules
            && let Err(violation) = watch.check(&seen)
        {
            return Err(Box::new(Failure { steps, fault: Fault::Broken(violation) }));
        }
        if known {
            gateway.learn(&call, &reply, snapshot.as_ref());
            script.learn(&reply);
        }
        note_reply(&mut events, &call, &reply);
        before = after;
    }
    Ok(events)
}

type Said<'a> = (&'a Reply, &'a Option<queue::snapshot::Snapshot>, &'a Observation);

fn difference(real: &Said<'_>, model: &Said<'_>) -> Option<String> {
    let say = |what: &str, real: &dyn std::fmt::Debug, model: &dyn std::fmt::Debug| {
        Some(format!("{what}:\n  subject {real:?}\n  model   {model:?}"))
    };
    if real.0 != model.0 {
        return say("replies", real.0, model.0);
    }
    if real.1 != model.1 {
        return say("snapshots", real.1, model.1);
    }
    if real.2.devices != model.2.devices {
        return say("codes and devices", &real.2.devices, &model.2.devices);
    }
    if real.2 != model.2 {
        let only = |a: &Observation, b: &Observation| -> Vec<_> {
            a.spots.iter().filter(|spot| !b.spots.contains(spot)).copied().collect()
        };
        return say(
            "spots and presence",
            &(only(real.2, model.2), &real.2.seen_ms, &real.2.orphans),
            &(only(model.2, real.2), &model.2.seen_ms, &model.2.orphans),
        );
    }
    None
}

fn note_step(events: &mut Events, step: &Step) {
    let mut note = |what| *events.entry(what).or_default() += 1;
    note("steps");
    match step.advance_us {
        ..0 => note("clock steps back"),
        20_000_000.. => note("clock leaps"),
        _ => {}
    }
    match &step.intent {
        Intent::Elsewhere(_) => note("unknown sale"),
        Intent::ByOldDevice(_) => note("by an old device"),
        Intent::Join { visitors, .. } => {
            let mut unique = visitors.clone();
            unique.sort_unstable();
            unique.dedup();
            if unique.len() < visitors.len() {
                note("duplicates in a batch");
            }
        }
        _ => {}
    }
}

fn note_reply(events: &mut Events, call: &Call, reply: &Reply) {
    let mut note = |what, n| *events.entry(what).or_default() += n;
    match (call, reply) {
        (Call::Configure { settings, .. }, Reply::Configured(Ok(_))) => match settings.state {
            SaleState::Open => note("opened", 1),
            SaleState::Scheduled => note("scheduled", 1),
            SaleState::Paused => note("paused", 1),
            SaleState::SoldOut | SaleState::Closed => note("closed", 1),
        },
        (_, Reply::Configured(Err(_))) => note("version conflict", 1),
        (Call::Govern { factor_milli, .. }, Reply::Governed(taken)) => match (taken, factor_milli) {
            (Some(true), 0) => note("stopped by the origin", 1),
            (Some(true), 1000) => note("full rate", 1),
            (Some(true), _) => note("lowered by the origin", 1),
            (Some(false), _) => note("stale say", 1),
            (None, _) => {}
        },
        (_, Reply::Ticked(Some(tick))) => {
            note("called by a tick", tick.called);
            note("silent set aside", tick.set_aside);
            note("unclaimed set aside", tick.unclaimed);
            note("passes over", tick.over);
        }
        (_, Reply::Renewed(until_ms)) => {
            note("renewed", until_ms.iter().flatten().count() as u64);
            note("pass no longer counts", until_ms.iter().filter(|until| until.is_none()).count() as u64);
        }
        (Call::Lose, _) => note("everything lost", 1),
        (_, Reply::Offered(offered)) => match offered {
            Offered::Code { .. } => note("code offered", 1),
            Offered::InUse => note("code in use", 1),
            Offered::Moved => note("told that it moved", 1),
            _ => note("place stays", 1),
        },
        (_, Reply::Taken(taken)) => match taken {
            Taken::Place(_) => note("place taken", 1),
            Taken::Unknown | Taken::Absent => note("code leads nowhere", 1),
        },
        (call, Reply::Standings(standings)) => {
            for standing in standings {
                match (call, standing) {
                    (_, Standing::Moved) => note("told that it moved", 1),
                    (Call::Join { .. }, Standing::Called { .. }) => note("called by a join", 1),
                    (Call::Join { .. }, Standing::Closed) => note("turned away", 1),
                    (Call::Claim { .. }, Standing::Inside { .. }) => note("claimed", 1),
                    (Call::Join { .. }, Standing::Left | Standing::Expired) => note("came again too late", 1),
                    (Call::Depart { .. }, Standing::Inside { .. }) => note("departed from inside", 1),
                    (Call::Depart { .. }, Standing::Waiting { .. }) => note("departed from the line", 1),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
