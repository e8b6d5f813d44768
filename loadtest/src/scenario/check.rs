//! Reading a scenario and finding what is wrong with it.

use std::path::Path;

use super::model::{Scenario, Span};
use super::phase::{Phase, Shape};
use super::thresholds::{Metric, Threshold};

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum BadScenario {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not TOML of the expected shape; the message shows line and column.
    #[error("{path}: {source}")]
    Shape {
        /// The file.
        path: String,
        /// What is wrong and where.
        source: toml::de::Error,
    },
    /// A value cannot be meant.
    #[error("{path}: {pointer}: {fault}")]
    Value {
        /// The file.
        path: String,
        /// JSON pointer of the value.
        pointer: String,
        /// What is wrong.
        fault: String,
    },
}

/// A fault and the JSON pointer of the value that has it.
type Fault = (String, String);

impl Scenario {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, BadScenario> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| BadScenario::Unreadable { path: shown.clone(), source })?;
        Self::parse(&shown, &text)
    }

    /// Checks the text of a scenario; `path` is only for messages.
    pub fn parse(path: &str, text: &str) -> Result<Self, BadScenario> {
        let mut scenario: Self =
            toml::from_str(text).map_err(|source| BadScenario::Shape { path: path.to_owned(), source })?;
        scenario.check().map_err(|(pointer, fault)| BadScenario::Value { path: path.to_owned(), pointer, fault })?;
        Ok(scenario)
    }

    fn check(&mut self) -> Result<(), Fault> {
        positive("/run_s", self.run_s)?;
        not_negative("/drain_s", self.drain_s)?;
        segment("/target/event", &self.target.event)?;
        if let Some(sale) = &self.target.sale {
            segment("/target/sale", sale)?;
        }
        if let Some(page) = self.target.page.as_deref().filter(|page| !page.starts_with('/')) {
            return Err(("/target/page".into(), format!("`{page}` does not start with /")));
        }
        if let Some(line) = &self.line {
            positive("/line/rate_per_min", line.rate_per_min)?;
            positive("/line/burst", line.burst)?;
        }
        if self.arrivals.is_empty() {
            return Err(("/arrivals".into(), "at least one phase is needed".into()));
        }
        for (index, phase) in self.arrivals.iter().enumerate() {
            check_phase(&format!("/arrivals/{index}"), phase)?;
        }
        self.check_behaviour()?;
        self.check_delays()?;
        self.check_limits()?;
        self.understand_thresholds()
    }

    fn check_behaviour(&self) -> Result<(), Fault> {
        let b = &self.behaviour;
        let weights = [
            ("join", b.join.fault()),
            ("want", b.want.fault()),
            ("quantity", b.quantity.fault()),
            ("payment", b.payment.fault()),
        ];
        for (name, fault) in weights {
            if let Some(fault) = fault {
                return Err((format!("/behaviour/{name}"), fault.to_owned()));
            }
        }
        let shares = [
            ("leaves", b.leaves),
            ("goes_silent", b.goes_silent),
            ("abandons", b.abandons),
            ("releases", b.releases),
            ("second_card", b.second_card),
            ("says_goodbye", b.says_goodbye),
            ("looks_around", b.looks_around),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err((format!("/behaviour/{name}"), format!("{share} is not between 0 and 1")));
            }
        }
        if b.leaves + b.goes_silent > 1.0 || b.abandons + b.releases > 1.0 {
            return Err(("/behaviour".into(), "shares that exclude each other add up to more than 1".into()));
        }
        not_negative("/behaviour/herd", b.herd)?;
        not_negative("/behaviour/leaves_within_s", b.leaves_within_s)?;
        not_negative("/behaviour/silent_within_s", b.silent_within_s)
    }

    fn check_delays(&self) -> Result<(), Fault> {
        let d = &self.delays;
        let spans: [(&str, Span); 4] =
            [("look_s", d.look_s), ("choose_s", d.choose_s), ("details_s", d.details_s), ("pay_s", d.pay_s)];
        for (name, span) in spans {
            let pointer = format!("/delays/{name}");
            not_negative(&pointer, span.from_s)?;
            not_negative(&pointer, span.to_s)?;
            if span.from_s > span.to_s {
                return Err((pointer, "the first bound is above the second".into()));
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), Fault> {
        let l = &self.limits;
        let counts = [("fans", l.fans), ("connections", l.connections as u64), ("answer_bytes", l.answer_bytes as u64)];
        for (name, count) in counts {
            if count == 0 {
                return Err((format!("/limits/{name}"), "must be at least 1".into()));
            }
        }
        positive("/limits/request_s", l.request_s)?;
        positive("/limits/backoff_s", l.backoff_s)?;
        positive("/limits/wait_s", l.wait_s)?;
        positive("/limits/poll_s", l.poll_s)
    }

    fn understand_thresholds(&mut self) -> Result<(), Fault> {
        for (name, &limit) in &self.raw_thresholds {
            let pointer = format!("/thresholds/{name}");
            let Some((metric, bound)) = Metric::parse(name) else {
                return Err((pointer, "no such metric".into()));
            };
            if !limit.is_finite() {
                return Err((pointer, "must be a finite number".into()));
            }
            self.thresholds.push(Threshold { name: name.clone(), metric, bound, limit });
        }
        Ok(())
    }
}

fn check_phase(pointer: &str, phase: &Phase) -> Result<(), Fault> {
    if let Some(start) = phase.start_s {
        not_negative(&format!("{pointer}/start_s"), start)?;
    }
    not_negative(&format!("{pointer}/for_s"), phase.for_s)?;
    match phase.shape {
        Shape::AtOnce { fans: 0 } => Err((format!("{pointer}/fans"), "must be at least 1".into())),
        Shape::AtOnce { .. } => Ok(()),
        Shape::Constant { per_s } => {
            positive(&format!("{pointer}/per_s"), per_s)?;
            positive(&format!("{pointer}/for_s"), phase.for_s)
        }
        Shape::Ramp { from_per_s, to_per_s } => {
            not_negative(&format!("{pointer}/from_per_s"), from_per_s)?;
            not_negative(&format!("{pointer}/to_per_s"), to_per_s)?;
            positive(&format!("{pointer}/to_per_s"), from_per_s + to_per_s)?;
            positive(&format!("{pointer}/for_s"), phase.for_s)
        }
        Shape::Decay { from_per_s, half_life_s } => {
            positive(&format!("{pointer}/from_per_s"), from_per_s)?;
            positive(&format!("{pointer}/half_life_s"), half_life_s)?;
            positive(&format!("{pointer}/for_s"), phase.for_s)
        }
    }
}

fn positive(pointer: &str, value: f64) -> Result<(), Fault> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err((pointer.to_owned(), format!("{value} is not above zero")))
}

fn not_negative(pointer: &str, value: f64) -> Result<(), Fault> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err((pointer.to_owned(), format!("{value} is negative or not finite")))
}

/// Ids go into paths as they are, so only plain ones are taken.
fn segment(pointer: &str, value: &str) -> Result<(), Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return Ok(());
    }
    Err((pointer.to_owned(), format!("`{value}` is not a plain id")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = 't'\nrun_s = 10\n[target]\nevent = 'e'\nsale = 's'\n\
                         [[arrivals]]\nshape = 'constant'\nper_s = 5\nfor_s = 4\n";

    fn fault_of(text: &str) -> String {
        Scenario::parse("t.toml", text).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_small_scenario_is_enough() {
        let scenario = Scenario::parse("t.toml", SMALL).expect("usable");
        assert_eq!(scenario.seed, 1);
        assert_eq!(scenario.arrivals[0].shape, Shape::Constant { per_s: 5.0 });
        assert!(scenario.thresholds.is_empty());
    }

    #[test]
    fn an_unknown_key_names_its_line() {
        let fault = fault_of(&format!("{SMALL}[limits]\nfanz = 3\n"));
        assert!(fault.contains("line 11") && fault.contains("fanz"), "{fault}");
    }

    #[test]
    fn an_unknown_metric_is_refused_by_pointer() {
        let fault = fault_of(&format!("{SMALL}[thresholds]\nholds_p99_ms = 3\n"));
        assert_eq!(fault, "t.toml: /thresholds/holds_p99_ms: no such metric");
    }

    #[test]
    fn impossible_values_are_refused() {
        for (table, pointer) in [
            ("[behaviour]\nleaves = 1.5\n", "/behaviour/leaves"),
            ("[behaviour]\nleaves = 0.7\ngoes_silent = 0.7\n", "/behaviour:"),
            ("[behaviour]\npayment = { tok_ok = 0 }\n", "/behaviour/payment"),
            ("[delays]\npay_s = [3, 1]\n", "/delays/pay_s"),
            ("[limits]\nconnections = 0\n", "/limits/connections"),
            ("[[arrivals]]\nshape = 'ramp'\nfrom_per_s = 0\nto_per_s = 0\nfor_s = 3\n", "/arrivals/1/to_per_s"),
            ("[line]\nrate_per_min = 0\nburst = 1\n", "/line/rate_per_min"),
        ] {
            let fault = fault_of(&format!("{SMALL}{table}"));
            assert!(fault.contains(pointer), "{table}: {fault}");
        }
        assert!(fault_of(&SMALL.replace("'e'", "'a/b'")).contains("/target/event"));
        assert!(fault_of(&format!("{SMALL}[behaviour]\nquantity = {{ 99 = 1 }}\n")).contains("99"));
    }
}
