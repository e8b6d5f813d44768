//! The whole audit: reads history, books and ledger, checks, and waits a bounded time for what is
//! still on its way before it calls it broken.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use super::books::Books;
use super::database::BooksError;
use super::facts::{Facts, HistoryError};
use super::finding::Finding;
use super::ledger::ProviderLedger;
use super::rate::RateLine;
use super::{areas, keys, money, order, places, promises, rate, seats};
use crate::engine::{Control, control_client};

/// Between two looks at books that are not settled.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What to audit.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// The history of a run.
    pub history: PathBuf,
    /// The booking core's database.
    pub postgres: String,
    /// The sandbox provider.
    pub psp: Option<String>,
    /// The control API, for the rate when the history does not have it.
    pub control: Option<(String, String)>,
    /// The sale, when the history does not name it.
    pub sale: Option<String>,
    /// How long things may take to settle.
    pub settle: Duration,
}

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The database cannot be reached.
    #[error("cannot connect to Postgres: {0}")]
    Connect(#[source] sqlx::Error),
    /// The books cannot be read.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// The provider does not answer.
    #[error("cannot read the provider's ledger: {0}")]
    Ledger(#[from] reqwest::Error),
}

/// What an audit found.
#[derive(Debug)]
pub struct Report {
    /// What was read.
    pub heading: String,
    /// Each invariant.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether any invariant is broken.
    pub fn is_broken(&self) -> bool {
        self.findings.iter().any(Finding::is_broken)
    }
}

/// Audits a run.
pub async fn audit(options: &AuditOptions) -> Result<Report, AuditError> {
    let facts = Facts::read(&options.history)?;
    let rate = rate_of(&facts, options).await;
    let mut connection = PgConnection::connect(&options.postgres).await.map_err(AuditError::Connect)?;
    let began = Instant::now();
    let (books, findings) = loop {
        // Books before ledger: money that moves in between is then seen at the provider, and waited for.
        let books = Books::read(&mut connection).await?;
        let ledger = match &options.psp {
            Some(url) => Some(ProviderLedger::read(url).await?),
            None => None,
        };
        let findings = check_all(&facts, &books, ledger.as_ref(), rate.as_ref());
        if began.elapsed() >= patience(&findings, options.settle) {
            break (books, findings);
        }
        sleep(LOOK_EVERY).await;
    };
    // The connection is only read from; how it closes tells nothing.
    let _ = connection.close().await;
    Ok(Report { heading: heading(&facts, &books), findings })
}

/// What looks broken has all the time to settle; payments that are pending in their own time have a
/// little, since they break nothing.
fn patience(findings: &[Finding], settle: Duration) -> Duration {
    if findings.iter().any(Finding::is_broken) {
        return settle;
    }
    let pending = findings.iter().any(|finding| finding.unsettled > 0);
    if pending { settle / 4 } else { Duration::ZERO }
}

/// All invariants over what was read.
pub(super) fn check_all(
    facts: &Facts,
    books: &Books,
    ledger: Option<&ProviderLedger>,
    rate: Option<&RateLine>,
) -> Vec<Finding> {
    vec![
        seats::check(facts, books),
        areas::check(books),
        promises::check(facts, books),
        money::check(books, ledger),
        rate::check(facts, rate),
        order::check(facts),
        places::check(facts),
        keys::check(facts, books),
    ]
}

/// The rate: as read during the run, else as the scenario states it, else as it is set now.
async fn rate_of(facts: &Facts, options: &AuditOptions) -> Option<RateLine> {
    if let Some(line) = RateLine::of_settings(&facts.settings) {
        return Some(line);
    }
    let opening = facts.opening.as_ref();
    if let Some((rate, burst)) = opening.and_then(|opening| Some((opening.rate_per_min?, opening.burst?))) {
        return Some(RateLine::constant(rate, burst));
    }
    let (url, token) = options.control.clone()?;
    let sale = options.sale.clone().or_else(|| opening?.sale.clone())?;
    let settings = Control { url, token, sale }.read(&control_client().ok()?, 0).await?;
    Some(RateLine::constant(settings.rate_per_min?, settings.burst?))
}

fn heading(facts: &Facts, books: &Books) -> String {
    let run = match &facts.opening {
        Some(opening) => format!("run of {} at {}", opening.scenario, opening.started_at),
        None => "history without a heading".to_owned(),
    };
    let cut = if facts.end.is_none() { ", cut off before its end" } else { "" };
    let mut text = format!(
        "{run}: {} operations of {} fans{cut}; {} events in the books",
        facts.operations,
        facts.fans.len(),
        books.events.len()
    );
    for oddity in &facts.oddities {
        text.push_str("\n    note: ");
        text.push_str(oddity);
    }
    text
}
