//! What one check found.

use std::fmt;

/// Breaches shown as text; further ones are counted.
const SHOWN: usize = 20;

/// The finding of one invariant.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The invariant.
    pub name: &'static str,
    /// What was looked at, with counts.
    pub checked: Vec<(String, u64)>,
    /// The first breaches.
    pub broken: Vec<String>,
    /// All breaches.
    pub broken_count: u64,
    /// What is worth knowing but breaks nothing.
    pub notes: Vec<String>,
    /// Why it could not be checked, if it could not.
    pub not_checked: Option<String>,
    /// Things on their way that time will settle.
    pub unsettled: u64,
}

impl Finding {
    /// A finding without breaches so far.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            checked: Vec::new(),
            broken: Vec::new(),
            broken_count: 0,
            notes: Vec::new(),
            not_checked: None,
            unsettled: 0,
        }
    }

    /// A finding that could not be made.
    pub fn not_checked(name: &'static str, why: impl Into<String>) -> Self {
        Self { not_checked: Some(why.into()), ..Self::new(name) }
    }

    /// Whether the invariant is broken.
    pub fn is_broken(&self) -> bool {
        self.broken_count > 0
    }

    pub(super) fn checked(&mut self, what: impl Into<String>, count: usize) {
        self.checked.push((what.into(), count as u64));
    }

    pub(super) fn breach(&mut self, text: impl FnOnce() -> String) {
        self.broken_count += 1;
        if self.broken.len() < SHOWN {
            self.broken.push(text());
        }
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        if self.notes.len() < SHOWN {
            self.notes.push(text.into());
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (&self.not_checked, self.is_broken()) {
            (_, true) => "BROKEN",
            (Some(_), false) => "not checked",
            (None, false) => "ok",
        };
        let mut facts: Vec<String> = self.checked.iter().map(|(what, count)| format!("{count} {what}")).collect();
        if let Some(why) = &self.not_checked {
            facts.insert(0, why.clone());
        }
        if self.unsettled > 0 {
            facts.push(format!("{} still on their way", self.unsettled));
        }
        write!(f, "{:<28} {verdict:<12} {}", self.name, facts.join(", "))?;
        for breach in &self.broken {
            write!(f, "\n    broken: {breach}")?;
        }
        let more = self.broken_count - self.broken.len() as u64;
        if more > 0 {
            write!(f, "\n    broken: {more} more")?;
        }
        for note in &self.notes {
            write!(f, "\n    note: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_checked_and_what_it_could_not() {
        let mut finding = Finding::new("seats");
        finding.checked("seats", 12);
        assert!(finding.to_string().contains("ok") && finding.to_string().contains("12 seats"));
        for n in 0..30 {
            finding.breach(|| format!("seat {n}"));
        }
        let text = finding.to_string();
        assert!(text.contains("BROKEN") && text.contains("seat 19") && text.contains("10 more"), "{text}");
        assert!(Finding::not_checked("rate", "no call times").to_string().contains("not checked"));
    }
}
