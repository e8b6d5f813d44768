//! What visitors and gateways do to a line: `govern`, `join`, `admit`, `seen`, `claim`, `renew`, `depart`.

use queue::admit::Tick;
use queue::govern::Cause;
use queue::seen::Shown;
use queue::{Standing, Turn};
use queue_token::{Device, Score, VisitorId};

use super::{Flaw, HUSH_US, Model, PRESENCE_MS, Sale, Spot, TICK_MAX, to_score};

/// The sentence that every change of the suite gives.
pub(crate) const WHY: &str = "The suite says so.";

impl Model {
    /// The origin's say; whether it was taken. `None` when the sale is not known.
    pub(crate) fn govern(&mut self, seq: u64, factor_milli: u64, cause: Cause, now_us: u64) -> Option<bool> {
        let flaw = self.flaw;
        let sale = self.sale.as_mut()?;
        if sale.governed.seq != seq && flaw != Some(Flaw::TakesStaleSays) {
            return Some(false);
        }
        if sale.settings.health_path.is_none() && flaw != Some(Flaw::HearsThoseWithoutSay) {
            return Some(false);
        }
        if flaw == Some(Flaw::GovernsThePast) {
            sale.set_governed(factor_milli, cause, WHY, now_us);
            sale.refill(now_us, flaw);
        } else {
            // What was earned until now was earned at the old rate.
            sale.refill(now_us, flaw);
            sale.set_governed(factor_milli, cause, WHY, now_us);
        }
        Some(true)
    }

    /// Places each visitor once, in the order given; calls at once whoever finds nobody waiting, permits and room.
    pub(crate) fn join(&mut self, floor: Score, visitors: &[VisitorId], now_us: u64) -> Vec<Standing> {
        let flaw = self.flaw;
        let Some(sale) = &mut self.sale else { return vec![Standing::Absent; visitors.len()] };
        sale.refill(now_us, flaw);
        visitors.iter().map(|&visitor| sale.join_one(floor.get(), visitor, now_us, flaw)).collect()
    }

    /// The tick; `None` when the sale is not known.
    pub(crate) fn admit(&mut self, now_us: u64) -> Option<Tick> {
        let flaw = self.flaw;
        let sale = self.sale.as_mut()?;
        sale.refill(now_us, flaw);
        let unclaimed = sale.set_aside_the_unclaimed(now_us / 1000, flaw);
        let over = sale.end_passes(now_us / 1000, flaw);
        let (called, set_aside) = sale.call_the_front(now_us, flaw);
        Some(Tick { called, set_aside, unclaimed, over, waiting: sale.line.len() as u64 })
    }

    /// Notes presence; whoever was set aside or is not known comes (back) into line at their own score.
    pub(crate) fn seen<S: Copy + Into<Shown>>(&mut self, visitors: &[S], now_us: u64) -> Vec<Standing> {
        let flaw = self.flaw;
        let Some(sale) = &mut self.sale else { return vec![Standing::Absent; visitors.len()] };
        let seen_one = |&shown: &S| {
            let Shown { visitor, score, device } = shown.into();
            if sale.has_moved_on((visitor, device), now_us, flaw) && flaw != Some(Flaw::OldDevicesArePresent) {
                return Standing::Moved;
            }
            sale.seen_one(visitor, score.get(), now_us, flaw)
        };
        visitors.iter().map(seen_one).collect()
    }

    /// The called go inside, on the device that joined.
    #[allow(dead_code, reason = "for whoever plays a sale in which no place moves")]
    pub(crate) fn claim(&mut self, visitor: VisitorId, now_us: u64) -> Standing {
        self.claim_on(visitor, Device::FIRST, now_us)
    }

    /// The called go inside.
    pub(crate) fn claim_on(&mut self, visitor: VisitorId, device: Device, now_us: u64) -> Standing {
        let flaw = self.flaw;
        let Some(sale) = &mut self.sale else { return Standing::Absent };
        if sale.has_moved_on((visitor, device), now_us, flaw) && flaw != Some(Flaw::OldDevicesClaim) {
            return Standing::Moved;
        }
        let pass_ends_ms = now_us / 1000 + sale.settings.pass_ttl_s * 1000;
        match sale.spots.get_mut(&visitor) {
            Some(spot @ Spot::Called { .. }) => {
                if let Spot::Called { turn, .. } = *spot {
                    *spot = Spot::Inside { turn, expires_ms: pass_ends_ms };
                }
                sale.totals.claimed += 1;
            }
            Some(Spot::Inside { expires_ms, .. }) if flaw == Some(Flaw::ClaimTwiceProlongs) => {
                *expires_ms = pass_ends_ms;
            }
            _ => {}
        }
        sale.standing(visitor)
    }

    /// Prolongs slots; takes in again whoever is not known but shows a pass that is still live.
    pub(crate) fn renew(&mut self, visitors: &[(VisitorId, u64)], now_us: u64) -> Vec<Option<u64>> {
        let Some(sale) = &mut self.sale else { return visitors.iter().map(|&(_, shown_ms)| Some(shown_ms)).collect() };
        let now_ms = now_us / 1000;
        let fresh_ms = now_ms + sale.settings.pass_ttl_s * 1000;
        let lost = Turn { score: Score::default(), called_us: 0, seq: 0 };
        let renew_one = |&(visitor, shown_ms): &(VisitorId, u64)| {
            let (turn, until_ms) = match sale.spots.get(&visitor) {
                Some(&Spot::Inside { turn, expires_ms }) => (turn, fresh_ms.max(expires_ms).max(shown_ms)),
                // Lost, or put back into line after a loss: the pass is the proof.
                None | Some(Spot::Waiting { .. } | Spot::Away { .. }) if shown_ms > now_ms => {
                    sale.take_out(visitor);
                    (lost, fresh_ms.max(shown_ms))
                }
                _ => return None,
            };
            sale.spots.insert(visitor, Spot::Inside { turn, expires_ms: until_ms });
            Some(until_ms)
        };
        visitors.iter().map(renew_one).collect()
    }

    /// Gives up a pass; answers where the visitor stood.
    #[allow(dead_code, reason = "for whoever plays a sale in which no place moves")]
    pub(crate) fn depart(&mut self, visitor: VisitorId, now_us: u64) -> Standing {
        self.depart_on(visitor, None, now_us)
    }

    /// Gives up place or pass; answers where the visitor stood. Whoever shows a pass names no device.
    pub(crate) fn depart_on(&mut self, visitor: VisitorId, device: Option<Device>, now_us: u64) -> Standing {
        let flaw = self.flaw;
        let Some(sale) = &mut self.sale else { return Standing::Absent };
        let moved_on = device.is_some_and(|device| sale.has_moved_on((visitor, device), now_us, flaw));
        if moved_on && flaw != Some(Flaw::OldDevicesGiveUp) {
            return Standing::Moved;
        }
        let before = sale.standing(visitor);
        if !matches!(before, Standing::Left | Standing::Expired) {
            sale.take_out(visitor);
            if self.flaw != Some(Flaw::ForgetsThoseWhoLeft) {
                sale.spots.insert(visitor, Spot::Spent { at_ms: now_us / 1000, left: true });
            }
            sale.totals.departed += 1;
        }
        before
    }
}

impl Sale {
    fn join_one(&mut self, floor: u64, visitor: VisitorId, now_us: u64, flaw: Option<Flaw>) -> Standing {
        let placed_again = flaw == Some(Flaw::ForgetsDuplicates) && self.waits(visitor);
        if self.spots.contains_key(&visitor) && !placed_again {
            return self.standing(visitor);
        }
        if self.takes_nobody() {
            return Standing::Closed;
        }
        let floor = if flaw == Some(Flaw::IgnoresFloor) { 0 } else { floor };
        let score = match flaw {
            Some(Flaw::ScoresFollowTheClock) => self.free_score_near(now_us),
            _ => now_us.max(self.last_score + 1).max(floor + 1),
        };
        self.last_score = score;
        self.totals.joined += 1;
        if self.line.is_empty() && self.budget(now_us, flaw) > 0 {
            self.call(visitor, score, now_us);
        } else {
            self.take_out(visitor);
            let near = self.line.len() < self.reach();
            self.put_in_line(visitor, score);
            if near {
                self.seen_ms.insert(visitor, now_us / 1000);
            }
        }
        self.standing(visitor)
    }

    fn waits(&self, visitor: VisitorId) -> bool {
        matches!(self.spots.get(&visitor), Some(Spot::Waiting { .. }))
    }

    /// The first score from here on that nobody in line has.
    fn free_score_near(&self, from: u64) -> u64 {
        (from..).find(|score| !self.line.contains_key(score)).expect("there are more scores than visitors")
    }

    fn seen_one(&mut self, visitor: VisitorId, score: u64, now_us: u64, flaw: Option<Flaw>) -> Standing {
        let own = match self.spots.get(&visitor) {
            Some(&Spot::Away { score: kept }) => Some(kept.min(score)),
            // A join that was answered too late: the gateway signed an earlier spot.
            Some(&Spot::Waiting { score: later }) if later > score => Some(score),
            Some(_) => None,
            None => Some(score),
        };
        if let Some(own) = own {
            let own = if flaw == Some(Flaw::PutsBackAtTheEnd) { own.max(self.last_score + 1) } else { own };
            self.take_out(visitor);
            self.put_in_line(visitor, own);
            if flaw != Some(Flaw::ForgetsPresence) {
                self.seen_ms.insert(visitor, now_us / 1000);
            }
        } else if self.waits(visitor) && flaw != Some(Flaw::ForgetsPresence) {
            self.seen_ms.insert(visitor, now_us / 1000);
        }
        self.standing(visitor)
    }

    /// Whoever was called and did not claim in time is set aside with their score.
    fn set_aside_the_unclaimed(&mut self, now_ms: u64, flaw: Option<Flaw>) -> u64 {
        let mut late: Vec<_> = self
            .spots
            .iter()
            .filter_map(|(&visitor, &spot)| match spot {
                Spot::Called { turn, deadline_ms } if deadline_ms < now_ms => Some((deadline_ms, visitor, turn)),
                _ => None,
            })
            .collect();
        late.sort_by_key(|&(deadline_ms, visitor, _)| (deadline_ms, visitor.to_string()));
        late.truncate(TICK_MAX);
        for &(_, visitor, turn) in &late {
            self.spots.insert(visitor, Spot::Away { score: turn.score.get() });
            if flaw == Some(Flaw::DropsTheUnclaimed) {
                self.spots.remove(&visitor);
            }
        }
        self.totals.expired += late.len() as u64;
        late.len() as u64
    }

    /// Passes that have expired are used up.
    fn end_passes(&mut self, now_ms: u64, flaw: Option<Flaw>) -> u64 {
        let grace_ms = u64::from(flaw == Some(Flaw::OverTooLate));
        let mut over: Vec<_> = self
            .spots
            .iter()
            .filter_map(|(&visitor, &spot)| match spot {
                Spot::Inside { expires_ms, .. } if expires_ms + grace_ms < now_ms => Some((expires_ms, visitor)),
                _ => None,
            })
            .collect();
        over.sort_by_key(|&(expires_ms, visitor)| (expires_ms, visitor.to_string()));
        over.truncate(TICK_MAX);
        for &(_, visitor) in &over {
            self.spots.insert(visitor, Spot::Spent { at_ms: now_ms, left: false });
        }
        over.len() as u64
    }

    /// Calls the first present visitors; the silent among them are set aside. Answers how many of each.
    fn call_the_front(&mut self, now_us: u64, flaw: Option<Flaw>) -> (u64, u64) {
        let oldest_ms = (now_us / 1000).saturating_sub(PRESENCE_MS);
        let hushed = self.lost_at_us.is_some_and(|lost_us| (lost_us..lost_us + HUSH_US).contains(&now_us));
        let (mut budget, mut called, mut silent) = (self.budget(now_us, flaw), 0, 0);
        while budget > 0 && silent < TICK_MAX as u64 {
            let next =
                if flaw == Some(Flaw::CallsFromTheBack) { self.line.last_entry() } else { self.line.first_entry() };
            let Some(entry) = next else { break };
            let (score, visitor) = (*entry.key(), *entry.get());
            let present = self.seen_ms.get(&visitor).is_some_and(|&seen| seen >= oldest_ms);
            let was_asked = (score <= self.asked.below && !hushed) || flaw == Some(Flaw::SweepsTheUnasked);
            if !present && !was_asked && flaw != Some(Flaw::CallsTheSilent) {
                // Whoever is further back was asked even less.
                break;
            }
            entry.remove();
            self.seen_ms.remove(&visitor);
            if present || flaw == Some(Flaw::CallsTheSilent) {
                self.call(visitor, to_score(score).get(), now_us);
                (budget, called) = (budget - 1, called + 1);
            } else {
                self.spots.insert(visitor, Spot::Away { score });
                silent += 1;
            }
        }
        (called, silent)
    }
}
