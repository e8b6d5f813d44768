//! Stretches of arrivals: when fans come, and how the strength runs.

use serde::Deserialize;

/// One stretch of arrivals.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawPhase")]
pub struct Phase {
    /// Its start; by default the end of the phase before.
    pub start_s: Option<f64>,
    /// Its length. For `at_once` the time over which the crowd spreads, often zero.
    pub for_s: f64,
    /// Evenly spaced instead of at random (Poisson) moments.
    pub even: bool,
    /// Its shape and strength.
    pub shape: Shape,
}

/// How the strength of arrivals runs over a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// So many fans together.
    AtOnce {
        /// How many.
        fans: u64,
    },
    /// The same rate throughout.
    Constant {
        /// Fans per second.
        per_s: f64,
    },
    /// A rate that changes in a straight line.
    Ramp {
        /// Fans per second at the start.
        from_per_s: f64,
        /// Fans per second at the end.
        to_per_s: f64,
    },
    /// A rate that halves again and again, as interest does after an opening.
    Decay {
        /// Fans per second at the start.
        from_per_s: f64,
        /// How long until half of it.
        half_life_s: f64,
    },
}

/// A phase as it stands in the file, where the shape decides which other keys belong.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPhase {
    shape: String,
    start_s: Option<f64>,
    #[serde(default)]
    for_s: f64,
    #[serde(default)]
    even: bool,
    fans: Option<u64>,
    per_s: Option<f64>,
    from_per_s: Option<f64>,
    to_per_s: Option<f64>,
    half_life_s: Option<f64>,
}

impl TryFrom<RawPhase> for Phase {
    type Error = String;

    fn try_from(raw: RawPhase) -> Result<Self, String> {
        let shape = match (raw.shape.as_str(), raw.fans, raw.per_s, raw.from_per_s, raw.to_per_s, raw.half_life_s) {
            ("at_once", Some(fans), None, None, None, None) => Shape::AtOnce { fans },
            ("constant", None, Some(per_s), None, None, None) => Shape::Constant { per_s },
            ("ramp", None, None, Some(from_per_s), Some(to_per_s), None) => Shape::Ramp { from_per_s, to_per_s },
            ("decay", None, None, Some(from_per_s), None, Some(half_life_s)) => {
                Shape::Decay { from_per_s, half_life_s }
            }
            ("at_once", ..) => return Err("shape `at_once` takes `fans`".into()),
            ("constant", ..) => return Err("shape `constant` takes `per_s`".into()),
            ("ramp", ..) => return Err("shape `ramp` takes `from_per_s` and `to_per_s`".into()),
            ("decay", ..) => return Err("shape `decay` takes `from_per_s` and `half_life_s`".into()),
            (other, ..) => return Err(format!("no shape `{other}`: at_once, constant, ramp or decay")),
        };
        Ok(Self { start_s: raw.start_s, for_s: raw.for_s, even: raw.even, shape })
    }
}
