//! What people and programs see of a run: progress while it goes, summary, JSON and HTML after it.

mod html;
mod progress;
mod summary;
mod text;

pub use html::page;
pub use progress::{Level, Progress};
pub use summary::{Latency, OperationSummary, Summary};
pub use text::print;
