//! Bringing a payment and its booking to one end, whoever asks first: the confirmation itself, a callback, or
//! the reconciler after a crash or a timeout.
//!
//! One loop for all: the provider's answer beside the stored states makes [`Facts`], [`next`] says what to do,
//! and it is done, as a call to the provider ([`payment_calls`]) or as one transaction that decides again under
//! lock ([`payment_steps`]). Then it looks again, until nothing more can be done at once. Authorise → commit
//! sale, tickets and announcement in one transaction → capture. No remote call is made while a transaction is
//! open.

use booking_domain::checkout::{Act, Age, Facts, Keep, Told, next};
use booking_domain::{BookingState, PaymentState};

use super::once::Once;
use super::payment_calls::{self, Called};
use super::payment_outcome::Settled;
use super::payment_steps::{self, Written};
use super::views::BookingView;
use super::{late_payment, payment_failures};
use crate::config::Config;
use crate::crash;
use crate::error::{Error, Refusal};
use crate::passes::chain;
use crate::payments::{ProviderError, ProviderPayment, ProviderStatus};
use crate::services::Services;
use crate::storage::payments::{self, PaymentKey, PaymentRow};

/// More steps than any payment takes; what is left then is done by the next look.
const MOST_STEPS: usize = 12;
/// After a payment that the provider does not know was given up, how long it is still asked for.
const FOLLOW_UP_S: i64 = 3600;
/// Longest wait after a call to the provider that failed.
const MOST_RETRY_S: u32 = 30;

/// A question to the provider and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// About which payment.
    pub(crate) key: PaymentKey,
    /// How old the payment was when the question was asked: an answer does not age with its reader.
    pub(crate) age: Age,
    /// The answer.
    pub(crate) told: Told,
    /// What the provider showed of the payment.
    pub(crate) known: Option<ProviderPayment>,
    /// What the buyer is told when this answer means that nothing was paid.
    pub(crate) refusal: Refusal,
    /// Whether the provider never got the request for the money, or refused it as such.
    pub(crate) not_taken: bool,
    /// Whether the request for the money was never sent, since the provider counts as down.
    pub(crate) not_sent: bool,
    /// Why the provider does not answer this question, although it answers.
    pub(crate) denied: Option<String>,
}

impl Asked {
    /// The provider was asked about `payment`, as it was read before, and this is its answer.
    pub(crate) fn of(
        payment: &PaymentRow,
        config: &Config,
        answer: Result<Option<ProviderPayment>, ProviderError>,
    ) -> Self {
        let asked = |told, known, refusal| {
            let (key, age) = (payment.key.clone(), age(payment, config));
            Self { key, age, told, known, refusal, not_taken: false, not_sent: false, denied: None }
        };
        let reference = || payment.key.reference();
        match answer {
            Ok(None) => asked(Told::Never, None, Refusal::PaymentLate),
            Ok(Some(known)) => {
                let told = told(payment, &known);
                let refusal = match told {
                    Told::Declined | Told::Voided | Told::Refunded => {
                        Refusal::PaymentDeclined { reason: known.decline_reason.clone() }
                    }
                    _ => Refusal::PaymentLate,
                };
                asked(told, Some(known), refusal)
            }
            Err(ProviderError::NotAsked) => asked(Told::Unknown, None, Refusal::PaymentFailed),
            Err(ProviderError::Refused { status, detail }) => {
                tracing::warn!(reference = reference(), status, detail, "the provider refused the question");
                let denied = Some(format!("the question was refused: {detail}"));
                Self { denied, ..asked(Told::Unknown, None, Refusal::PaymentLate) }
            }
            Err(error @ ProviderError::Unknown(_)) => {
                tracing::warn!(reference = reference(), error = %chain(&error),
                               "the provider's answer is unknown; it will be asked");
                asked(Told::Unknown, None, Refusal::PaymentLate)
            }
        }
    }

    /// The answer to the request for the money itself. What was never sent, or refused as such, is given up at
    /// once; it is asked for all the same, but only once.
    pub(crate) fn of_authorisation(
        payment: &PaymentRow,
        config: &Config,
        answer: Result<ProviderPayment, ProviderError>,
    ) -> Self {
        let given_up = |refusal| {
            let never = Self::of(payment, config, Ok(None));
            Self { age: Age::Late, told: Told::Never, refusal, not_taken: true, ..never }
        };
        match answer {
            Err(ProviderError::Refused { status, detail }) => {
                tracing::info!(reference = payment.key.reference(), status, detail, "the provider refused the request");
                given_up(Refusal::invalid("/payment/token", "the payment provider does not take this token"))
            }
            Err(ProviderError::NotAsked) => Self { not_sent: true, ..given_up(Refusal::PaymentFailed) },
            other => Self::of(payment, config, other.map(Some)),
        }
    }

    /// The facts that a decision rests on, with the states as they are stored.
    pub(crate) fn facts(&self, booking: BookingState, payment: &PaymentRow) -> Facts {
        let amount = payment.amount.amount();
        let keep = match amount - payment.refund_due {
            0 if amount > 0 => Keep::Nothing,
            left if left == amount => Keep::All,
            _ => Keep::Part,
        };
        Facts {
            booking,
            payment: payment.state,
            told: self.told,
            age: self.age,
            keep,
            refund_due: payment.refunded < payment.refund_due,
            may_rescue: !payment.late_tried,
        }
    }
}

/// How old a payment was when it was read.
fn age(payment: &PaymentRow, config: &Config) -> Age {
    let since = |start: jiff::Timestamp| payment.now.duration_since(start).as_secs();
    if since(payment.deadline) >= FOLLOW_UP_S {
        Age::Forgotten
    } else if since(payment.created_at) >= i64::from(config.checkout.pending_cap_s) {
        Age::Capped
    } else if payment.now >= payment.deadline {
        Age::Late
    } else {
        Age::InTime
    }
}

/// What a payment's stage at the provider means to us.
fn told(payment: &PaymentRow, known: &ProviderPayment) -> Told {
    let amount = payment.amount;
    let is_ours = known.amount == amount.amount() && known.currency == amount.currency().code();
    let all_taken = known.captured == 0 || known.captured == amount.amount();
    // Money of which a part went back by another hand buys nothing.
    let is_sold = matches!(payment.state, PaymentState::Authorized | PaymentState::Captured);
    let all_taken = all_taken && (is_sold || known.refunded == 0);
    match known.status {
        ProviderStatus::Processing => Told::Processing,
        ProviderStatus::Declined => Told::Declined,
        ProviderStatus::Authorized if is_ours => Told::Authorized,
        ProviderStatus::Authorized => Told::OtherKept,
        ProviderStatus::Captured if is_ours && all_taken => Told::Captured,
        ProviderStatus::Captured => Told::OtherTaken,
        ProviderStatus::Voided => Told::Voided,
        ProviderStatus::Refunded => Told::Refunded,
    }
}

/// Acts on an answer of the provider until nothing more can be done at once. What comes back is the answer to the
/// buyer, if one was kept on the way.
///
/// # Errors
/// When the database cannot be had; the reconciler goes on then.
pub(crate) async fn settle(
    services: &Services,
    asked: Asked,
    repeat: Option<Once<BookingView>>,
) -> Result<Option<Settled>, Error> {
    let reference = asked.key.reference();
    Ok(match act(services, asked, repeat).await? {
        End::Answered(settled) => Some(settled),
        End::Failed(why) => {
            tracing::warn!(reference, why, "the money will be settled later");
            None
        }
        End::Rests | End::Unheard => None,
    })
}

/// Where acting on an answer came to an end.
enum End {
    /// It came to nothing, and this is the answer to the buyer.
    Answered(Settled),
    /// Nothing can be done before the next look.
    Rests,
    /// Nor is anything known: the provider does not answer, or was not asked.
    Unheard,
    /// Something failed that is not the provider's silence.
    Failed(String),
}

async fn act(services: &Services, mut asked: Asked, repeat: Option<Once<BookingView>>) -> Result<End, Error> {
    let key = asked.key.clone();
    for _ in 0..MOST_STEPS {
        let (booking, payment) = {
            let mut conn = services.db.acquire().await?;
            let found = payments::with_booking(&mut conn, &key).await?;
            found.ok_or_else(|| Error::defect(format!("the payment {} or its booking is lost", key.reference())))?
        };
        let act = next(&asked.facts(booking, &payment));
        tracing::debug!(reference = key.reference(), ?act, told = ?asked.told, state = %payment.state, "a step");
        match act {
            Act::Capture | Act::Void | Act::PayBackAll | Act::PayBack => {
                let called = payment_calls::call(services, &payment, act, &asked).await?;
                if let Called::Answered(answer) = called {
                    asked = *answer;
                    continue;
                }
                later(services, &payment).await?;
                return Ok(match called {
                    Called::Failed(why) => End::Failed(why),
                    Called::Unheard => End::Unheard,
                    _ => End::Rests,
                });
            }
            Act::Rescue => {
                if late_payment::rescue(services, &asked).await? {
                    services.feeds.changed(&key.event);
                    crash::point("rescued");
                }
            }
            act => {
                let written = payment_steps::write(services, &asked, act, repeat.clone()).await?;
                services.feeds.changed(&key.event);
                match written {
                    Written::Answered(settled) => return Ok(End::Answered(settled)),
                    Written::Waits if act == Act::Ask && asked.told == Told::Unknown => {
                        return Ok(asked.denied.map_or(End::Unheard, End::Failed));
                    }
                    Written::Waits => return Ok(End::Rests),
                    Written::Step => {}
                }
            }
        }
    }
    Ok(End::Failed(format!("no end after {MOST_STEPS} steps")))
}

/// A call to the provider came to nothing: has the payment looked at again soon.
pub(super) async fn later(services: &Services, payment: &PaymentRow) -> Result<(), Error> {
    let mut conn = services.db.acquire().await?;
    let doublings = u32::try_from(payment.checks).unwrap_or(0).min(5);
    payments::check_in(&mut conn, &payment.key, Some((1 << doublings).min(MOST_RETRY_S))).await
}

/// Looks at one payment about which something is open: asks the provider and acts on the answer. A look that fails is
/// counted, and followed by another.
///
/// # Errors
/// When the database cannot be had, or a step is a defect.
pub async fn reconcile(services: &Services, payment: &PaymentRow) -> Result<(), Error> {
    let asked = Asked::of(payment, &services.config, look_up(services, payment).await);
    let done = match payment_calls::check_refunds(services, payment, asked.known.as_ref()).await {
        Ok(()) => act(services, asked, None).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(End::Answered(_) | End::Rests) => payment_failures::end(services, &payment.key).await,
        Ok(End::Unheard) => Ok(()),
        Ok(End::Failed(why)) => {
            payment_failures::note(services, &payment.key, &why).await;
            Ok(())
        }
        Err(error) => {
            payment_failures::note(services, &payment.key, &chain(&error)).await;
            Err(error)
        }
    }
}

/// What the provider knows of a payment: by our reference, else by its own id.
pub(crate) async fn look_up(
    services: &Services,
    payment: &PaymentRow,
) -> Result<Option<ProviderPayment>, ProviderError> {
    let found = services.provider.find(&payment.key.reference()).await?;
    match (&payment.provider_payment, found) {
        (Some(id), None) => services.provider.get(id).await,
        (_, found) => Ok(found),
    }
}
