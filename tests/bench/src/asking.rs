//! When visitors ask: the interval that a gateway sets, and a wheel that holds a million of them. Pure.
//!
//! The interval is that of `gateway/src/line/view.rs` for a sale that is open and moves as it should.

/// Grain of the wheel.
const SLOT_MS: u64 = 50;
/// Slots: longer than the longest interval.
const SLOTS: u64 = 1_600;

/// When to ask again, in milliseconds. `jitter` is a random number from -1 to 1.
pub(crate) fn interval_ms(position: u64, near: bool, rate_per_min: f64, jitter: f64) -> u64 {
    let mean_s = position as f64 * 60.0 / rate_per_min;
    let spread = 1.2816 / (position as f64).max(1.0).sqrt();
    let p10 = mean_s * (1.0 - spread).max(0.5) * 0.9;
    let p90 = mean_s * (1.0 + spread).min(3.0) * 1.1;
    let middle = ((p10.floor() + p90.ceil()) / 60.0).clamp(2.0, 60.0);
    let most = if near { 4.0 } else { (position as f64 * 2.0 / rate_per_min).max(2.0) };
    let seconds = (middle.min(most) * (1.0 + 0.15 * jitter)).round().max(1.0);
    seconds as u64 * 1_000
}

/// Who asks when, by number.
pub(crate) struct Wheel {
    slots: Vec<Vec<u32>>,
    at: u64,
}

impl Wheel {
    /// Nobody asks yet.
    pub(crate) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS as usize], at: 0 }
    }

    /// This one asks so long from now; beyond the wheel's reach, as late as it reaches.
    pub(crate) fn ask_in(&mut self, who: u32, ms: u64) {
        let slots = (ms / SLOT_MS).clamp(1, SLOTS - 1);
        self.slots[((self.at + slots) % SLOTS) as usize].push(who);
    }

    /// Everybody who is due by then, in milliseconds since the wheel's beginning.
    pub(crate) fn due_by(&mut self, ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        while self.at < ms / SLOT_MS {
            self.at += 1;
            due.append(&mut self.slots[(self.at % SLOTS) as usize]);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_gateway() {
        for (position, near, rate, seconds) in [(1, true, 600.0, 2), (100_000, false, 600.0, 60), (90, true, 1.0, 4)] {
            assert_eq!(interval_ms(position, near, rate, 0.0), seconds * 1_000, "position {position}");
        }
    }

    #[test]
    fn everybody_asks_when_due_and_once() {
        let mut wheel = Wheel::new();
        wheel.ask_in(1, 100);
        wheel.ask_in(2, 10_000);
        assert_eq!(wheel.due_by(99), Vec::<u32>::new());
        assert_eq!(wheel.due_by(100), [1]);
        wheel.ask_in(1, 9_900);
        assert_eq!(wheel.due_by(10_000), [2, 1]);
        assert_eq!(wheel.due_by(90_000), Vec::<u32>::new());
    }
}
