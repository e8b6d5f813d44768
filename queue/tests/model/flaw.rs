//! Defects that can be put into the model on purpose: what a wrong implementation of the line would do.
//!
//! A checker that has never failed has shown nothing. Every flaw here must be noticed, by comparing the flawed model
//! with a real Redis and, where a promise of the line is broken, by the rules that look at it from outside.

/// One defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Calls one visitor more than there are permits.
    ExtraPermit,
    /// A little is won whenever a refill leaves a fraction of a permit.
    RoundsUp,
    /// The bucket holds more than the burst after a lull.
    NoBurstLimit,
    /// A clock that leaps forward earns permits for the whole leap.
    LeapsMint,
    /// After a step back nothing is earned until the clock has caught up.
    StallsAfterStepBack,
    /// Permits are earned while nobody may be called.
    FillsWhilePaused,
    /// Permits are earned for the moments before the opening.
    EarnsBeforeOpening,
    /// The bucket is full again after everything was lost.
    FullAfterLoss,
    /// Who is called but not yet inside takes no room.
    CalledTakeNoRoom,
    /// Being seen is not noted.
    ForgetsPresence,
    /// The silent are called as well.
    CallsTheSilent,
    /// The last comer is called first.
    CallsFromTheBack,
    /// Those put back in line go to its end.
    PutsBackAtTheEnd,
    /// Scores follow the clock alone, ignoring what was given before.
    ScoresFollowTheClock,
    /// Scores start again after everything was lost, ignoring what gateways have signed.
    IgnoresFloor,
    /// A visitor named twice in one batch is placed twice.
    ForgetsDuplicates,
    /// Who went inside still stands in the line as well.
    StaysInLine,
    /// Those called who did not claim are forgotten instead of set aside.
    DropsTheUnclaimed,
    /// Asking to claim again prolongs the pass.
    ClaimTwiceProlongs,
    /// Those who left may take a new place.
    ForgetsThoseWhoLeft,
    /// A pass is over one millisecond late.
    OverTooLate,
    /// The rank table leaves out who comes next.
    SkipsARank,
    /// Those behind a fresh horizon are set aside before they were asked.
    SweepsTheUnasked,
    /// What the origin says changes nothing.
    IgnoresTheOrigin,
    /// A stop leaves what is in the bucket to be called.
    CallsWhenStopped,
    /// What the origin says counts for the time before it too.
    GovernsThePast,
    /// New settings put the full rate back.
    ForgetsTheOrigin,
    /// Of several gateways that decide alike, each makes the change.
    TakesStaleSays,
    /// An origin without a say is listened to.
    HearsThoseWithoutSay,
    /// Silence counts in all of a horizon that a raised rate has just widened.
    SweepsAfterARaise,
    /// Silence still counts beyond a horizon that a lowered rate has brought nearer.
    SweepsAfterALowering,
    /// After a loss visitors are called before those at the front are back.
    CallsAtOnceAfterLoss,
    /// A device that its place has moved on from may still claim.
    OldDevicesClaim,
    /// And may still show presence.
    OldDevicesArePresent,
    /// And may still give the place up.
    OldDevicesGiveUp,
    /// A code leads to a place more than once.
    CodesWorkTwice,
    /// A code never ends.
    OldCodesLead,
    /// Whoever is inside can be moved away.
    MovesThoseInside,
    /// A move that Redis has lost is not believed.
    LostMovesStayLost,
}

impl Flaw {
    /// Each of them.
    pub(crate) const ALL: [Self; 39] = [
        Self::ExtraPermit,
        Self::RoundsUp,
        Self::NoBurstLimit,
        Self::LeapsMint,
        Self::StallsAfterStepBack,
        Self::FillsWhilePaused,
        Self::EarnsBeforeOpening,
        Self::FullAfterLoss,
        Self::CalledTakeNoRoom,
        Self::ForgetsPresence,
        Self::CallsTheSilent,
        Self::CallsFromTheBack,
        Self::PutsBackAtTheEnd,
        Self::ScoresFollowTheClock,
        Self::IgnoresFloor,
        Self::ForgetsDuplicates,
        Self::StaysInLine,
        Self::DropsTheUnclaimed,
        Self::ClaimTwiceProlongs,
        Self::ForgetsThoseWhoLeft,
        Self::OverTooLate,
        Self::SkipsARank,
        Self::SweepsTheUnasked,
        Self::SweepsAfterARaise,
        Self::SweepsAfterALowering,
        Self::CallsAtOnceAfterLoss,
        Self::IgnoresTheOrigin,
        Self::CallsWhenStopped,
        Self::GovernsThePast,
        Self::ForgetsTheOrigin,
        Self::TakesStaleSays,
        Self::HearsThoseWithoutSay,
        Self::OldDevicesClaim,
        Self::OldDevicesArePresent,
        Self::OldDevicesGiveUp,
        Self::CodesWorkTwice,
        Self::OldCodesLead,
        Self::MovesThoseInside,
        Self::LostMovesStayLost,
    ];
}
