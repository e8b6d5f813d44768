//! The promise that one device at a time holds a place, checked on calls and replies alone.

use std::collections::BTreeMap;

use queue::offer::Offered;
use queue::seen::Shown;
use queue::take::Taken;
use queue::{Code, Standing};
use queue_token::{Device, Taker, VisitorId};

use super::operations::{Call, Reply};
use super::rules::{Checked, Rule, Seen, ensure};
use crate::model::{PLACE_LIFE_MS, Spot};

/// Who holds a place, as far as the line was ever told.
#[derive(Debug, Clone, Copy)]
struct Holding {
    device: Device,
    taker: Option<Taker>,
    since_us: u64,
}

/// Watches the devices of one sale from its beginning.
#[derive(Debug, Default)]
pub(super) struct DeviceRules {
    holdings: BTreeMap<VisitorId, Holding>,
    until_ms: BTreeMap<Code, u64>,
}

impl DeviceRules {
    pub(super) fn check(&mut self, seen: &Seen<'_>) -> Checked {
        // What is older than a place can be is forgotten, and may stay so when the clock steps back.
        self.holdings.retain(|_, holding| seen.now_us < holding.since_us + (PLACE_LIFE_MS - 1000) * 1000);
        match (seen.call, seen.reply) {
            (Call::Lose, _) => *self = Self::default(),
            (Call::Offer { shown, .. }, Reply::Offered(offered)) => {
                let told = *offered == Offered::Moved;
                self.shows((shown.visitor, shown.device), told, *offered == Offered::Absent, seen)?;
                if let Offered::Code { code, until_ms } = offered {
                    self.until_ms.insert(*code, *until_ms);
                }
            }
            (Call::Take { code, taker }, Reply::Taken(Taken::Place(shown))) => {
                self.takes(*code, *taker, *shown, seen)?;
            }
            (Call::Seen { visitors }, Reply::Standings(standings)) => {
                for (shown, standing) in visitors.iter().zip(standings) {
                    self.stands((shown.visitor, shown.device), standing, seen)?;
                }
            }
            (
                Call::Claim { visitor, device } | Call::Depart { visitor, device: Some(device) },
                Reply::Standings(standings),
            ) => self.stands((*visitor, *device), &standings[0], seen)?,
            _ => {}
        }
        Ok(())
    }

    fn takes(&mut self, code: Code, taker: Taker, shown: Shown, seen: &Seen<'_>) -> Checked {
        let Shown { visitor, device, .. } = shown;
        let again = Holding { device, taker: Some(taker), since_us: seen.now_us };
        let before = self.holdings.insert(visitor, again);
        let lives = self.until_ms.get(&code).is_none_or(|&until_ms| seen.now_us / 1000 < until_ms);
        ensure(lives, Rule::OneDevice, || format!("{code} led to a place after its end"))?;
        if before.is_some_and(|before| before.device == device && before.taker == Some(taker)) {
            return Ok(());
        }
        let later = before.is_none_or(|before| before.device < device);
        ensure(later, Rule::OneDevice, || format!("{visitor} moved to {device:?} twice: {before:?}, {again:?}"))?;
        let spot = seen.before.spot(visitor);
        let over = matches!(spot, Some(Spot::Inside { .. } | Spot::Spent { .. }));
        ensure(!over, Rule::OneDevice, || format!("{visitor} moved though its place was over: {spot:?}"))
    }

    fn stands(&mut self, shown: (VisitorId, Device), standing: &Standing, seen: &Seen<'_>) -> Checked {
        self.shows(shown, *standing == Standing::Moved, *standing == Standing::Absent, seen)
    }

    fn shows(&mut self, shown: (VisitorId, Device), told: bool, absent: bool, seen: &Seen<'_>) -> Checked {
        let (visitor, device) = shown;
        if absent {
            return Ok(());
        }
        match self.holdings.get(&visitor).map(|holding| holding.device) {
            Some(holder) if device < holder => {
                ensure(told, Rule::OneDevice, || format!("{visitor}: {device:?} was heard, {holder:?} has the place"))
            }
            Some(holder) if device == holder => Ok(()),
            _ => {
                let holding = Holding { device, taker: None, since_us: seen.now_us };
                if !device.is_first() && !told {
                    self.holdings.insert(visitor, holding);
                }
                Ok(())
            }
        }
    }
}
