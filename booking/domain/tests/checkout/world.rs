//! The model: stored rows, the provider, whoever looks after payments, and what may happen next.
//!
//! Money is counted in halves of the price, so that a partial refund is one of two. Decisions are made by
//! `checkout::next`; what the model adds is when they are made, and what locks see.

use booking_domain::checkout::{Act, Age, Facts, Keep, Told, next};
use booking_domain::{BookingState, HoldState, PaymentState};

/// How much is explored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) attempts: usize,
    pub(crate) actors: usize,
}

/// What keeps the promise; each may be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Whoever writes decides again under lock.
    DecideUnderLock,
    /// The sweeper leaves pending holds alone.
    SweeperSkipsPending,
    /// One attempt at a time.
    OneAttempt,
    /// Money of another amount sells nothing.
    RightAmount,
    /// An attempt that was given up is still looked for.
    FollowUp,
    /// A sale stays open until its money is ours.
    SaleStaysOpen,
    /// A cancellation says at once what goes back.
    CancelOwes,
    /// No cancellation while a payment runs.
    CancelWaits,
    /// Late money buys only places that can be had.
    RescueLooks,
    /// Each refund has one key at the provider.
    RefundKey,
    /// Money that is noted after a cancellation stays open until it went back.
    NoteStaysOpen,
    /// An undone sale is followed until its authorisation is back.
    UndoStaysOpen,
    /// A sale whose capture is refused is undone.
    RefusedCapture,
    /// A payment is as old as it was when the provider was asked, not when its answer is used.
    AgeOfAsking,
}

impl Guard {
    pub(crate) const ALL: [Self; 14] = [
        Self::DecideUnderLock,
        Self::SweeperSkipsPending,
        Self::OneAttempt,
        Self::RightAmount,
        Self::FollowUp,
        Self::SaleStaysOpen,
        Self::CancelOwes,
        Self::CancelWaits,
        Self::RescueLooks,
        Self::RefundKey,
        Self::NoteStaysOpen,
        Self::UndoStaysOpen,
        Self::RefusedCapture,
        Self::AgeOfAsking,
    ];
}

/// Whose the seats are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Seats {
    Free,
    Held,
    Pending,
    Sold(u8),
    Theirs,
}

/// What the provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Provider {
    Nothing,
    Processing,
    Declined,
    Kept,
    /// Kept, and every capture is refused.
    Stuck,
    Taken,
    Voided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) payment: PaymentState,
    /// Somebody will look at it again.
    pub(crate) open: bool,
    /// Late money was tried on the seats.
    pub(crate) tried: bool,
    pub(crate) age: Age,
    pub(crate) keep: Keep,
    pub(crate) due: bool,
    /// The request is on its way to the provider.
    pub(crate) travelling: bool,
    pub(crate) provider: Provider,
    pub(crate) right: bool,
    /// Halves of the price that went back.
    pub(crate) back: u8,
    pub(crate) used: [bool; 2],
}

/// Somebody who looks after an attempt, and may die at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Actor {
    pub(crate) attempt: u8,
    pub(crate) told: Told,
    /// When it asked.
    pub(crate) age: Age,
    pub(crate) act: Option<Act>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) booking: BookingState,
    pub(crate) hold: HoldState,
    pub(crate) lapsed: bool,
    pub(crate) seats: Seats,
    pub(crate) taken_over: bool,
    /// What the buyer who cancelled was told that the seller keeps.
    pub(crate) promised: Keep,
    pub(crate) attempts: [Option<Attempt>; 2],
    pub(crate) actors: [Option<Actor>; 2],
}

impl World {
    pub(crate) const FIRST: Self = Self {
        booking: BookingState::Held,
        hold: HoldState::Active,
        lapsed: false,
        seats: Seats::Held,
        taken_over: false,
        promised: Keep::All,
        attempts: [None; 2],
        actors: [None; 2],
    };

    fn attempt(&mut self, at: usize) -> &mut Attempt {
        self.attempts[at].as_mut().unwrap()
    }

    pub(crate) fn facts_of(&self, at: usize, told: Told, age: Age) -> Facts {
        let attempt = self.attempts[at].unwrap();
        Facts {
            booking: self.booking,
            payment: attempt.payment,
            told,
            age,
            keep: attempt.keep,
            refund_due: attempt.due,
            may_rescue: !attempt.tried,
        }
    }

    /// What the provider says now.
    pub(crate) fn asked(&self, at: usize, without: Option<Guard>) -> Told {
        let attempt = self.attempts[at].unwrap();
        let right = attempt.right || without == Some(Guard::RightAmount);
        match attempt.provider {
            Provider::Nothing => Told::Never,
            Provider::Processing => Told::Processing,
            Provider::Declined => Told::Declined,
            Provider::Kept | Provider::Stuck if right => Told::Authorized,
            Provider::Kept | Provider::Stuck => Told::OtherKept,
            Provider::Taken if attempt.back == 2 => Told::Refunded,
            Provider::Taken if right => Told::Captured,
            Provider::Taken => Told::OtherTaken,
            Provider::Voided => Told::Voided,
        }
    }

    /// All that may happen next, each with its name.
    pub(crate) fn moves(&self, scope: Scope, without: Option<Guard>, found: &mut Vec<(String, World)>) {
        self.buyers(scope, without, found);
        for at in 0..scope.attempts {
            if self.attempts[at].is_some() {
                self.providers(at, found);
                self.looks(at, scope, without, found);
            }
        }
        for slot in 0..scope.actors {
            self.actors_go_on(slot, without, found);
        }
    }

    fn buyers(&self, scope: Scope, without: Option<Guard>, found: &mut Vec<(String, World)>) {
        let mut push = |name: &str, world| found.push((name.to_owned(), world));
        let free_slot = (0..scope.attempts).find(|at| self.attempts[*at].is_none());
        let ready = self.booking == BookingState::Held && self.hold == HoldState::Active && !self.lapsed;
        let doubled = without == Some(Guard::OneAttempt) && self.booking == BookingState::PaymentPending;
        if let Some(at) = free_slot.filter(|_| (ready && self.seats == Seats::Held) || doubled) {
            let mut world = *self;
            (world.booking, world.hold, world.seats) =
                (BookingState::PaymentPending, HoldState::Pending, Seats::Pending);
            world.attempts[at] = Some(Attempt {
                payment: PaymentState::Created,
                open: true,
                tried: false,
                age: Age::InTime,
                keep: Keep::All,
                due: false,
                travelling: true,
                provider: Provider::Nothing,
                right: true,
                back: 0,
                used: [false; 2],
            });
            push("start", world);
        }
        if !self.lapsed && matches!(self.hold, HoldState::Active | HoldState::Pending) {
            push("time runs out", World { lapsed: true, ..*self });
        }
        let swept = self.hold == HoldState::Active
            || (self.hold == HoldState::Pending && without == Some(Guard::SweeperSkipsPending));
        if self.lapsed && swept {
            let mut world = World { hold: HoldState::Expired, ..*self };
            if world.booking == BookingState::Held {
                world.booking = BookingState::Expired;
            }
            if matches!(world.seats, Seats::Held | Seats::Pending) {
                world.seats = Seats::Free;
            }
            push("sweep", world);
        }
        let can_be_had =
            self.seats == Seats::Free || (self.seats == Seats::Held && self.hold == HoldState::Active && self.lapsed);
        if can_be_had && !self.taken_over {
            push("somebody else takes the seats", World { seats: Seats::Theirs, taken_over: true, ..*self });
        }
        if self.seats == Seats::Theirs {
            push("somebody else gives the seats up", World { seats: Seats::Free, ..*self });
        }
        self.cancels(without, &mut push);
    }

    fn cancels(&self, without: Option<Guard>, push: &mut impl FnMut(&str, World)) {
        let pending = self.booking == BookingState::PaymentPending && without == Some(Guard::CancelWaits);
        if (self.booking == BookingState::Held && !self.lapsed) || pending {
            let seats = if matches!(self.seats, Seats::Held | Seats::Pending) { Seats::Free } else { self.seats };
            push("cancel", World { booking: BookingState::Cancelled, hold: HoldState::Released, seats, ..*self });
        }
        if let (BookingState::Confirmed, Seats::Sold(at)) = (self.booking, self.seats) {
            for keep in [Keep::All, Keep::Part, Keep::Nothing] {
                let mut world = World { booking: BookingState::Cancelled, seats: Seats::Free, promised: keep, ..*self };
                if without != Some(Guard::CancelOwes) {
                    let attempt = world.attempt(at.into());
                    (attempt.keep, attempt.due) = (keep, keep != Keep::All);
                    attempt.open |= attempt.due;
                }
                push(&format!("cancel, keeping {keep:?}"), world);
            }
        }
    }

    fn providers(&self, at: usize, found: &mut Vec<(String, World)>) {
        let attempt = self.attempts[at].unwrap();
        let mut push = |name: &str, change: &dyn Fn(&mut Attempt)| {
            let mut world = *self;
            change(world.attempt(at));
            found.push((format!("{name} #{at}"), world));
        };
        if attempt.travelling {
            push("the request is lost", &|a| a.travelling = false);
            let ends = [
                (Provider::Kept, true),
                (Provider::Kept, false),
                (Provider::Taken, true),
                (Provider::Declined, true),
                (Provider::Processing, true),
            ];
            for (provider, right) in ends {
                let name = format!("the request arrives: {provider:?}{}", if right { "" } else { ", other amount" });
                push(&name, &|a| (a.travelling, a.provider, a.right) = (false, provider, right));
            }
        }
        match attempt.provider {
            Provider::Processing => {
                push("asynchronous yes", &|a| a.provider = Provider::Kept);
                push("asynchronous no", &|a| a.provider = Provider::Declined);
            }
            Provider::Kept => {
                push("captures will be refused", &|a| a.provider = Provider::Stuck);
                push("the authorisation runs out", &|a| a.provider = Provider::Voided);
            }
            _ => {}
        }
        match attempt.age {
            Age::InTime => push("its deadline passes", &|a| a.age = Age::Late),
            Age::Late => push("the cap passes", &|a| a.age = Age::Capped),
            Age::Capped if !attempt.travelling => push("it is old", &|a| a.age = Age::Forgotten),
            Age::Capped | Age::Forgotten => {}
        }
    }

    /// The reconciler, a callback (first, repeated or out of order) or the confirmation itself asks.
    fn looks(&self, at: usize, scope: Scope, without: Option<Guard>, found: &mut Vec<(String, World)>) {
        let Some(slot) = (0..scope.actors).find(|slot| self.actors[*slot].is_none()) else { return };
        for told in [self.asked(at, without), Told::Unknown] {
            let mut world = *self;
            world.actors[slot] = Some(Actor {
                attempt: u8::try_from(at).unwrap(),
                told,
                age: self.attempts[at].unwrap().age,
                act: None,
            });
            found.push((format!("look at #{at}: {told:?}"), world));
        }
    }

    fn actors_go_on(&self, slot: usize, without: Option<Guard>, found: &mut Vec<(String, World)>) {
        let Some(actor) = self.actors[slot] else { return };
        let at = usize::from(actor.attempt);
        let stale = without == Some(Guard::AgeOfAsking);
        let age = if stale { self.attempts[at].unwrap().age } else { actor.age };
        let mut crashed = *self;
        crashed.actors[slot] = None;
        let Some(act) = actor.act else {
            let act = next(&self.facts_of(at, actor.told, age));
            let act = match act {
                Act::UndoSale if without == Some(Guard::RefusedCapture) => Act::Ask,
                act => act,
            };
            let mut world = *self;
            world.actors[slot] = Some(Actor { act: Some(act), ..actor });
            found.push((format!("decide {act:?} on #{at}"), world));
            found.push(("crash".to_owned(), crashed));
            return;
        };
        found.push((format!("crash before {act:?} on #{at}"), crashed));
        let mut done = crashed;
        if matches!(act, Act::Capture | Act::Void | Act::PayBackAll | Act::PayBack) {
            let told = done.at_provider(at, act, without);
            found.push((format!("{act:?} on #{at}, the answer is lost"), done));
            if act == Act::PayBack {
                done.note_refund(at);
            } else {
                done.actors[slot] = Some(Actor { told, act: None, ..actor });
            }
            found.push((format!("{act:?} on #{at}"), done));
            return;
        }
        if without == Some(Guard::DecideUnderLock) || next(&self.facts_of(at, actor.told, age)) == act {
            done.write(at, act, without);
        }
        found.push((format!("{act:?} on #{at}"), done));
    }

    /// A call to the provider; what it answers.
    pub(crate) fn at_provider(&mut self, at: usize, act: Act, without: Option<Guard>) -> Told {
        let attempt = self.attempt(at);
        match (act, attempt.provider) {
            (Act::Capture, Provider::Kept) => attempt.provider = Provider::Taken,
            (Act::Capture, Provider::Stuck) => return Told::Uncapturable,
            (Act::Void, Provider::Kept | Provider::Stuck) => attempt.provider = Provider::Voided,
            (Act::PayBackAll, Provider::Taken) if !attempt.used[0] => {
                (attempt.back, attempt.used[0]) = (2, true);
            }
            (Act::PayBack, Provider::Taken) => {
                let halves = if attempt.keep == Keep::Part { 1 } else { 2 };
                let fresh = !attempt.used[1] || without == Some(Guard::RefundKey);
                if fresh && attempt.back + halves <= 2 {
                    attempt.back += halves;
                }
                attempt.used[1] = true;
            }
            _ => {}
        }
        self.asked(at, without)
    }

    pub(crate) fn note_refund(&mut self, at: usize) {
        let attempt = self.attempt(at);
        attempt.due = false;
        if attempt.back == 2 {
            (attempt.payment, attempt.open) = (PaymentState::Refunded, false);
        }
        if self.booking == BookingState::Cancelled {
            self.booking = BookingState::Refunded;
        }
    }

    /// One transaction.
    pub(crate) fn write(&mut self, at: usize, act: Act, without: Option<Guard>) {
        match act {
            Act::Ask | Act::Alarm | Act::Quarantine => self.attempt(at).open = true,
            Act::Close => self.attempt(at).open = false,
            Act::Sell => self.sell(at, without),
            Act::Decline => self.give_back(at, PaymentState::Declined, false),
            Act::GiveUp => self.give_back(at, PaymentState::Failed, without != Some(Guard::FollowUp)),
            Act::Rescue => self.rescue(at, without),
            Act::NoteCaptured => {
                let attempt = self.attempt(at);
                if let Ok(payment) = attempt.payment.capture() {
                    attempt.payment = payment;
                    attempt.open = attempt.due && without != Some(Guard::NoteStaysOpen);
                }
            }
            Act::UndoSale => {
                if let (Ok(booking), Ok(payment)) = (self.booking.capture_refused(), self.attempt(at).payment.fail()) {
                    self.booking = booking;
                    self.attempt(at).payment = payment;
                    self.attempt(at).open = without != Some(Guard::UndoStaysOpen);
                    self.seats = Seats::Free;
                }
            }
            Act::NoteVoided | Act::NoteRefunded => {
                let sold = self.attempt(at).payment == PaymentState::Authorized;
                let attempt = self.attempt(at);
                attempt.payment = if act == Act::NoteVoided { PaymentState::Voided } else { PaymentState::Refunded };
                (attempt.open, attempt.due) = (false, false);
                if sold && self.booking == BookingState::Cancelled {
                    self.booking = BookingState::Refunded;
                }
            }
            Act::Capture | Act::Void | Act::PayBackAll | Act::PayBack => {}
        }
    }

    fn sell(&mut self, at: usize, without: Option<Guard>) {
        let (Ok(booking), Ok(payment), HoldState::Pending) =
            (self.booking.confirm(), self.attempt(at).payment.authorize(), self.hold)
        else {
            return;
        };
        (self.booking, self.hold) = (booking, HoldState::Consumed);
        let attempt = self.attempt(at);
        (attempt.payment, attempt.open) = (payment, without != Some(Guard::SaleStaysOpen));
        if self.seats == Seats::Pending {
            self.seats = Seats::Sold(u8::try_from(at).unwrap());
        }
    }

    fn give_back(&mut self, at: usize, end: PaymentState, open: bool) {
        let attempt = self.attempt(at);
        (attempt.payment, attempt.open) = (end, open);
        if self.booking == BookingState::PaymentPending {
            self.booking = BookingState::Held;
        }
        if self.hold == HoldState::Pending {
            self.hold = HoldState::Active;
        }
        if self.seats == Seats::Pending {
            self.seats = Seats::Held;
        }
    }

    fn rescue(&mut self, at: usize, without: Option<Guard>) {
        let can_be_had = matches!(self.seats, Seats::Held | Seats::Free);
        if !can_be_had && without != Some(Guard::RescueLooks) {
            (self.attempt(at).tried, self.attempt(at).open) = (true, true);
            return;
        }
        let (Ok(booking), Ok(payment)) = (self.booking.rescue(), self.attempt(at).payment.rescue()) else { return };
        (self.booking, self.hold) = (booking, HoldState::Consumed);
        (self.attempt(at).payment, self.attempt(at).open) = (payment, true);
        if can_be_had {
            self.seats = Seats::Sold(u8::try_from(at).unwrap());
        }
    }
}
