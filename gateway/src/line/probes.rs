//! How wide the range of a wait must be so that four in five come true: learnt from positions that are followed.
//!
//! A *probe* is a position noted down with the range that was told for it. Each snapshot moves it on by what left the line
//! ahead of it; when its turn has come, the time it took is compared with what was told. Long waits err otherwise than
//! short ones, so each band of waits learns apart. Pure, and bounded: [`PER_BAND`] probes under way in each of [`BANDS`] bands.

/// Bands of waits, and where each but the first begins (seconds).
const BANDS: usize = 6;
const BAND_FROM_S: [f64; BANDS - 1] = [15.0, 60.0, 240.0, 900.0, 2700.0];
/// Most probes under way in a band.
const PER_BAND: usize = 12;
/// How much one probe moves the width, and the bounds of the width.
const LEARN: f64 = 0.2;
const WIDTH_MIN: f64 = 0.15;
const WIDTH_MAX: f64 = 4.0;
/// The share of probes that may come true beyond one end. Whole seconds make ranges wider than they are learnt, most
/// of all near the front; so this is more than one in ten.
const BEYOND: f64 = 0.16;
/// A wait that is over within this time was none.
const WAIT_MIN_S: f64 = 0.1;

/// A range before its width is corrected: the middle, and the distances to both ends in logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) middle_s: f64,
    pub(super) below: f64,
    pub(super) above: f64,
}

/// By how much to stretch both sides of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Width {
    pub(super) below: f64,
    pub(super) above: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Probe {
    since_us: u64,
    /// Ranks ahead of it and itself.
    position: f64,
    told: Spread,
}

/// The probes of a line and what was learnt from them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Probes {
    /// `None` in a band of which nothing has come true yet.
    widths: [Option<Width>; BANDS],
    under_way: Vec<Probe>,
    looked: u64,
    begun_us: [u64; BANDS],
}

impl Probes {
    /// What was learnt for waits of this length, or else for the next shorter ones.
    pub(super) fn width(&self, middle_s: f64) -> Width {
        let learnt = self.widths[..=band(middle_s)].iter().rev().flatten().next();
        learnt.copied().unwrap_or(Width { below: 1.0, above: 1.0 })
    }

    /// The line was lost: nobody knows how far the probes have come.
    pub(super) fn give_up(&mut self) {
        self.under_way.clear();
    }

    /// Moves the probes on, by so many from the front and by that share of whoever is ahead, and learns from those whose
    /// turn came between the last two looks.
    pub(super) fn follow(&mut self, from_front: f64, share_leaving: f64, now_us: u64, gap_s: f64) {
        let mut come = Vec::new();
        self.under_way.retain_mut(|probe| {
            probe.position -= from_front + share_leaving * probe.position;
            let waits = probe.position >= 0.5;
            if !waits {
                come.push(*probe);
            }
            waits
        });
        for Probe { since_us, told, .. } in come {
            let took_s = (now_us.saturating_sub(since_us) as f64 / 1e6 - gap_s / 2.0).max(WAIT_MIN_S);
            let off = (took_s / told.middle_s).ln();
            let width = self.width(told.middle_s);
            self.widths[band(told.middle_s)] = Some(Width {
                below: learn(width.below, -off / told.below),
                above: learn(width.above, off / told.above),
            });
        }
    }

    /// Which position to follow next: all orders of magnitude in turn.
    pub(super) fn next_position(&mut self, waiting: u64) -> f64 {
        self.looked += 1;
        let golden = (self.looked as f64 * 0.618_033_988_749_895).fract();
        (waiting as f64).powf(golden).round().max(1.0)
    }

    /// Notes the position down, unless its band has enough of them.
    pub(super) fn begin(&mut self, position: f64, told: Spread, now_us: u64) {
        let index = band(told.middle_s);
        let in_band = self.under_way.iter().filter(|probe| band(probe.told.middle_s) == index).count();
        let apart_us = (told.middle_s / PER_BAND as f64 * 1e6) as u64;
        if in_band < PER_BAND && now_us >= self.begun_us[index].saturating_add(apart_us) {
            self.begun_us[index] = now_us;
            self.under_way.push(Probe { since_us: now_us, position, told });
        }
    }
}

/// The width after one more probe came so far out, in widths. It comes to rest where [`BEYOND`] of them are beyond.
fn learn(width: f64, out: f64) -> f64 {
    let step = if out > width { 1.0 - BEYOND } else { -BEYOND };
    (width * (LEARN * step).exp()).clamp(WIDTH_MIN, WIDTH_MAX)
}

fn band(wait_s: f64) -> usize {
    BAND_FROM_S.iter().take_while(|from_s| wait_s >= **from_s).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_comes_to_rest_where_the_wanted_share_is_beyond() {
        // Errors spread evenly from 0 to 2 widths: all but BEYOND lie below 2 * (1 - BEYOND).
        let mut width = 1.0;
        let mut sum = 0.0;
        for n in 0..20_000u32 {
            width = learn(width, 2.0 * (f64::from(n) * 0.618_033_988_749_895).fract());
            sum += width;
        }
        let mean = sum / 20_000.0;
        assert!((mean - 2.0 * (1.0 - BEYOND)).abs() < 0.1, "{mean}");
    }

    #[test]
    fn probes_are_bounded_and_learn_from_what_came_true() {
        let mut probes = Probes::default();
        let told = Spread { middle_s: 30.0, below: 0.1, above: 0.1 };
        for second in 0..10_000u64 {
            probes.begin(50.0, told, second * 1_000_000);
        }
        assert_eq!(probes.under_way.len(), PER_BAND);
        // All of them took far longer than told: the range grows upwards and shrinks downwards.
        probes.follow(50.0, 0.0, 20_000_000_000, 1.0);
        assert!(probes.under_way.is_empty());
        let width = probes.width(30.0);
        assert!(width.above > 2.0 && width.below < 1.0, "{width:?}");
        assert_eq!(probes.width(5.0), Width { below: 1.0, above: 1.0 }, "shorter waits were not tried");
        assert_eq!(probes.width(5_000.0), width, "longer ones borrow");
    }
}
