//! The scenario: one TOML file that says who comes, how they behave, and what counts as good.
//!
//! [`Scenario::read`] is the only way in: unknown keys, impossible numbers and unknown metrics are
//! refused with the line or the JSON pointer of the fault, so a run never starts on half a meaning.

mod check;
mod model;
mod phase;
mod thresholds;
mod weights;

pub use check::BadScenario;
pub use model::{Behaviour, Delays, JoinBy, Limits, Line, Quantity, Scenario, Span, Target, Want};
pub use phase::{Phase, Shape};
pub use thresholds::{Bound, Metric, Miss, Quantile, Source, Threshold};
pub use weights::Weights;
