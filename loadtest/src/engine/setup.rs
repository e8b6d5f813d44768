//! What is read once before the first fan comes: that the event is there, and its plan.

use std::time::Duration;

use http::Method;
use tokio::time::{Instant, sleep};

use super::pool::Pool;
use crate::fan::{Answer, Call, Heard};
use crate::history::Kind;
use crate::plan::Plan;

/// A system that is just starting gets so long to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No target answered.
    #[error("no target answers GET {path}: {last}")]
    Silent {
        /// What was asked.
        path: String,
        /// What came last.
        last: String,
    },
    /// The plan is not one.
    #[error("the plan of event {event} cannot be read: {source}")]
    Plan {
        /// The event.
        event: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// The plan of an event; empty when it has no seats.
pub(super) async fn read_plan(pool: &Pool, event: &str) -> Result<Plan, SetupError> {
    ask(pool, Kind::Event, format!("/v1/events/{event}"), &[200]).await?;
    let answer = ask(pool, Kind::Event, format!("/v1/events/{event}/plan"), &[200, 404]).await?;
    if answer.status == 404 {
        return Ok(Plan::default());
    }
    Plan::parse(&answer.body).map_err(|source| SetupError::Plan { event: event.to_owned(), source })
}

async fn ask(pool: &Pool, kind: Kind, path: String, wanted: &[u16]) -> Result<Answer, SetupError> {
    let until = Instant::now() + PATIENCE;
    for target in (0..pool.targets()).cycle() {
        let call = Call {
            kind,
            at_us: 0,
            method: Method::GET,
            path: path.clone(),
            html: false,
            auth: None,
            body: None,
            key: None,
            attempt: 0,
            target,
        };
        let last = match pool.exchange(&call).await.heard {
            Heard::Answer(answer) if wanted.contains(&answer.status) => return Ok(answer),
            Heard::Answer(answer) => format!("status {}", answer.status),
            Heard::Lost(lost) => lost.name().to_owned(),
        };
        if Instant::now() >= until {
            return Err(SetupError::Silent { path, last });
        }
        sleep(PAUSE).await;
    }
    Err(SetupError::Silent { path, last: "no targets".into() })
}
