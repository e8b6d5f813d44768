//! When fans arrive: an open loop drawn from the seed, untouched by how the system answers.
//!
//! Each phase is an inhomogeneous Poisson process (or an even one): unit steps on the integrated
//! rate are mapped back to moments in closed form, so arrivals are made one at a time however
//! long the run. Phases may overlap; their moments come out merged and in order.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::scenario::{Phase, Shape};

/// The moments of arrival, in microseconds from the start of the run, in order.
#[derive(Debug)]
pub struct Arrivals {
    streams: Vec<Stream>,
    left: u64,
}

impl Arrivals {
    /// Arrivals of these phases, at most `limit` of them.
    pub fn new(phases: &[Phase], seed: u64, limit: u64) -> Self {
        let mut end_s = 0.0;
        let mut streams = Vec::with_capacity(phases.len());
        for (index, phase) in phases.iter().enumerate() {
            let start_s = phase.start_s.unwrap_or(end_s);
            end_s = start_s + phase.for_s;
            let seed = seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            streams.push(Stream::new(phase, start_s, seed));
        }
        Self { streams, left: limit }
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let first = self.streams.iter_mut().filter(|s| s.head.is_some()).min_by_key(|s| s.head)?;
        let at = first.head;
        first.advance();
        at
    }
}

/// One phase on its way: the next moment is always computed.
#[derive(Debug)]
struct Stream {
    shape: Shape,
    start_s: f64,
    for_s: f64,
    even: bool,
    /// Integrated rate used up so far: expected arrivals until the last moment.
    used: f64,
    /// Arrivals left of a crowd that comes at once.
    crowd: u64,
    rng: Xoshiro256PlusPlus,
    head: Option<u64>,
}

impl Stream {
    fn new(phase: &Phase, start_s: f64, seed: u64) -> Self {
        let crowd = match phase.shape {
            Shape::AtOnce { fans } => fans,
            _ => 0,
        };
        let mut stream = Self {
            shape: phase.shape,
            start_s,
            for_s: phase.for_s,
            even: phase.even,
            used: 0.0,
            crowd,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            head: None,
        };
        stream.advance();
        stream
    }

    fn advance(&mut self) {
        let offset_s = match self.shape {
            Shape::AtOnce { fans } => self.next_of_crowd(fans),
            _ => {
                self.used += if self.even { 1.0 } else { self.exponential() };
                self.moment_of(self.used).filter(|offset_s| *offset_s < self.for_s)
            }
        };
        self.head = offset_s.map(|offset_s| ((self.start_s + offset_s) * 1e6) as u64);
    }

    /// A crowd over `for_s` seconds is evenly spaced: its members are given, not drawn.
    fn next_of_crowd(&mut self, fans: u64) -> Option<f64> {
        let come = fans - self.crowd;
        self.crowd = self.crowd.checked_sub(1)?;
        Some(self.for_s * come as f64 / fans as f64)
    }

    fn exponential(&mut self) -> f64 {
        let uniform: f64 = self.rng.random();
        -(1.0 - uniform).ln()
    }

    /// The offset at which the integrated rate reaches `amount`, if it ever does.
    fn moment_of(&self, amount: f64) -> Option<f64> {
        match self.shape {
            Shape::AtOnce { .. } => None,
            Shape::Constant { per_s } => Some(amount / per_s),
            Shape::Ramp { from_per_s, to_per_s } => {
                let slope = (to_per_s - from_per_s) / self.for_s;
                if slope.abs() < 1e-12 {
                    return Some(amount / from_per_s);
                }
                let root = from_per_s.mul_add(from_per_s, 2.0 * slope * amount);
                (root >= 0.0).then(|| (root.sqrt() - from_per_s) / slope)
            }
            Shape::Decay { from_per_s, half_life_s } => {
                let mean_s = half_life_s / std::f64::consts::LN_2;
                let left = 1.0 - amount / (from_per_s * mean_s);
                (left > 0.0).then(|| -mean_s * left.ln())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(shape: Shape, for_s: f64) -> Phase {
        Phase { start_s: None, for_s, even: false, shape }
    }

    fn within(moments: &[u64], from_s: u64, to_s: u64) -> usize {
        moments.iter().filter(|at| (from_s * 1_000_000..to_s * 1_000_000).contains(*at)).count()
    }

    #[test]
    fn the_same_seed_gives_the_same_crowd_in_order() {
        let phases = [
            phase(Shape::AtOnce { fans: 50 }, 0.0),
            phase(Shape::Constant { per_s: 100.0 }, 20.0),
            Phase { start_s: Some(5.0), ..phase(Shape::Constant { per_s: 50.0 }, 5.0) },
        ];
        let once: Vec<u64> = Arrivals::new(&phases, 9, 1 << 20).collect();
        let again: Vec<u64> = Arrivals::new(&phases, 9, 1 << 20).collect();
        let other: Vec<u64> = Arrivals::new(&phases, 10, 1 << 20).collect();
        assert_eq!(once, again);
        assert_ne!(once, other);
        assert!(once.is_sorted());
        assert_eq!(once.iter().filter(|at| **at == 0).count(), 50);
        assert!((2_050..2_550).contains(&once.len()), "{}", once.len());
    }

    #[test]
    fn shapes_have_their_strength_where_they_should() {
        let ramp: Vec<u64> =
            Arrivals::new(&[phase(Shape::Ramp { from_per_s: 0.0, to_per_s: 200.0 }, 20.0)], 3, 1 << 20).collect();
        assert!((1_850..2_150).contains(&ramp.len()), "{}", ramp.len());
        assert!(within(&ramp, 0, 10) * 2 < within(&ramp, 10, 20));
        let falling: Vec<u64> =
            Arrivals::new(&[phase(Shape::Ramp { from_per_s: 200.0, to_per_s: 0.0 }, 20.0)], 3, 1 << 20).collect();
        assert!((1_850..2_150).contains(&falling.len()), "{}", falling.len());
        let decay: Vec<u64> =
            Arrivals::new(&[phase(Shape::Decay { from_per_s: 400.0, half_life_s: 5.0 }, 20.0)], 3, 1 << 20).collect();
        let (first, second) = (within(&decay, 0, 5), within(&decay, 5, 10));
        assert!((0.4..0.6).contains(&(second as f64 / first as f64)), "{first} {second}");
    }

    #[test]
    fn even_arrivals_are_spaced_and_the_limit_holds() {
        let phases = [Phase { even: true, ..phase(Shape::Constant { per_s: 10.0 }, 100.0) }];
        let moments: Vec<u64> = Arrivals::new(&phases, 1, 5).collect();
        assert_eq!(moments, [100_000, 200_000, 300_000, 400_000, 500_000]);
        let spread: Vec<u64> = Arrivals::new(&[phase(Shape::AtOnce { fans: 4 }, 2.0)], 1, 100).collect();
        assert_eq!(spread, [0, 500_000, 1_000_000, 1_500_000]);
    }
}
