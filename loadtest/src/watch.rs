//! Invariants that the crowd itself can see broken while the run goes on.
//!
//! Only certain breaches are reported: a hold counts as live from its acknowledgement until the
//! earliest moment at which it may have ended (its own expiry counted from the moment of asking, or
//! the moment its owner gave it back). Everything that needs the database is left to the audit.

use std::collections::HashMap;

use crate::fan::Note;

/// Breaches kept as text; further ones are only counted.
const KEPT: usize = 50;

/// Who has which seat, as far as acknowledgements go.
#[derive(Debug, Default)]
pub struct Watch {
    seats: HashMap<u32, Claim>,
    holds: HashMap<String, Vec<u32>>,
    bookings: HashMap<String, u64>,
    breaches: Vec<String>,
    count: u64,
}

#[derive(Debug, Clone)]
struct Claim {
    fan: u64,
    hold: String,
    /// Live at least until then; a sale is for ever.
    until_us: u64,
}

impl Watch {
    /// Takes note of something that happened to a fan: asked at `start_us`, known at `end_us`.
    pub fn note(&mut self, fan: u64, note: &Note, start_us: u64, end_us: u64) {
        match note {
            Note::Held { hold, seats, for_us } => {
                self.holds.insert(hold.clone(), seats.clone());
                self.claim(fan, hold, seats, end_us, start_us + for_us);
            }
            Note::GivingBack { hold } => self.give_back(hold),
            // Only the end of the payment frees these seats, and the fan may never see it.
            Note::Paying { .. } => {}
            Note::Bought { hold, booking, seats, .. } => self.bought(fan, hold, booking, seats, end_us),
            Note::OtherVisitor { was, is } => {
                self.breach(format!("fan {fan} joined as visitor {was} and was answered as {is}"));
            }
            Note::Joined | Note::GotIn { .. } | Note::MovedBack { .. } => {}
        }
    }

    /// What was found broken: the first ones as text, and how many in all.
    pub fn breaches(&self) -> (&[String], u64) {
        (&self.breaches, self.count)
    }

    fn bought(&mut self, fan: u64, hold: &str, booking: &str, seats: &[u32], end_us: u64) {
        if let Some(held) = self.holds.get(hold) {
            let (mut held, mut sold) = (held.clone(), seats.to_vec());
            held.sort_unstable();
            sold.sort_unstable();
            if held != sold {
                self.breach(format!("booking {booking} of fan {fan} has seats {sold:?}, its hold had {held:?}"));
            }
        }
        if let Some(other) = self.bookings.insert(booking.to_owned(), fan).filter(|other| *other != fan) {
            self.breach(format!("booking {booking} is confirmed to fan {fan} and to fan {other}"));
        }
        self.claim(fan, hold, seats, end_us, u64::MAX);
    }

    fn claim(&mut self, fan: u64, hold: &str, seats: &[u32], now_us: u64, until_us: u64) {
        for &seat_no in seats {
            let claim = Claim { fan, hold: hold.to_owned(), until_us };
            let Some(other) = self.seats.insert(seat_no, claim).filter(|other| other.hold != hold) else { continue };
            if other.until_us > now_us {
                let what = if other.until_us == u64::MAX { "sold to" } else { "held by" };
                self.breach(format!(
                    "seat {seat_no} is acknowledged to fan {fan} (hold {hold}) while {what} fan {} (hold {})",
                    other.fan, other.hold
                ));
            }
        }
    }

    fn give_back(&mut self, hold: &str) {
        for seat_no in self.holds.get(hold).into_iter().flatten() {
            if self.seats.get(seat_no).is_some_and(|claim| claim.hold == hold) {
                self.seats.remove(seat_no);
            }
        }
    }

    fn breach(&mut self, breach: String) {
        self.count += 1;
        if self.breaches.len() < KEPT {
            self.breaches.push(breach);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(hold: &str, seats: &[u32]) -> Note {
        Note::Held { hold: hold.into(), seats: seats.to_vec(), for_us: 1_000 }
    }

    fn bought(hold: &str, booking: &str, seats: &[u32]) -> Note {
        Note::Bought { hold: hold.into(), booking: booking.into(), seats: seats.to_vec(), places: 0, total: 1 }
    }

    fn breaches(notes: &[(u64, Note, u64)]) -> u64 {
        let mut watch = Watch::default();
        for (fan, note, at_us) in notes {
            watch.note(*fan, note, *at_us, *at_us + 10);
        }
        watch.breaches().1
    }

    #[test]
    fn a_seat_held_twice_at_once_is_a_breach() {
        assert_eq!(breaches(&[(1, held("a", &[5]), 0), (2, held("b", &[5, 6]), 500)]), 1);
        assert_eq!(breaches(&[(1, held("a", &[5]), 0), (2, held("b", &[5]), 995)]), 0, "expired meanwhile");
        let back = Note::GivingBack { hold: "a".into() };
        assert_eq!(breaches(&[(1, held("a", &[5]), 0), (1, back, 100), (2, held("b", &[5]), 500)]), 0);
        assert_eq!(breaches(&[(1, held("a", &[5]), 0), (1, held("a", &[5]), 500)]), 0, "a repeated answer");
    }

    #[test]
    fn a_sold_seat_stays_sold() {
        let sale = [(1, held("a", &[5]), 0), (1, bought("a", "x", &[5]), 10)];
        assert_eq!(breaches(&sale), 0);
        let mut again = sale.to_vec();
        again.push((2, held("b", &[5]), 1_000_000));
        assert_eq!(breaches(&again), 1);
    }

    #[test]
    fn bookings_keep_their_seats_and_their_fan() {
        assert_eq!(breaches(&[(1, held("a", &[5]), 0), (1, bought("a", "x", &[6]), 10)]), 1);
        assert_eq!(breaches(&[(1, bought("a", "x", &[5]), 0), (2, bought("b", "x", &[7]), 10)]), 1);
    }

    #[test]
    fn another_visitor_is_a_breach() {
        assert_eq!(breaches(&[(1, Note::OtherVisitor { was: "v".into(), is: "w".into() }, 0)]), 1);
    }
}
