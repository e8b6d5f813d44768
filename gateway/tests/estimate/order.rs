//! Who stands in line, by number of arrival: counts and finds ranks in O(log n), so that a hundred thousand can wait.

/// A Fenwick tree over fans: one for each who waits.
#[derive(Debug)]
pub(crate) struct Order {
    sums: Vec<i64>,
    waits: Vec<bool>,
    len: u64,
}

impl Order {
    pub(crate) fn new(fans: usize) -> Self {
        Self { sums: vec![0; fans + 1], waits: vec![false; fans], len: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn contains(&self, fan: usize) -> bool {
        self.waits[fan]
    }

    pub(crate) fn insert(&mut self, fan: usize) {
        if !std::mem::replace(&mut self.waits[fan], true) {
            self.len += 1;
            self.add(fan, 1);
        }
    }

    pub(crate) fn remove(&mut self, fan: usize) -> bool {
        let waited = std::mem::replace(&mut self.waits[fan], false);
        if waited {
            self.len -= 1;
            self.add(fan, -1);
        }
        waited
    }

    /// How many wait before this fan.
    pub(crate) fn ahead_of(&self, fan: usize) -> u64 {
        let (mut at, mut sum) = (fan, 0);
        while at > 0 {
            sum += self.sums[at];
            at &= at - 1;
        }
        sum.unsigned_abs()
    }

    /// The fan at a rank, from 0.
    pub(crate) fn at(&self, rank: u64) -> Option<usize> {
        let (mut at, mut left) = (0, rank as i64);
        let mut step = self.sums.len().next_power_of_two();
        while step > 0 {
            if at + step < self.sums.len() && self.sums[at + step] <= left {
                at += step;
                left -= self.sums[at];
            }
            step /= 2;
        }
        (at < self.waits.len()).then_some(at)
    }

    fn add(&mut self, fan: usize, change: i64) {
        let mut at = fan + 1;
        while at < self.sums.len() {
            self.sums[at] += change;
            at += at & at.wrapping_neg();
        }
    }
}
