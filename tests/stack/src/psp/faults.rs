//! Faults that a test switches on: each for some time or some requests, each counting how often it bit.
//!
//! They stand in front of the routes, so the ledger never lies: with `acts` a request is done and its answer lost,
//! without it nothing is done.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Most faults that are known at once, ended ones too.
const MOST: usize = 64;
const LONGEST: Duration = Duration::from_secs(3600);

/// All faults; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Vec<Active>>>);

#[derive(Debug)]
struct Active {
    fault: Fault,
    ends: Instant,
    bitten: u64,
}

/// A fault, as it is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    kind: Kind,
    /// Which requests it bites; none named means all.
    #[serde(default)]
    on: Vec<Operation>,
    /// Whether the request is done all the same: for `error`, `hang` and `disconnect`.
    #[serde(default)]
    acts: bool,
    /// How many requests it bites at most.
    #[serde(default)]
    count: Option<u64>,
    #[serde(default = "a_minute")]
    for_s: u64,
    #[serde(default)]
    latency_ms: u64,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// 422: refused for good.
    Refuse,
    /// 500.
    Error,
    /// No answer at all.
    Hang,
    /// An answer that breaks off, and its connection with it.
    Disconnect,
    /// An answer that comes later by `latency_ms`.
    Latency,
    /// Events are lost on their way, and nobody tries again.
    DropWebhooks,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    Authorize,
    Capture,
    Void,
    Refund,
    Read,
}

/// A fault as it is answered.
#[derive(Debug, Serialize)]
pub(super) struct Known {
    #[serde(flatten)]
    fault: Fault,
    active: bool,
    bitten: u64,
}

/// What a request suffers: first the delay, then the rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bite {
    pub(super) delay: Duration,
    pub(super) then: Option<(Kind, bool)>,
}

const fn a_minute() -> u64 {
    60
}

impl Operation {
    /// What a request of the payment routes asks for; nothing else suffers faults.
    pub(super) fn of(method: &str, path: &str) -> Option<Operation> {
        let rest = path.strip_prefix("/v1/payments")?;
        let last = rest.rsplit('/').next().unwrap_or_default();
        match (method, last) {
            ("GET", _) => Some(Operation::Read),
            ("POST", "") => Some(Operation::Authorize),
            ("POST", "capture") => Some(Operation::Capture),
            ("POST", "void") => Some(Operation::Void),
            ("POST", "refunds") => Some(Operation::Refund),
            _ => None,
        }
    }
}

impl Active {
    fn is_active(&self, now: Instant) -> bool {
        now < self.ends && self.fault.count.is_none_or(|count| self.bitten < count)
    }
}

impl Faults {
    /// Switches a fault on; says why not, if so.
    pub(super) fn add(&self, fault: Fault, now: Instant) -> Result<(), &'static str> {
        let lasts = Duration::from_secs(fault.for_s);
        if lasts.is_zero() || lasts > LONGEST || Duration::from_millis(fault.latency_ms) > LONGEST {
            return Err("a fault lasts 1 to 3600 seconds, and delays by no more");
        }
        if fault.acts && !matches!(fault.kind, Kind::Error | Kind::Hang | Kind::Disconnect) {
            return Err("only what loses an answer can come after the act");
        }
        let mut known = self.lock();
        if known.len() >= MOST {
            return Err("there are too many; DELETE /v1/faults forgets them");
        }
        known.push(Active { fault, ends: now + lasts, bitten: 0 });
        Ok(())
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn list(&self, now: Instant) -> Vec<Known> {
        let known = |active: &Active| Known {
            fault: active.fault.clone(),
            active: active.is_active(now),
            bitten: active.bitten,
        };
        self.lock().iter().map(known).collect()
    }

    /// What a request suffers: all delays, and the first of the other faults.
    pub(super) fn bite(&self, operation: Operation, now: Instant) -> Bite {
        let mut bite = Bite::default();
        for active in self.lock().iter_mut().filter(|active| active.is_active(now)) {
            let Fault { kind, on, acts, latency_ms, .. } = &active.fault;
            if !on.is_empty() && !on.contains(&operation) {
                continue;
            }
            match kind {
                Kind::DropWebhooks => continue,
                Kind::Latency => bite.delay += Duration::from_millis(*latency_ms),
                _ if bite.then.is_some() => continue,
                _ => bite.then = Some((*kind, *acts)),
            }
            active.bitten += 1;
        }
        bite
    }

    /// Whether an event that is about to be told is lost.
    pub(super) fn drops_webhook(&self) -> bool {
        let now = Instant::now();
        let mut known = self.lock();
        let dropping = known.iter_mut().find(|active| active.fault.kind == Kind::DropWebhooks && active.is_active(now));
        dropping.map(|active| active.bitten += 1).is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Active>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_route_has_its_operation() {
        for (method, path, expected) in [
            ("POST", "/v1/payments", Some(Operation::Authorize)),
            ("GET", "/v1/payments", Some(Operation::Read)),
            ("GET", "/v1/payments/pay_1", Some(Operation::Read)),
            ("POST", "/v1/payments/pay_1/capture", Some(Operation::Capture)),
            ("POST", "/v1/payments/pay_1/void", Some(Operation::Void)),
            ("POST", "/v1/payments/pay_1/refunds", Some(Operation::Refund)),
            ("GET", "/v1/ledger", None),
            ("POST", "/v1/faults", None),
        ] {
            assert_eq!(Operation::of(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_fault_bites_what_it_names_as_often_and_as_long_as_it_says() {
        let (faults, start) = (Faults::default(), Instant::now());
        faults.add(fault(r#"{"kind":"error","on":["capture"],"acts":true,"count":2,"for_s":10}"#), start).unwrap();
        faults.add(fault(r#"{"kind":"latency","latency_ms":7,"for_s":5}"#), start).unwrap();
        faults.add(fault(r#"{"kind":"hang","on":["void"]}"#), start).unwrap();
        let at = |s| start + Duration::from_secs(s);
        let bite = |ms, then| Bite { delay: Duration::from_millis(ms), then };
        let error = Some((Kind::Error, true));
        assert_eq!(faults.bite(Operation::Read, at(0)), bite(7, None));
        assert_eq!(faults.bite(Operation::Capture, at(0)), bite(7, error));
        assert_eq!(faults.bite(Operation::Void, at(5)), bite(0, Some((Kind::Hang, false))));
        assert_eq!(faults.bite(Operation::Capture, at(9)), bite(0, error));
        assert_eq!(faults.bite(Operation::Capture, at(9)), bite(0, None), "twice is enough");
        assert_eq!(faults.list(at(9)).iter().map(|known| known.bitten).collect::<Vec<_>>(), [2, 2, 1]);
        assert!(!faults.drops_webhook());
        faults.add(fault(r#"{"kind":"drop_webhooks","count":1}"#), Instant::now()).unwrap();
        assert!(faults.drops_webhook() && !faults.drops_webhook());
        faults.clear();
        assert!(faults.list(start).is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_no_fault() {
        let faults = Faults::default();
        for text in [
            r#"{"kind":"hang","for_s":0}"#,
            r#"{"kind":"hang","for_s":3601}"#,
            r#"{"kind":"refuse","acts":true}"#,
            r#"{"kind":"latency","latency_ms":3600001}"#,
        ] {
            assert!(faults.add(fault(text), Instant::now()).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"gremlins"}"#).is_err());
        for _ in 0..MOST {
            faults.add(fault(r#"{"kind":"hang"}"#), Instant::now()).unwrap();
        }
        assert!(faults.add(fault(r#"{"kind":"hang"}"#), Instant::now()).is_err());
    }
}
