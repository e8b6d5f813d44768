//! One line of the result, in the form that outside programs read.

use std::fmt;

/// What a figure has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    /// Nothing: the figure is told for its own sake.
    None,
    /// Ours is at least this many times the peer's.
    Ratio(f64),
    /// Ours is at most this.
    AtMost(f64),
    /// Ours is at least this.
    AtLeast(f64),
}

/// A measured figure beside its peer's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    name: &'static str,
    unit: &'static str,
    ours: f64,
    peer: Option<f64>,
    ratio: Option<f64>,
    bar: Bar,
}

impl Row {
    /// A figure without a peer.
    pub(crate) fn alone(name: &'static str, unit: &'static str, ours: f64, bar: Bar) -> Self {
        Self { name, unit, ours, peer: None, ratio: None, bar }
    }

    /// A figure beside its peer's. The ratio comes from rounds, so it need not be exactly that of the two.
    pub(crate) fn beside(name: &'static str, unit: &'static str, ours: f64, peer: f64, ratio: f64, bar: Bar) -> Self {
        Self { name, unit, ours, peer: Some(peer), ratio: Some(ratio), bar }
    }

    /// A figure whose peer is not there: short, since nothing was shown.
    pub(crate) fn without_peer(name: &'static str, unit: &'static str, ours: f64, bar: Bar) -> Self {
        Self { name, unit, ours, peer: None, ratio: None, bar }
    }

    fn is_reached(&self) -> bool {
        match self.bar {
            Bar::None => true,
            Bar::Ratio(least) => self.ratio.is_some_and(|ratio| ratio >= least),
            Bar::AtMost(most) => self.ours <= most,
            Bar::AtLeast(least) => self.ours >= least,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.unit;
        write!(f, "{} ours={}{unit}", self.name, short(self.ours))?;
        match self.peer {
            Some(peer) => write!(f, " peer={}{unit}", short(peer))?,
            None => write!(f, " peer=-")?,
        }
        match self.ratio {
            Some(ratio) => write!(f, " ratio={ratio:.3}")?,
            None => write!(f, " ratio=-")?,
        }
        match self.bar {
            Bar::None => write!(f, " bar=-")?,
            Bar::Ratio(least) => write!(f, " bar={least}")?,
            Bar::AtMost(bound) | Bar::AtLeast(bound) => write!(f, " bar={}{unit}", short(bound))?,
        }
        write!(f, " {}", if self.is_reached() { "ok" } else { "short" })
    }
}

/// As many digits as say something.
fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => format!("{figure:.0}"),
        size if size >= 1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_form_that_others_read() {
        for (row, text) in [
            (
                Row::beside("pass", "/s", 900.4, 1000.0, 0.9, Bar::Ratio(0.85)),
                "pass ours=900/s peer=1000/s ratio=0.900 bar=0.85 ok",
            ),
            (
                Row::beside("pass", "/s", 800.0, 1000.0, 0.8, Bar::Ratio(0.85)),
                "pass ours=800/s peer=1000/s ratio=0.800 bar=0.85 short",
            ),
            (Row::without_peer("pass", "/s", 8.25, Bar::Ratio(0.9)), "pass ours=8.25/s peer=- ratio=- bar=0.9 short"),
            (Row::alone("calls", "", 0.0, Bar::AtMost(0.0)), "calls ours=0 peer=- ratio=- bar=0 ok"),
            (Row::alone("calls", "", 0.02, Bar::AtMost(0.0)), "calls ours=0.0200 peer=- ratio=- bar=0 short"),
            (Row::alone("joins", "/s", 12_000.0, Bar::None), "joins ours=12000/s peer=- ratio=- bar=- ok"),
        ] {
            assert_eq!(row.to_string(), text);
        }
    }
}
