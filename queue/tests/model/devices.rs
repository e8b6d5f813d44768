//! Which of a visitor's devices holds the place, and the codes that lead it to another: `offer`, `take`.

use std::collections::BTreeMap;

use queue::Code;
use queue::offer::Offered;
use queue::seen::Shown;
use queue::take::Taken;
use queue_token::{Device, Taker, VisitorId};

use super::{Flaw, Model, PLACE_LIFE_MS, Sale, Spot};

/// How long a code leads to a place.
pub(crate) const CODE_LIFE_MS: u64 = 600_000;

/// What a code leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The place as its device showed it.
    pub(crate) shown: Shown,
    /// Who has taken it, if anybody has.
    pub(crate) taker: Option<Taker>,
    pub(crate) until_ms: u64,
}

/// The device that holds a place, and since which second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) device: Device,
    pub(crate) since_s: u64,
}

/// Codes and holders of a sale.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Devices {
    pub(crate) offers: BTreeMap<Code, Offer>,
    /// Each visitor's code.
    pub(crate) open: BTreeMap<VisitorId, Code>,
    /// Only of visitors whose place ever moved.
    pub(crate) holders: BTreeMap<VisitorId, Holder>,
}

impl Devices {
    fn holder(&self, visitor: VisitorId) -> Device {
        self.holders.get(&visitor).map_or(Device::FIRST, |holder| holder.device)
    }

    fn hand_over(&mut self, visitor: VisitorId, device: Device, now_us: u64) {
        self.holders.insert(visitor, Holder { device, since_s: now_us / 1_000_000 });
    }

    fn live(&self, code: Code, now_ms: u64, flaw: Option<Flaw>) -> Option<Offer> {
        let lives = |offer: &&Offer| offer.until_ms > now_ms || flaw == Some(Flaw::OldCodesLead);
        self.offers.get(&code).filter(lives).copied()
    }

    fn forget_code(&mut self, code: Code) {
        self.offers.remove(&code);
        self.open.retain(|_, open| *open != code);
    }

    /// Forgets codes and moves that can matter no more.
    pub(super) fn forget_what_is_old(&mut self, now_us: u64) {
        let over: Vec<Code> =
            self.offers.iter().filter(|(_, offer)| offer.until_ms <= now_us / 1000).map(|(&code, _)| code).collect();
        over.into_iter().for_each(|code| self.forget_code(code));
        let oldest_s = (now_us / 1_000_000).saturating_sub(PLACE_LIFE_MS / 1000);
        self.holders.retain(|_, holder| holder.since_s >= oldest_s);
    }
}

impl Sale {
    /// Whether the place has moved on from the device that shows it. A later device than is known is right.
    pub(super) fn has_moved_on(&mut self, shown: (VisitorId, Device), now_us: u64, flaw: Option<Flaw>) -> bool {
        let (visitor, device) = shown;
        let holder = self.devices.holder(visitor);
        if device > holder && flaw != Some(Flaw::LostMovesStayLost) {
            self.devices.hand_over(visitor, device, now_us);
        }
        device < holder
    }

    fn may_move(&self, visitor: VisitorId, called_too: bool) -> bool {
        match self.spots.get(&visitor) {
            None | Some(Spot::Waiting { .. } | Spot::Away { .. }) => true,
            Some(Spot::Called { .. }) => called_too,
            Some(Spot::Inside { .. } | Spot::Spent { .. }) => false,
        }
    }
}

impl Model {
    /// Notes a code that leads to a place.
    pub(crate) fn offer(&mut self, shown: Shown, code: Code, now_us: u64) -> Offered {
        let (flaw, now_ms) = (self.flaw, now_us / 1000);
        let Some(sale) = &mut self.sale else { return Offered::Absent };
        if sale.has_moved_on((shown.visitor, shown.device), now_us, flaw) {
            return Offered::Moved;
        }
        match sale.spots.get(&shown.visitor) {
            Some(Spot::Called { .. }) => return Offered::Called,
            Some(Spot::Inside { .. }) => return Offered::Inside,
            Some(Spot::Spent { left: true, .. }) => return Offered::Left,
            Some(Spot::Spent { left: false, .. }) => return Offered::Expired,
            None | Some(Spot::Waiting { .. } | Spot::Away { .. }) => {}
        }
        if shown.device == Device::LAST {
            return Offered::Final;
        }
        if let Some(&earlier) = sale.devices.open.get(&shown.visitor) {
            if let Some(offer) = sale.devices.live(earlier, now_ms, flaw) {
                let ahead_ms = offer.until_ms - now_ms.min(offer.until_ms);
                if (CODE_LIFE_MS / 2 + 1..=CODE_LIFE_MS).contains(&ahead_ms)
                    && offer.shown == shown
                    && offer.taker.is_none()
                {
                    return Offered::Code { code: earlier, until_ms: offer.until_ms };
                }
            }
            sale.devices.forget_code(earlier);
        }
        if sale.devices.live(code, now_ms, flaw).is_some() {
            return Offered::InUse;
        }
        sale.devices.forget_code(code);
        let until_ms = now_ms + CODE_LIFE_MS;
        sale.devices.offers.insert(code, Offer { shown, taker: None, until_ms });
        sale.devices.open.insert(shown.visitor, code);
        Offered::Code { code, until_ms }
    }

    /// Moves the place that a code leads to.
    pub(crate) fn take(&mut self, code: Code, taker: Taker, now_us: u64) -> Taken {
        let flaw = self.flaw;
        let Some(sale) = &mut self.sale else { return Taken::Absent };
        let Some(offer) = sale.devices.live(code, now_us / 1000, flaw) else { return Taken::Unknown };
        let visitor = offer.shown.visitor;
        let device = Device::new(offer.shown.device.get() + 1).expect("the last device gets no code");
        let (place, holder) = (Taken::Place(Shown { device, ..offer.shown }), sale.devices.holder(visitor));
        let is_over = matches!(sale.spots.get(&visitor), Some(Spot::Spent { .. }));
        if offer.taker == Some(taker) && holder == device && !is_over {
            return place;
        }
        let is_open = match flaw {
            Some(Flaw::CodesWorkTwice) => true,
            _ => offer.taker.is_none() && holder <= offer.shown.device,
        };
        if !is_open || !(sale.may_move(visitor, true) || flaw == Some(Flaw::MovesThoseInside)) {
            return Taken::Unknown;
        }
        sale.devices.hand_over(visitor, device, now_us);
        sale.devices.offers.insert(code, Offer { taker: Some(taker), ..offer });
        place
    }

    /// Codes and holders.
    pub(crate) fn devices(&self) -> Devices {
        self.sale.as_ref().map(|sale| sale.devices.clone()).unwrap_or_default()
    }
}
