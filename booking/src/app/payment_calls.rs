//! What is asked of the provider: taking money that is kept for us, giving it back.
//!
//! Every call carries a key of its own, so that repeating it after a crash is harmless. A refusal says only that the
//! provider's books are not as we thought, so they are read again.

use booking_domain::Money;
use booking_domain::checkout::{Act, Told};

use super::payment_steps;
use super::settle_payment::{Asked, look_up};
use crate::crash;
use crate::error::Error;
use crate::passes::chain;
use crate::payments::{ProviderError, ProviderPayment};
use crate::services::Services;
use crate::storage::payments::PaymentRow;
use crate::storage::refunds;

/// What came of a call. Whatever it is, the payment stays due.
pub(crate) enum Called {
    /// This is what the provider shows of the payment now.
    Answered(Box<Asked>),
    /// Nothing can be done before the next look.
    Later,
    /// The provider counts as down: all payments wait alike.
    Unheard,
    /// The call failed, although the provider answers.
    Failed(String),
}

/// Makes the call that an act is.
///
/// # Errors
/// When the database cannot be had.
pub(crate) async fn call(services: &Services, payment: &PaymentRow, act: Act, asked: &Asked) -> Result<Called, Error> {
    let Some(known) = &asked.known else { return Ok(Called::Later) };
    let provider = &services.provider;
    let answer = match act {
        Act::Capture => {
            let answer = provider.capture(&known.id, payment.amount).await;
            crash::point("capture_asked");
            answer
        }
        Act::Void => {
            let answer = provider.void(&known.id).await;
            crash::point("voided");
            answer
        }
        Act::PayBackAll => {
            // All that was taken, also when it is not what we asked for.
            let left = Money::new(known.captured - known.refunded, payment.amount.currency());
            // Another amount is another request: a provider refuses a key that it knows with another amount.
            let key = format!("{}/refund/{}-{}", known.id, known.refunded, known.captured);
            let answer = provider.refund(&known.id, left, &key).await;
            crash::point("paid_back");
            answer
        }
        Act::PayBack => return pay_refund(services, payment, known).await,
        _ => return Ok(Called::Later),
    };
    answered(services, payment, act, known, answer).await
}

/// What an answer means. `known` is the picture that the call was made by.
async fn answered(
    services: &Services,
    payment: &PaymentRow,
    act: Act,
    known: &ProviderPayment,
    answer: Result<ProviderPayment, ProviderError>,
) -> Result<Called, Error> {
    let answered = |asked| Ok(Called::Answered(Box::new(asked)));
    match answer {
        Ok(now) => answered(Asked::of(payment, &services.config, Ok(Some(now)))),
        Err(ProviderError::Refused { status, detail }) => {
            let reference = payment.key.reference();
            tracing::warn!(reference, status, detail, ?act, "the provider refused it");
            let mut asked = Asked::of(payment, &services.config, look_up(services, payment).await);
            let money = |known: &ProviderPayment| (known.captured, known.refunded);
            let was_old = asked.known.as_ref().is_some_and(|now| money(now) != money(known));
            if act == Act::Capture && asked.told == Told::Authorized {
                asked.told = Told::Uncapturable;
            } else if act != Act::Capture && !was_old && !matches!(asked.told, Told::Voided | Told::Refunded) {
                // Money that cannot be given back: a person has to.
                payment_steps::alarm(services, &payment.key, &format!("{act:?} was refused: {detail}")).await?;
                return Ok(Called::Later);
            }
            answered(asked)
        }
        Err(ProviderError::NotAsked) => Ok(Called::Unheard),
        Err(error @ ProviderError::Unknown(_)) => Ok(Called::Failed(format!("{act:?}: {}", chain(&error)))),
    }
}

/// Pays the next refund that was decided, and notes it. What the provider has paid back already, by an
/// answer that was lost longer ago than it remembers keys, is not paid again.
async fn pay_refund(services: &Services, payment: &PaymentRow, known: &ProviderPayment) -> Result<Called, Error> {
    let refund = {
        let mut conn = services.db.acquire().await?;
        refunds::first_due(&mut conn, &payment.key).await?
    };
    let Some(refund) = refund else { return Ok(Called::Later) };
    let now = if known.refunded >= refund.before + refund.amount {
        known.clone()
    } else {
        let amount = Money::new(refund.amount, payment.amount.currency());
        let key = refund.provider_key(&payment.key);
        let answer = services.provider.refund(&known.id, amount, &key).await;
        crash::point("paid_back");
        match answer {
            Ok(now) if now.refunded >= refund.before + refund.amount => now,
            // Accepted and still on its way.
            Ok(_) => return Ok(Called::Later),
            Err(error) => return answered(services, payment, Act::PayBack, known, Err(error)).await,
        }
    };
    payment_steps::note_refund(services, &payment.key, refund).await?;
    crash::point("refund_noted");
    Ok(Called::Answered(Box::new(Asked::of(payment, &services.config, Ok(Some(now))))))
}

/// Looks whether refunds that were noted stayed paid: a bank may send one back weeks later. `payment` was read before the
/// provider was asked. Paying it once more is for a person, who knows where to.
///
/// # Errors
/// When the database cannot be had.
pub(crate) async fn check_refunds(
    services: &Services,
    payment: &PaymentRow,
    known: Option<&ProviderPayment>,
) -> Result<(), Error> {
    let back = |known: &ProviderPayment| payment.refunded - known.refunded;
    if known.is_none_or(|known| back(known) <= 0) {
        return Ok(());
    }
    // It may have been an old picture.
    if let Ok(Some(now)) = look_up(services, payment).await
        && back(&now) > 0
    {
        let why = format!("{} of the {} that were paid back did not stay paid", back(&now), payment.refunded);
        payment_steps::alarm(services, &payment.key, &why).await?;
    }
    Ok(())
}
