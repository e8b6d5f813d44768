//! Whether calls kept to the rate in every window: exact, in one pass, for rates and bursts that change.
//!
//! The promise: for all i ≤ j, the calls i..=j are at most burst(i) plus what was earned from call i to call j. With
//! E(i) for what had been earned in all before call i, that is (j + 1) − E(j) ≤ i − E(i) + burst(i) for all i ≤ j; so
//! the smallest right side so far is all that has to be kept. Counted in whole units, of which a permit has
//! [`PERMIT`], so that nothing is rounded.

/// Units of one permit: thousandths per minute × microseconds.
pub(crate) const PERMIT: i128 = 60_000_000_000;

/// Watches a sequence of earnings and calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateBound {
    earned: i128,
    calls: i128,
    smallest: Option<i128>,
}

impl RateBound {
    /// Time passed at a rate.
    pub(crate) fn earn(&mut self, dt_us: u64, rate_milli: u64) {
        self.earned += i128::from(dt_us) * i128::from(rate_milli);
    }

    /// A visitor is called under this burst. Answers by how many units a window that ends here is too full.
    pub(crate) fn call(&mut self, burst: u64) -> Result<(), i128> {
        let before = self.calls * PERMIT - self.earned;
        let allowed = before + i128::from(burst) * PERMIT;
        let smallest = self.smallest.map_or(allowed, |s| s.min(allowed));
        self.smallest = Some(smallest);
        self.calls += 1;
        let over = before + PERMIT - smallest;
        if over > 0 { Err(over) } else { Ok(()) }
    }
}
