//! The permits of a sale: a bucket that fills with time and never holds more than the burst.
//!
//! Whole numbers only. A permit is 60,000,000,000 units, since the rate is in thousandths per minute and time in
//! microseconds: then a microsecond earns exactly `rate_milli` units and nothing is lost or won by rounding.

use super::Flaw;

/// Units of one permit.
pub(crate) const PERMIT: u64 = 60_000_000_000;
/// A gap between two refills counts for at most this long.
pub(crate) const MAX_DT_US: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    units: u64,
    at_us: u64,
}

impl Bucket {
    pub(crate) fn full(burst: u64, at_us: u64) -> Self {
        Self { units: burst * PERMIT, at_us }
    }

    pub(crate) fn empty(at_us: u64) -> Self {
        Self { units: 0, at_us }
    }

    /// The same bucket after the burst became this.
    pub(crate) fn holding_at_most(self, burst: u64) -> Self {
        Self { units: self.units.min(burst * PERMIT), ..self }
    }

    /// Brings the bucket to now. Time before `open_since` earns nothing, `None` meaning that the sale is not open; nor
    /// does a clock that steps back, and one that leaps earns for [`MAX_DT_US`].
    pub(crate) fn refill(
        &mut self,
        now_us: u64,
        open_since: Option<u64>,
        rate_milli: u64,
        burst: u64,
        flaw: Option<Flaw>,
    ) {
        let mut dt_us = now_us.saturating_sub(self.at_us);
        if flaw != Some(Flaw::LeapsMint) {
            dt_us = dt_us.min(MAX_DT_US);
        }
        if let Some(since) = open_since {
            let earned = dt_us.min(now_us - since).saturating_mul(rate_milli);
            self.units = self.units.saturating_add(earned);
            if flaw == Some(Flaw::RoundsUp) && !self.units.is_multiple_of(PERMIT) && earned > 0 {
                self.units += PERMIT / 4;
            }
            if flaw != Some(Flaw::NoBurstLimit) {
                self.units = self.units.min(burst * PERMIT);
            }
        }
        let stalls = flaw == Some(Flaw::StallsAfterStepBack) && now_us < self.at_us;
        if !stalls {
            self.at_us = now_us;
        }
    }

    /// Whole permits in it.
    pub(crate) fn permits(self) -> u64 {
        self.units / PERMIT
    }

    pub(crate) fn take(&mut self) {
        self.units = self.units.saturating_sub(PERMIT);
    }
}
