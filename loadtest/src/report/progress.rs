//! Progress while the run goes: a bar when a person watches, a plain line every few seconds else.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{MissedTickBehavior, interval};

/// How often the bar moves.
const BAR_EVERY: Duration = Duration::from_millis(250);
/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where a run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Level {
    /// Since the start.
    pub elapsed_s: f64,
    /// Fans that arrived.
    pub arrived: u64,
    /// Fans in the line.
    pub waiting: u64,
    /// Fans inside.
    pub inside: u64,
    /// Bookings confirmed.
    pub confirmed: u64,
    /// Requests that ended.
    pub requests: u64,
    /// Errors among them.
    pub errors: u64,
    /// Invariants seen broken.
    pub breaches: u64,
}

impl Level {
    fn line(&self) -> String {
        let broken = if self.breaches > 0 { format!(" BROKEN {}", self.breaches) } else { String::new() };
        format!(
            "fans {} · in line {} · inside {} · bought {} · requests {} · errors {}{broken}",
            self.arrived, self.waiting, self.inside, self.confirmed, self.requests, self.errors
        )
    }
}

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    name: String,
    run_s: f64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar on a terminal, lines elsewhere.
    pub fn start(name: &str, run_s: f64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(name, run_s));
        Self { name: name.to_owned(), run_s, bar }
    }

    /// Shows where the run stands, for ever; the caller drops this when the run moves on.
    pub async fn draw(&self, level: impl Fn() -> Level) {
        let every = if self.bar.is_some() { BAR_EVERY } else { LINE_EVERY };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once and has nothing to show.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.show(&level());
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&self, level: &Level) {
        match &self.bar {
            Some(bar) => {
                bar.set_position((level.elapsed_s.min(self.run_s) * 10.0) as u64);
                bar.set_message(level.line());
            }
            None => eprintln!("{} {:>5.0}s {}", self.name, level.elapsed_s, level.line()),
        }
    }
}

fn bar(name: &str, run_s: f64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:.bold} {elapsed_precise} {bar:24} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some((run_s * 10.0) as u64), ProgressDrawTarget::stderr())
        .with_style(style)
        .with_prefix(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shouts_only_when_something_is_broken() {
        let level = Level { arrived: 3, waiting: 2, ..Level::default() };
        assert_eq!(level.line(), "fans 3 · in line 2 · inside 0 · bought 0 · requests 0 · errors 0");
        assert!(Level { breaches: 1, ..level }.line().ends_with("BROKEN 1"));
    }
}
